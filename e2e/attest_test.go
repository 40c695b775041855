//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// syftModule contains the official JSON schema of SPDX 2.3. run.sh builds the program syft
// from this module.
const syftModule = "github.com/anchore/syft@v1.57.1"

// module returns the directory of a Go module, and downloads it if necessary.
func module(t *testing.T, version string) string {
	t.Helper()
	var m struct{ Dir string }
	if err := json.Unmarshal([]byte(command(t, "go", "mod", "download", "-json", version)), &m); err != nil || m.Dir == "" {
		t.Fatalf("download %s: %v", version, err)
	}
	return m.Dir
}

// schema compiles the schema in the first of the files. That schema refers to the other
// files.
func schema(t *testing.T, dir, base string, files ...string) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(base+strings.Replace(file, ".schemax.", ".schema.", 1), doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := compiler.Compile(base + files[0])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSBOMSchemas checks that the bills of materials of the large systems are valid under the
// official schemas, and contain a package for each store path.
func TestSBOMSchemas(t *testing.T) {
	t.Parallel()
	cyclonedx := strings.TrimSpace(command(t, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go"))
	for _, f := range []struct {
		format, packages string
		schema           *jsonschema.Schema
	}{
		{"spdx", "packages", schema(t, filepath.Join(module(t, syftModule), "schema", "spdx-json"), "", "spdx-schema-2.3.json")},
		{"cyclonedx", "components", schema(t, filepath.Join(cyclonedx, "schema"), "http://cyclonedx.org/schema/",
			"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schemax.json")},
	} {
		for _, p := range platforms {
			name := "large-" + p.nix
			out := run{}.ok(t, "sbom", graphFile(name), "--format", f.format).stdout
			sbom, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.schema.Validate(sbom); err != nil {
				t.Errorf("%s, %s: %v", name, f.format, err)
			}
			packages, _ := sbom.(map[string]any)[f.packages].([]any)
			if want := len(loadGraph(t, name)); len(packages) != want {
				t.Errorf("%s, %s: %d packages of %d store paths", name, f.format, len(packages), want)
			}
			sbom.(map[string]any)[f.packages] = "none"
			if f.schema.Validate(sbom) == nil {
				t.Errorf("the schema of %s accepts anything", f.format)
			}
		}
		// These documents contain licences, CPEs and fixed vulnerabilities, too.
		for _, file := range goldenSBOMs(t, f.format) {
			sbom, err := jsonschema.UnmarshalJSON(bytes.NewReader(file.data))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.schema.Validate(sbom); err != nil {
				t.Errorf("%s: %v", file.name, err)
			}
		}
	}
}

// goldenSBOMs returns the golden files of package report in one format. The unit tests of this package
// compare documents with them byte by byte.
func goldenSBOMs(t *testing.T, format string) (all []namedFile) {
	t.Helper()
	names, err := filepath.Glob("../internal/report/testdata/*." + format + ".json")
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", format, len(names), err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, namedFile{name, data})
	}
	return all
}

type namedFile struct {
	name string
	data []byte
}

// documentCheck is a program that checks an SPDX 3.0.1 or OpenVEX document with the Go types of the
// SPDX and OpenVEX projects. SPDX generates its types from the model of SPDX. The program prints
// the number of packages or statements. The JSON schemas of both are in no package registry.
const documentCheck = `package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/openvex/go-vex/pkg/vex"
	"github.com/spdx/tools-golang/spdx/v3/v3_0"
)

func main() {
	check := spdx3
	if os.Args[1] == "openvex" {
		check = openvex
	}
	data, err := io.ReadAll(os.Stdin)
	n := 0
	if err == nil {
		n, err = check(data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n)
}

func spdx3(data []byte) (packages int, err error) {
	doc := v3_0.NewDocument(v3_0.ProfileIdentifierType_Software, "", nil, nil)
	if err := doc.FromJSON(bytes.NewReader(data)); err != nil {
		return 0, err
	}
	for _, e := range doc.Elements {
		if _, ok := e.(v3_0.AnyPackage); ok {
			packages++
		}
	}
	return packages, doc.Validate(false)
}

func openvex(data []byte) (statements int, err error) {
	doc, err := vex.Parse(data)
	if err != nil {
		return 0, err
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(vex.VEX)); err != nil {
		return 0, err
	}
	if doc.Context != vex.ContextLocator() || doc.ID == "" || doc.Author == "" || doc.Version < 1 || doc.Timestamp == nil {
		return 0, fmt.Errorf("%+v lacks a field", doc.Metadata)
	}
	for i := range doc.Statements {
		s := &doc.Statements[i]
		if len(s.Products) == 0 || s.Vulnerability.Name == "" {
			err = errors.Join(err, fmt.Errorf("statement %d lacks a field", i))
		}
		err = errors.Join(err, s.Validate())
	}
	return len(doc.Statements), err
}
`

// TestDocumentTypes reads documents of SPDX 3 and OpenVEX with the Go types of these projects, which
// must accept them. A document of SPDX 3 must contain a package for each store path.
func TestDocumentTypes(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	put(t, filepath.Join(dir, "main.go"), documentCheck)
	put(t, filepath.Join(dir, "go.mod"), "module check\n\ngo 1.26.0\n\nrequire (\n\tgithub.com/openvex/go-vex v0.2.9\n\tgithub.com/spdx/tools-golang v0.6.0-rc4\n)\n")
	build := exec.Command("go", "build", "-mod=mod", "-o", "check", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the check: %v\n%s", err, out)
	}
	check := func(format, doc string) (string, error) {
		cmd := exec.Command(filepath.Join(dir, "check"), format)
		cmd.Stdin = strings.NewReader(doc)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	refuses := func(name, format, doc, before, after string) {
		t.Helper()
		changed := strings.Replace(doc, before, after, 1)
		if got, err := check(format, changed); err == nil || changed == doc {
			t.Errorf("%s: the check accepts %s instead of %s: %s", name, after, before, got)
		}
	}
	for _, p := range platforms {
		name := "large-" + p.nix
		doc := run{}.ok(t, "sbom", graphFile(name), "--format", "spdx3").stdout
		if got, err := check("spdx3", doc); err != nil || got != fmt.Sprint(len(loadGraph(t, name))) {
			t.Errorf("%s: %v, %s packages of %d store paths", name, err, got, len(loadGraph(t, name)))
		}
		refuses(name, "spdx3", doc, `"dependsOn"`, `"dependz"`)
	}
	for _, format := range []string{"spdx3", "openvex"} {
		for _, file := range goldenSBOMs(t, format) {
			if got, err := check(format, string(file.data)); err != nil || got == "0" {
				t.Errorf("%s: %s, %v", file.name, got, err)
			}
			if format == "openvex" {
				for before, after := range map[string]string{`"author"`: `"auther"`, `"fixed"`: `"mended"`, `"products"`: `"product"`, `"status_notes"`: `"notes"`} {
					refuses(file.name, format, string(file.data), before, after)
				}
			}
		}
	}
}

// TestReferrers checks that other tools find the attached documents. It uses a registry with
// the referrers API, and Debian's docker-registry, which does not have this API.
func TestReferrers(t *testing.T) {
	t.Parallel()
	oras := tool("oras")
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	start(t, "nixoci-serve", nil, func() error { return answers("http://" + addr + "/v2/") }, lab.nixoci, "serve", "--listen", addr)
	want := []string{"application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.in-toto+json", "application/vnd.nixoci.closure.v1+json"}
	for registry, api := range map[string]bool{addr: true, registry(t): false} {
		repository := registry + "/attested"
		push := args("push", repository+":v1", "--from", "file://"+smallCache(t), "--trusted-public-key", smallKey(t), smallToplevels(t),
			"--attest", "closure,spdx,cyclonedx,provenance")
		index := run{}.ok(t, push...).digest(t)
		before := allTags(t, registry, "attested")
		if again := (run{}).ok(t, push...).digest(t); again != index || !slices.Equal(allTags(t, registry, "attested"), before) {
			t.Errorf("%s: attached again, the digest is %s and the tags are %v", registry, again, allTags(t, registry, "attested"))
		}
		for _, p := range platforms {
			manifest := strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", "--platform", "linux/"+p.arch, repository+":v1"))
			var found struct {
				Referrers []struct{ ArtifactType, Digest string }
			}
			out := command(t, oras, "discover", "--plain-http", "--format", "json", repository+"@"+manifest)
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				t.Fatal(err)
			}
			var types []string
			for _, r := range found.Referrers {
				types = append(types, r.ArtifactType)
				command(t, oras, "manifest", "fetch", "--plain-http", repository+"@"+r.Digest)
			}
			slices.Sort(types)
			if !slices.Equal(types, want) {
				t.Errorf("%s %s: oras finds %v", registry, p.arch, types)
			}
			tag := strings.Replace(manifest, ":", "-", 1)
			if slices.Contains(before, tag) == api {
				t.Errorf("%s: fallback tag %s there: %t", registry, tag, !api)
			}
			if !api {
				var list struct {
					Manifests []struct{ ArtifactType string }
				}
				if err := json.Unmarshal([]byte(command(t, lab.crane, "manifest", "--insecure", repository+":"+tag)), &list); err != nil || len(list.Manifests) != len(want) {
					t.Errorf("crane manifest %s: %d entries, %v", tag, len(list.Manifests), err)
				}
			}
		}
	}
	report(t, "oras lists 4 documents of each platform, with the referrers API and without")
}

// allTags returns the tags of a repository, sorted.
func allTags(t *testing.T, registry, repository string) []string {
	t.Helper()
	tags := strings.Fields(command(t, lab.crane, "ls", "--insecure", registry+"/"+repository))
	slices.Sort(tags)
	return tags
}

// smallKey returns the public key for the sample in testdata/.
func smallKey(t *testing.T) string {
	t.Helper()
	key, err := os.ReadFile("../testdata/public-key")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}
