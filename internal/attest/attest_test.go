package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	slsaprovenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// web returns the closure of a system. Together, its paths use every field of a statement.
func web(t *testing.T) *closure.Closure {
	t.Helper()
	path := func(letter, name string) closure.StorePath {
		p, err := closure.ParseStorePath("/nix/store/" + strings.Repeat(letter, 32) + "-" + name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	system, nginx, conf := path("a", "nixos-system-web-26.05"), path("b", "nginx-1.26.1"), path("c", "nginx.conf")
	c, err := closure.New([]closure.StorePath{system}, []closure.Info{
		{Path: nginx, NarHash: closure.Hash{1}, NarSize: 4096, References: []closure.StorePath{nginx},
			Deriver: strings.Repeat("d", 32) + "-nginx-1.26.1.drv", Signatures: []string{"z-1:Zg==", "cache.nixos.org-1:AA==", "z-1:Zg=="}},
		{Path: conf, NarHash: closure.Hash{2}, NarSize: 120, CA: "fixed:r:sha256:0000000000000000000000000000000000000000000000000000"},
		{Path: system, NarHash: closure.Hash{3}, NarSize: 9999, References: []closure.StorePath{nginx, conf}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClosureStatement(t *testing.T) {
	c := web(t)
	data, err := Closure(c, "x86_64-linux")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "closure.json", data)
	back, system, err := ParseClosure(data)
	if err != nil {
		t.Fatal(err)
	}
	if system != "x86_64-linux" || !slices.Equal(back.Roots, c.Roots) || len(back.Paths) != 3 {
		t.Errorf("read back %s %v, %d paths", system, back.Roots, len(back.Paths))
	}
	again, err := Closure(back, system)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("written again: %v\n%s", err, again)
	}
	// A reader of Nix's own format must be able to read a statement.
	infos, err := closure.ParseGraph(data)
	if err != nil || len(infos) != 3 {
		t.Errorf("as a graph file: %d paths, %v", len(infos), err)
	}
}

func TestParseClosureRefuses(t *testing.T) {
	data, err := Closure(web(t), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"other type", ClosureType, "application/json", "media type"},
		{"other store", `"storeDir":"/nix/store"`, `"storeDir":"/gnu/store"`, "/gnu/store"},
		{"a root that is not there", `"roots":["/nix/store/a`, `"roots":["/nix/store/f`, "root"},
		{"a root that is none", `"roots":["/nix/store/`, `"roots":["/etc/`, "roots"},
		{"a reference that is not there", `["/nix/store/bbb`, `["/nix/store/fbb`, "refers to"},
		{"a wrong hash", `"narHash":"sha256-`, `"narHash":"sha256-A`, "narHash"},
		{"cut", `}]}`, `}]`, "unexpected end"},
	} {
		bad := strings.Replace(string(data), tt.old, tt.new, 1)
		if bad == string(data) {
			t.Fatalf("%s: nothing replaced", tt.name)
		}
		if _, _, err := ParseClosure([]byte(bad)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestComplete(t *testing.T) {
	stated := web(t)
	bare := slices.Clone(stated.Paths)
	for i := range bare {
		bare[i].Deriver, bare[i].Signatures = "", nil
	}
	bare[2].NarHash = closure.Hash{9} // nginx.conf now has other content
	c, err := closure.New(stated.Roots, bare)
	if err != nil {
		t.Fatal(err)
	}
	liar := slices.Clone(stated.Paths)
	liar[2].Signatures = []string{"cache.nixos.org-1:AA=="}
	claimed, err := closure.New(stated.Roots, liar)
	if err != nil {
		t.Fatal(err)
	}
	full, err := Complete(c, claimed)
	if err != nil {
		t.Fatal(err)
	}
	if p := full.Paths[1]; p.Deriver == "" || len(p.Signatures) == 0 {
		t.Errorf("nginx has no deriver or signature: %+v", p)
	}
	if p := full.Paths[2]; p.Deriver != "" || p.Signatures != nil {
		t.Errorf("a path of another narHash got %+v", p)
	}
	if c.Paths[1].Deriver != "" {
		t.Error("the argument was changed")
	}
}

func TestProvenance(t *testing.T) {
	c := web(t)
	source := &nixbuild.Origin{
		URL:      "git+file:///src/web?rev=0123456789abcdef0123456789abcdef01234567",
		Revision: "0123456789abcdef0123456789abcdef01234567",
		NarHash:  "sha256-4TnYYX4UXXFHd4HaEAcY5Y+ziB9NcTMjpHcYhY1QSQo=",
		Nixpkgs:  "path:/src/nixpkgs",
		Inputs:   []nixbuild.Input{{Name: "nixpkgs", URL: "path:/src/nixpkgs"}},
	}
	built := &nixbuild.Built{Derivation: "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-web.drv", Attribute: "nixosConfigurations.web", Source: source}
	roots := []closure.StorePath{c.Paths[0].Path}
	b := Build{
		Version: "1.0.0", Format: 1, Compression: "gzip:5", Program: digest.FromString("nixoci"),
		Checkout: &Checkout{URI: "git+https://github.com/org/web@refs/heads/main", Revision: source.Revision},
		Built:    map[closure.StorePath]*nixbuild.Built{roots[0]: built},
		Rebuild: func(reference string, systems []BuiltSystem) []string {
			return []string{"nixoci", "build", "--plan=" + reference, systems[0].System}
		},
		Recipe:   "sha256:" + strings.Repeat("e", 64),
		Settings: map[string]any{"env": []string{"A=b"}, "cmd": []string{"x"}},
		Systems: []BuiltSystem{
			{Platform: "linux/arm64", System: "aarch64-linux", Toplevel: c.Paths[0], Roots: roots, Closure: digest.FromString("statement")},
			{Platform: "linux/amd64", System: "x86_64-linux", Toplevel: c.Paths[0], Roots: roots},
		},
	}
	provenance := func() ([]byte, error) {
		data, err := Provenance("example.org/web", digest.FromString("index"), b)
		return data, errors.Join(err, validProvenance(data))
	}
	data, err := provenance()
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "provenance.json", append(pretty.Bytes(), '\n'))
	slices.Reverse(b.Systems)
	other, err := provenance()
	if err != nil || !bytes.Equal(data, other) {
		t.Errorf("depends on the order of the systems: %v", err)
	}

	// A tree with uncommitted changes cannot be built again, and it differs from the commit of the
	// checkout. So the provenance must contain neither a command nor the commit.
	dirty := *source
	dirty.Dirty = true
	built.Source = &dirty
	data, err = provenance()
	if err != nil || bytes.Contains(data, []byte(`"rebuild"`)) || bytes.Contains(data, []byte("github.com/org/web")) || bytes.Count(data, []byte(`"dirty":true`)) != 3 {
		t.Errorf("of a dirty tree: %v\n%s", err, data)
	}
	// The other sources are a file, the base system, and a root that was not built here.
	built.Source = &nixbuild.Origin{File: "/src/web.nix", FileDigest: closure.Hash{7}}
	data, err = provenance()
	if err != nil || !bytes.Contains(data, []byte(`"sources":[{"file":"/src/web.nix"}]`)) || !bytes.Contains(data, []byte(`"uri":"file:/src/web.nix"`)) {
		t.Errorf("of a file: %v\n%s", err, data)
	}
	built.Source = &nixbuild.Origin{}
	data, err = provenance()
	if err != nil || !bytes.Contains(data, []byte(`"sources":[{"nixoci":"nixosConfigurations.web"}]`)) {
		t.Errorf("of the base system: %v\n%s", err, data)
	}
	b.Built = nil
	b.Systems[0].Toplevel.Deriver = "cccccccccccccccccccccccccccccccc-web.drv"
	data, err = provenance()
	if err != nil || bytes.Contains(data, []byte(`"sources"`)) || !bytes.Contains(data, []byte(`"nix:/nix/store/cccccccccccccccccccccccccccccccc-web.drv"`)) {
		t.Errorf("of a path that was built before: %v\n%s", err, data)
	}
	for before, after := range map[string]string{`"buildType":`: `"buildTypes":`, `"builder":{"id":"`: `"builder":{"id":"","ids":"`, `"_type":"`: `"_type":"x`} {
		if changed := bytes.Replace(data, []byte(before), []byte(after), 1); bytes.Equal(changed, data) || validProvenance(changed) == nil {
			t.Errorf("the check accepts %s", after)
		}
	}
}

// validProvenance checks a provenance with the Go types that the in-toto project generates from its
// definitions. An unknown field is an error.
func validProvenance(data []byte) error {
	statement := new(intoto.Statement)
	if err := errors.Join(protojson.Unmarshal(data, statement), statement.Validate()); err != nil {
		return err
	}
	predicate, err := protojson.Marshal(statement.Predicate)
	if err != nil {
		return err
	}
	p := new(slsaprovenance.Provenance)
	return errors.Join(protojson.Unmarshal(predicate, p), p.Validate())
}

// TestPlatform checks which runners nixoci recognises as a build platform.
func TestPlatform(t *testing.T) {
	github := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "org/web",
		"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "01", "RUNNER_ENVIRONMENT": "github-hosted"}
	gitlab := map[string]string{"GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.com", "CI_PROJECT_PATH": "org/web", "CI_PROJECT_URL": "https://gitlab.com/org/web",
		"CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": "01", "CI_RUNNER_ID": "7"}
	for name, c := range map[string]struct {
		env          map[string]string
		name, value  string // a variable that gets another value in this case
		builder, uri string
	}{
		"a machine":               {},
		"a variable of GitHub":    {env: map[string]string{"GITHUB_SHA": "01", "RUNNER_ENVIRONMENT": "github-hosted"}},
		"GitHub's runner":         {env: github, builder: "https://github.com/actions/runner/github-hosted", uri: "git+https://github.com/org/web@refs/heads/main"},
		"a runner of one's own":   {env: github, name: "RUNNER_ENVIRONMENT", value: "self-hosted", uri: "git+https://github.com/org/web@refs/heads/main"},
		"GitHub Enterprise":       {env: github, name: "GITHUB_SERVER_URL", value: "https://git.example.org", uri: "git+https://git.example.org/org/web@refs/heads/main"},
		"no repository":           {env: github, name: "GITHUB_REPOSITORY", builder: "https://github.com/actions/runner/github-hosted"},
		"GitLab":                  {env: gitlab, builder: "https://gitlab.com/org/web/-/runners/7", uri: "git+https://gitlab.com/org/web@refs/heads/main"},
		"GitLab, a tag":           {env: gitlab, name: "CI_COMMIT_TAG", value: "v1", builder: "https://gitlab.com/org/web/-/runners/7", uri: "git+https://gitlab.com/org/web@refs/tags/v1"},
		"GitLab, a merge request": {env: gitlab, name: "CI_COMMIT_BRANCH", builder: "https://gitlab.com/org/web/-/runners/7", uri: "git+https://gitlab.com/org/web"},
		"GitLab without a runner": {env: gitlab, name: "CI_RUNNER_ID", uri: "git+https://gitlab.com/org/web@refs/heads/main"},
	} {
		p := PlatformOf(func(v string) string {
			if v == c.name {
				return c.value
			}
			return c.env[v]
		})
		uri := ""
		if p.Checkout != nil {
			uri = p.Checkout.URI
		}
		if p.Builder != c.builder || uri != c.uri {
			t.Errorf("%s: builder %q, checkout %q", name, p.Builder, uri)
		}
	}
}

// FuzzParseClosure checks that a parsed statement stays the same when it is written and read again.
func FuzzParseClosure(f *testing.F) {
	data, err := os.ReadFile("testdata/closure.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.ReplaceAll(data, []byte(`"system":"x86_64-linux",`), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, system, err := ParseClosure(data)
		if err != nil {
			return
		}
		first, err := Closure(c, system)
		if err != nil {
			t.Fatal(err)
		}
		again, back, err := ParseClosure(first)
		if err != nil || back != system {
			t.Fatalf("%v in %s", err, first)
		}
		second, err := Closure(again, back)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v: %s is written as %s", err, first, second)
		}
	})
}
