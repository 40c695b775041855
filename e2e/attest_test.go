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
const syftModule = "github.com/anchore/syft@v1.57.0"

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
	}
}

// spdx3Check is a program that checks an SPDX 3.0.1 document. It reads the document with the
// SPDX project's own Go classes, which are generated from the model of SPDX. It validates
// each element and prints the number of packages. The JSON schema of SPDX 3 is in no package
// registry.
const spdx3Check = `package main

import (
	"fmt"
	"os"

	"github.com/spdx/tools-golang/spdx/v3/v3_0"
)

func main() {
	doc := v3_0.NewDocument(v3_0.ProfileIdentifierType_Software, "", nil, nil)
	err := doc.FromJSON(os.Stdin)
	if err == nil {
		err = doc.Validate(false)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	n := 0
	for _, e := range doc.Elements {
		if _, ok := e.(v3_0.AnyPackage); ok {
			n++
		}
	}
	fmt.Println(n)
}
`

// TestSPDX3 checks that documents of SPDX 3 are valid under the model of SPDX, and contain a
// package for each store path.
func TestSPDX3(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	put(t, filepath.Join(dir, "main.go"), spdx3Check)
	put(t, filepath.Join(dir, "go.mod"), "module check\n\ngo 1.26.0\n\nrequire github.com/spdx/tools-golang v0.6.0-rc4\n")
	build := exec.Command("go", "build", "-mod=mod", "-o", "check", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the check: %v\n%s", err, out)
	}
	check := func(doc string) (string, error) {
		cmd := exec.Command(filepath.Join(dir, "check"))
		cmd.Stdin = strings.NewReader(doc)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	for _, p := range platforms {
		name := "large-" + p.nix
		doc := run{}.ok(t, "sbom", graphFile(name), "--format", "spdx3").stdout
		if got, err := check(doc); err != nil || got != fmt.Sprint(len(loadGraph(t, name))) {
			t.Errorf("%s: %v, %s packages of %d store paths", name, err, got, len(loadGraph(t, name)))
		}
		if got, err := check(strings.Replace(doc, `"dependsOn"`, `"dependz"`, 1)); err == nil {
			t.Errorf("%s: the check accepts anything: %s", name, got)
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
