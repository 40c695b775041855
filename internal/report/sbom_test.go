package report

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
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/terminal"
)

// sample reads one of the closures in testdata. Nix made these closures.
func sample(t testing.TB, name string) *closure.Closure {
	t.Helper()
	g, err := closure.OpenGraph(filepath.Join("../../testdata", name+".json"), "/nonexistent")
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.Closure(t.Context(), g.Roots())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tiny returns a closure that has every kind of fact that a document can show about a path.
func tiny(t testing.TB) *closure.Closure {
	t.Helper()
	path := func(letter, name string) closure.StorePath {
		p, err := closure.ParseStorePath("/nix/store/" + strings.Repeat(letter, 32) + "-" + name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	system, nginx, dev := path("a", "nixos-system-web-26.05"), path("b", "nginx-1.26.1"), path("c", "libstdc++-14.2?=_x-dev")
	c, err := closure.New(nil, []closure.Info{
		{Path: nginx, NarHash: closure.Hash{1}, NarSize: 4096, References: []closure.StorePath{nginx, dev},
			Deriver: strings.Repeat("d", 32) + "-nginx-1.26.1.drv", Signatures: []string{"z-1:Zg==", "cache.nixos.org-1:AA=="}},
		{Path: dev, NarHash: closure.Hash{2}, NarSize: 120, CA: "fixed:r:sha256:0000000000000000000000000000000000000000000000000000"},
		{Path: system, NarHash: closure.Hash{3}, NarSize: 9999, References: []closure.StorePath{nginx}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sbom(t testing.TB, c *closure.Closure, format string, o SBOMOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSBOM(&b, c, format, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSBOMGolden(t *testing.T) {
	for _, format := range []string{FormatSPDX, FormatSPDX3, FormatCycloneDX} {
		golden.Check(t, "tiny."+format+".json", sbom(t, tiny(t), format, SBOMOptions{System: "x86_64-linux"}))
	}
}

// withMeta returns options with all kinds of metadata for the nginx in tiny.
func withMeta(c *closure.Closure) SBOMOptions {
	m := &nixbuild.Meta{
		Name: "nginx", Description: "Reverse proxy <and> server", Homepages: []string{"javascript:alert(1)", "https://nginx.org"},
		Licenses:    []nixbuild.License{{SPDX: "BSD-2-Clause", FullName: "BSD"}, {SPDX: "MIT"}},
		Maintainers: []nixbuild.Maintainer{{Name: "A. Person", Email: "a@example.org"}, {Name: "B"}},
		CPE:         "cpe:2.3:a:f5:nginx:1.26.1:*:*:*:*:*:*:*", Patches: []string{"CVE-2024-7347.patch", "cve-2023-44487-and-CVE-2024-7347.patch"},
	}
	unfree := &nixbuild.Meta{Licenses: []nixbuild.License{{FullName: "Unfree"}, {SPDX: "not an identifier"}}, CPE: "cpe:/a:old", Patches: []string{"CVE-2024-7347.patch"}}
	return SBOMOptions{System: "x86_64-linux", Meta: map[closure.StorePath]*nixbuild.Meta{c.Paths[1].Path: m, c.Paths[2].Path: unfree}}
}

// TestPURLOrigin checks which package URLs name nixpkgs and its revision.
func TestPURLOrigin(t *testing.T) {
	c := tiny(t)
	const commit = "ea04e1fdd523987348c468e8cb53cc36c575d629"
	for _, tt := range []struct {
		meta         *nixbuild.Meta
		prefix, want string
	}{
		{nil, "pkg:nix/nginx@1.26.1?", ""},
		{&nixbuild.Meta{}, "pkg:nix/nixpkgs/nginx@1.26.1?", ""},
		{&nixbuild.Meta{Commit: commit}, "pkg:nix/nixpkgs/nginx@1.26.1?", "commit=" + commit + "&"},
		{&nixbuild.Meta{Commit: "24.05&output=x"}, "pkg:nix/nixpkgs/nginx@1.26.1?", ""},
		{&nixbuild.Meta{Commit: commit, Foreign: true}, "pkg:nix/nginx@1.26.1?", ""},
	} {
		o := SBOMOptions{Meta: map[closure.StorePath]*nixbuild.Meta{c.Paths[1].Path: tt.meta}}
		rest, ok := strings.CutPrefix(o.purl(&c.Paths[1]), tt.prefix+tt.want)
		if !ok || !strings.HasPrefix(rest, "drvpath=") || strings.Contains(rest, "commit") {
			t.Errorf("%+v: %s", tt.meta, o.purl(&c.Paths[1]))
		}
	}
}

// TestSBOMMeta compares documents that contain metadata from nixpkgs with golden files.
func TestSBOMMeta(t *testing.T) {
	c := tiny(t)
	o := withMeta(c)
	for _, format := range []string{FormatSPDX, FormatSPDX3, FormatCycloneDX, FormatOpenVEX} {
		first := sbom(t, c, format, o)
		golden.Check(t, "meta."+format+".json", first)
		o.Meta[c.Paths[2].Path].Description = "other"
		ids := func(data []byte) string {
			var d struct {
				SerialNumber, DocumentNamespace string
				ID                              string `json:"@id"`
			}
			if err := json.Unmarshal(data, &d); err != nil {
				t.Fatal(err)
			}
			graph, _, _ := strings.Cut(string(data[max(0, bytes.Index(data, []byte(`"spdxId": "`))):]), "#")
			return d.SerialNumber + d.DocumentNamespace + d.ID + graph
		}
		if ids(first) == "" || ids(first) == ids(sbom(t, c, format, o)) {
			t.Errorf("%s: the identifier does not depend on meta", format)
		}
		o.Meta[c.Paths[2].Path].Description = ""
	}
	if doc, err := spdxjson.Read(bytes.NewReader(sbom(t, c, FormatSPDX, o))); err != nil {
		t.Error(err)
	} else if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Error(err)
	}
	if err := WriteSBOM(&bytes.Buffer{}, c, FormatOpenVEX, SBOMOptions{}); err == nil || !strings.Contains(err.Error(), "no patch") {
		t.Errorf("without meta: %v", err)
	}
	var b bytes.Buffer
	if err := WriteSBOMTable(terminal.New(&b), c, o); err != nil || !strings.Contains(b.String(), "BSD-2-Clause, MIT") || !strings.Contains(b.String(), "Unfree, not an identifier") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestSBOMTable(t *testing.T) {
	base := manifest.BaseInfo{Name: "docker.io/library/debian:12", Digest: digest.FromString("base")}
	var b bytes.Buffer
	if err := WriteSBOMTable(terminal.New(&b), tiny(t), SBOMOptions{Init: digest.FromString("init").String(), Base: &base}); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "tiny.table.txt", b.Bytes())
}

// TestSBOMDeterministic checks that a document does not depend on the order in which a source
// lists paths. It also checks that the identifier of the document changes with each input.
func TestSBOMDeterministic(t *testing.T) {
	c := sample(t, "sample-x86_64-linux")
	mixed := slices.Clone(c.Paths)
	slices.Reverse(mixed)
	for i := range mixed {
		mixed[i].Signatures = slices.Clone(mixed[i].Signatures)
		slices.Reverse(mixed[i].Signatures)
	}
	other, err := closure.New(c.Roots, mixed)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Date(2026, 1, 31, 12, 0, 0, 5, time.FixedZone("", 3600))
	for _, format := range []string{FormatSPDX, FormatCycloneDX} {
		first := sbom(t, c, format, SBOMOptions{})
		if !bytes.Equal(first, sbom(t, other, format, SBOMOptions{})) {
			t.Errorf("%s: depends on the order of the source", format)
		}
		dated := sbom(t, c, format, SBOMOptions{Created: &later})
		if !bytes.Contains(dated, []byte(`"2026-01-31T11:00:00Z"`)) {
			t.Errorf("%s: no time of creation", format)
		}
		ids := func(doc []byte) string {
			var d struct{ SerialNumber, DocumentNamespace string }
			if err := json.Unmarshal(doc, &d); err != nil {
				t.Fatal(err)
			}
			return d.SerialNumber + d.DocumentNamespace
		}
		update := ids(sbom(t, sample(t, "sample-x86_64-linux-update"), format, SBOMOptions{}))
		if ids(first) == "" || ids(first) == ids(dated) || ids(first) == update {
			t.Errorf("%s: identifiers %s, %s, %s", format, ids(first), ids(dated), update)
		}
	}
}

func TestSBOMRefuses(t *testing.T) {
	if err := WriteSBOM(&bytes.Buffer{}, tiny(t), "xml", SBOMOptions{}); err == nil || !strings.Contains(err.Error(), `"xml"`) {
		t.Errorf("unknown format: %v", err)
	}
	if err := WriteSBOM(&bytes.Buffer{}, &closure.Closure{}, FormatSPDX, SBOMOptions{}); err == nil {
		t.Error("empty closure: no error")
	}
	a, b := closure.StorePath("/nix/store/"+strings.Repeat("a", 32)+"-x+y"), closure.StorePath("/nix/store/"+strings.Repeat("a", 32)+"-x_y")
	c, err := closure.New(nil, []closure.Info{{Path: a}, {Path: b}})
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteSBOM(&bytes.Buffer{}, c, FormatSPDX, SBOMOptions{}); err == nil || !strings.Contains(err.Error(), "the same hash") {
		t.Errorf("one hash and names that SPDX cannot tell apart: %v", err)
	}
}

// TestSPDXReads checks that the SPDX project's library can read the document and that the
// document contains the closure.
func TestSPDXReads(t *testing.T) {
	for _, name := range samples {
		c := sample(t, name)
		doc, err := spdxjson.Read(bytes.NewReader(sbom(t, c, FormatSPDX, SBOMOptions{System: "x86_64-linux"})))
		if err != nil {
			t.Fatal(err)
		}
		if err := spdxlib.ValidateDocument(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		described, depends := 0, 0
		for _, r := range doc.Relationships {
			switch r.Relationship {
			case "DESCRIBES":
				described++
			case "DEPENDS_ON":
				depends++
			}
		}
		if len(doc.Packages) != len(c.Paths) || described != len(c.Roots) || depends != references(c) {
			t.Errorf("%s: %d packages of %d, %d roots of %d, %d references of %d", name,
				len(doc.Packages), len(c.Paths), described, len(c.Roots), depends, references(c))
		}
		for i, p := range doc.Packages {
			info := c.Paths[i]
			if p.PackageFileName != string(info.Path) || "sha256:"+p.PackageChecksums[0].Value != info.NarHash.Hex() {
				t.Errorf("%s: package %d is %s %v, want %s %s", name, i, p.PackageFileName, p.PackageChecksums, info.Path, info.NarHash.Hex())
			}
			if _, err := packageurl.FromString(p.PackageExternalReferences[0].Locator); err != nil {
				t.Errorf("%s: %v", info.Path, err)
			}
		}
	}
}

var samples = []string{"sample-x86_64-linux", "sample-x86_64-linux-update", "sample-aarch64-linux", "sample-aarch64-linux-update"}

// references counts the references from each path of c to other paths.
func references(c *closure.Closure) (n int) {
	for i := range c.Paths {
		n += len(others(&c.Paths[i]))
	}
	return n
}

func TestCycloneDXReads(t *testing.T) {
	for _, name := range samples {
		c := sample(t, name)
		var bom cdx.BOM
		data := sbom(t, c, FormatCycloneDX, SBOMOptions{System: "x86_64-linux"})
		if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		if len(*bom.Components) != len(c.Paths) || len(*bom.Dependencies) != len(c.Paths)+1 {
			t.Errorf("%s: %d components, %d dependencies of %d paths", name, len(*bom.Components), len(*bom.Dependencies), len(c.Paths))
		}
		refs := 0
		for _, d := range (*bom.Dependencies)[1:] {
			if d.Dependencies != nil { // the field is absent if there are no dependencies
				refs += len(*d.Dependencies)
			}
		}
		if refs != references(c) {
			t.Errorf("%s: %d references of %d", name, refs, references(c))
		}
	}
}

// TestCycloneDXSchema validates documents against the schema in the CycloneDX project's Go
// module.
func TestCycloneDXSchema(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("find the schemas: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	compiler := jsonschema.NewCompiler()
	for name, file := range map[string]string{
		"bom-1.6.schema.json":  "bom-1.6.schema.json",
		"spdx.schema.json":     "spdx.schema.json",
		"jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(data []byte) error {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(doc)
	}
	if err := valid(sbom(t, tiny(t), FormatCycloneDX, withMeta(tiny(t)))); err != nil {
		t.Errorf("with meta: %v", err)
	}
	data := sbom(t, tiny(t), FormatCycloneDX, SBOMOptions{System: "x86_64-linux"})
	if err := valid(bytes.Replace(data, []byte("urn:uuid:"), []byte("urn:"), 1)); err == nil {
		t.Error("the schema accepts a wrong serial number: it is not what it should be")
	}
	if err := valid(data); err != nil {
		t.Error(err)
	}
	for _, name := range samples {
		if err := valid(sbom(t, sample(t, name), FormatCycloneDX, SBOMOptions{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPackageOf(t *testing.T) {
	for name, want := range map[string]Package{
		"nginx-1.26.1":                  {"nginx", "1.26.1", ""},
		"glibc-2.38-66-dev":             {"glibc", "2.38-66", "dev"},
		"perl5.34.1-TimeDate-2.33":      {"perl5.34.1-TimeDate", "2.33", ""},
		"libc6-2.36-9+deb12u14":         {"libc6", "2.36-9+deb12u14", ""},
		"bash-interactive-5.1-p16":      {"bash-interactive", "5.1-p16", ""},
		"foo-unstable-2024-01-01":       {"foo-unstable", "2024-01-01", ""},
		"etc":                           {"etc", "", ""},
		"unit-httpd.service":            {"unit-httpd.service", "", ""},
		"user-dev":                      {"user-dev", "", ""},
		"a--b":                          {"a", "-b", ""},
		"a-":                            {"a-", "", ""},
		"nixos-system-web-26.05.2026":   {"nixos-system-web", "26.05.2026", ""},
		"python3.12-requests-2.32-dist": {"python3.12-requests", "2.32", "dist"},
		"x-1.0-rc":                      {"x", "1.0-rc", ""},
	} {
		p := closure.StorePath(fmt.Sprintf("/nix/store/%s-%s", strings.Repeat("a", 32), name))
		if got := PackageOf(p); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
