//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// syftModule ships the official JSON schema of SPDX 2.3.
const syftModule = "github.com/anchore/syft@v1.57.0"

// module is the directory of a Go module, downloaded where it is not there.
func module(t *testing.T, version string) string {
	t.Helper()
	var m struct{ Dir string }
	if err := json.Unmarshal([]byte(command(t, "go", "mod", "download", "-json", version)), &m); err != nil || m.Dir == "" {
		t.Fatalf("download %s: %v", version, err)
	}
	return m.Dir
}

// TestSPDXSchema: the large system's bill of materials is valid under the
// official schema, and has a package for each store path. The default tests do
// the same with CycloneDX's.
func TestSPDXSchema(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(module(t, syftModule), "schema", "spdx-json", "spdx-schema-2.3.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("spdx.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("spdx.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range platforms {
		name := "large-" + p.nix
		out := run{}.ok(t, "sbom", graphFile(name), "--format", "spdx").stdout
		sbom, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(sbom); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		packages, _ := sbom.(map[string]any)["packages"].([]any)
		if want := len(loadGraph(t, name)); len(packages) != want {
			t.Errorf("%s: %d packages of %d store paths", name, len(packages), want)
		}
		sbom.(map[string]any)["packages"] = "none"
		if schema.Validate(sbom) == nil {
			t.Error("the schema accepts anything")
		}
	}
}

// TestReferrers: other tools find what is attached, in a registry with the
// referrers API and in Debian's docker-registry, which has none.
func TestReferrers(t *testing.T) {
	t.Parallel()
	oras := filepath.Join(lab.cache, "bin", "oras")
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

// allTags are the tags of a repository.
func allTags(t *testing.T, registry, repository string) []string {
	t.Helper()
	tags := strings.Fields(command(t, lab.crane, "ls", "--insecure", registry+"/"+repository))
	slices.Sort(tags)
	return tags
}

// smallKey signs the sample of testdata/.
func smallKey(t *testing.T) string {
	t.Helper()
	key, err := os.ReadFile("../testdata/public-key")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}
