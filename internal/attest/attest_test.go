package attest

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
)

// web returns the closure of a system. Its paths have every field of a statement.
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
	// A reader of Nix's own format can read a statement.
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
	bare[2].NarHash = closure.Hash{9} // nginx.conf has other content
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
	b := Build{
		Version: "1.0.0", Format: 1, Compression: "gzip:5",
		Recipe:   "sha256:" + strings.Repeat("e", 64),
		Settings: map[string]any{"env": []string{"A=b"}, "cmd": []string{"x"}},
		Systems: []BuiltSystem{
			{Platform: "linux/arm64", System: "aarch64-linux", Toplevel: c.Paths[0], Closure: digest.FromString("statement")},
			{Platform: "linux/amd64", System: "x86_64-linux", Toplevel: c.Paths[0]},
		},
	}
	data, err := Provenance("example.org/web", digest.FromString("index"), b)
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "provenance.json", append(pretty.Bytes(), '\n'))
	slices.Reverse(b.Systems)
	other, err := Provenance("example.org/web", digest.FromString("index"), b)
	if err != nil || !bytes.Equal(data, other) {
		t.Errorf("depends on the order of the systems: %v", err)
	}
}

// FuzzParseClosure checks that writing and reading a parsed statement changes nothing.
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
