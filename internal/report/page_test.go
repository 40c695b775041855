package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/plan"
)

// textOf returns the whole text of a page. The golden file with this text shows reviewers what
// users read.
func textOf(p *page.Page) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "[%s]\n%s\n# %s\n%s\n", p.Title, p.Kind, p.Heading, strings.Join(p.Lines, "\n"))
	for _, t := range p.Platforms {
		fmt.Fprintf(&b, "\n== %s\n%s\n", t.Name, t.Verdict)
		for _, f := range t.Facts {
			fmt.Fprintf(&b, "%s: %s\n", f.Label, f.Value)
		}
		if t.Map != nil {
			saidMap(&b, t.Map)
		}
		for _, s := range t.Sections {
			fmt.Fprintf(&b, "\n## %s\n%s\n", s.Title, s.Intro)
			for _, table := range s.Tables {
				saidTable(&b, &table)
			}
		}
	}
	return b.Bytes()
}

func saidMap(b *bytes.Buffer, m *page.Map) {
	for _, c := range m.Colourings {
		fmt.Fprintf(b, "map: %s", c.Name)
		for _, s := range c.States {
			fmt.Fprintf(b, " %s;", s.Name)
		}
		fmt.Fprintf(b, " framed: %q\n", m.Frame)
	}
	for i, l := range m.Layers {
		fmt.Fprintf(b, "  layer %d %q %q %q %d unpacked, %d compressed, framed=%v:", i+1, l.Name, l.Holds, l.Why, l.Size, l.Pull, l.Framed)
		for _, t := range l.Tiles {
			fmt.Fprintf(b, " %s", t.Name)
			for k, s := range t.States {
				fmt.Fprintf(b, "/%s", m.Colourings[k].States[s].Name)
			}
		}
		fmt.Fprintln(b)
	}
}

func saidTable(b *bytes.Buffer, t *page.Table) {
	if t.Fold != "" {
		fmt.Fprintf(b, "> %s (%s)\n", t.Fold, t.Note)
	}
	var head []string
	for _, c := range t.Head {
		head = append(head, c.Name)
	}
	fmt.Fprintf(b, "| %s\n", strings.Join(head, " | "))
	for _, r := range t.Rows {
		var cells []string
		for _, c := range r.Cells {
			s := strings.TrimSpace(c.Text + " " + c.Note)
			if len(c.More) > 0 {
				s += fmt.Sprintf(" {%s}", strings.Join(c.More, "; "))
			}
			cells = append(cells, s)
		}
		fmt.Fprintf(b, "| %s\n", strings.Join(cells, " | "))
	}
}

func testPage(t *testing.T, name string, p *page.Page, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, name, textOf(p))
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Error(err)
	}
	for _, t1 := range p.Platforms {
		for _, s := range t1.Sections {
			for _, table := range s.Tables {
				for _, r := range table.Rows {
					if len(r.Cells) != len(table.Head) {
						t.Errorf("%s: a row of %d cells under %d heads", s.Title, len(r.Cells), len(table.Head))
					}
				}
			}
		}
	}
}

func planReport(t *testing.T, name, platform string, c *closure.Closure, against *closure.Closure) *PlanReport {
	t.Helper()
	p, err := plan.New(c, plan.Options{MaxLayers: 5})
	if err != nil {
		t.Fatal(err)
	}
	r := ReportPlan(name, platform, c, p, 5)
	if against != nil {
		if r.Against, err = CostOfUpdate(Have{Name: "./before.json", Closure: against}, c, p, 5); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestPlanPage(t *testing.T) {
	a, b := sample(t, "sample-x86_64-linux"), sample(t, "sample-x86_64-linux-update")
	p, err := PlanPage([]*PlanReport{planReport(t, "dir/after.json", "linux/amd64", b, a)})
	testPage(t, "planpage.txt", p, err)
	p, err = PlanPage([]*PlanReport{planReport(t, "a.json", "linux/amd64", a, nil), planReport(t, "b.json", "linux/arm64", sample(t, "sample-aarch64-linux"), nil)})
	if err != nil || len(p.Platforms) != 2 || p.Platforms[1].Name != "linux/arm64" || !slices.Contains(p.Lines, "linux/arm64: plan of b.json") {
		t.Errorf("two platforms: %+v, %v", p, err)
	}
}

func TestDiffPage(t *testing.T) {
	c, d := sample(t, "sample-x86_64-linux"), sample(t, "sample-x86_64-linux-update")
	a, b := planned(t, "example.org/web:1", "linux/amd64", c), planned(t, "example.org/web:2", "linux/amd64", d)
	diff, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	p, err := diff.Page(a, b)
	testPage(t, "diffpage.txt", p, err)
}

// TestDiffPageVerdict checks the verdict. Some cases lack a platform or a Nix database.
func TestDiffPageVerdict(t *testing.T) {
	c := closureOf(t, "a-x-1 x", "b-y-2 x")
	d := closureOf(t, "a-x-1 x", "c-y-3 x")
	one := planned(t, "one", "linux/amd64", c)
	arm := planned(t, "arm", "linux/arm64", c)
	two := Side{Name: "two", Platforms: append(slices.Clone(one.Platforms), arm.Platforms...)}
	image := func(digest string) Side {
		return Side{Name: "/dir/" + digest, Platforms: []SidePlatform{{Platform: "linux/amd64", Layers: []SideLayer{{Digest: digest, Size: 5}}}}}
	}
	for _, tt := range []struct {
		name string
		a, b Side
		want []string
	}{
		{"same", one, one, []string{"Nothing changed: a client that has one version has everything of the other."}},
		{"changed", one, planned(t, "next", "linux/amd64", d), []string{"Packages: 1 changed. A client that has one pulls 1.0 kB of 2.0 kB."}},
		{"gone", two, one, []string{"Nothing changed: a client that has one version has everything of the other.", "The platform linux/arm64 is gone: two has it, one does not."}},
		{"new", one, two, []string{"Nothing changed: a client that has one version has everything of the other.", "The platform linux/arm64 is new: two has it, one does not. A client pulls all of it."}},
		{"not known", image("sha256:1"), image("sha256:2"), []string{"It is unknown which packages changed, because one image has no Nix database. A client that has sha256:1 pulls 5 B of 5 B."}},
	} {
		diff, err := Compare(tt.a, tt.b)
		if err != nil {
			t.Fatal(err)
		}
		p, err := diff.Page(tt.a, tt.b)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, platform := range p.Platforms {
			got = append(got, platform.Verdict)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestInspectPage(t *testing.T) {
	c := sample(t, "sample-x86_64-linux")
	document := func(kind, statement string) Attached {
		return Attached{Descriptor: ocispec.Descriptor{ArtifactType: kind, Digest: "sha256:0123456789abcdef"}, Data: []byte(statement)}
	}
	img := &Image{Name: "example.org/web:1", Annotations: map[string]string{"of.index": "<b>"},
		Signatures: []attest.ClaimedSigner{{Repository: "example.org/web"}, {Signer: "who@example.org"}}, Platforms: []*ImagePlatform{{
			Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Closure: c, Annotations: map[string]string{"of.manifest": "x"},
			RawConfig: json.RawMessage(`{"Env":["A=b","C=d"],"Entrypoint":["/sbin/init","a b"],"ExposedPorts":{"80/tcp":{}},"Labels":{"l":"m"},"StopSignal":"SIGRTMIN+3"}`),
			Attached: []Attached{
				document("application/spdx+json", ""), document("application/vnd.nixoci.closure.v1+json", ""), document("text/plain", ""),
				document("application/vnd.in-toto+json", `{"predicateType":"https://slsa.dev/provenance/v1","predicate":{"runDetails":{"builder":{"id":"https://ci","version":{"nixoci":"1"}}}}}`),
				document("application/vnd.dev.sigstore.bundle.v0.3+json", ""),
			}}}}
	planned, err := plan.New(c, plan.Options{MaxLayers: 5})
	if err != nil {
		t.Fatal(err)
	}
	ls := &img.Platforms[0].Layers
	*ls = append(*ls, ImageLayer{Init: true, PathsKnown: true, TarSize: 2048})
	for _, g := range planned.Groups {
		*ls = append(*ls, ImageLayer{Paths: g.Paths, PathsKnown: true, TarSize: g.Size, Descriptor: ocispec.Descriptor{Size: g.Size / 2}})
	}
	*ls = append(*ls, ImageLayer{System: true, PathsKnown: true, TarSize: 1024, Comment: "system layer"})
	p, err := Inspect(img).Page(img)
	testPage(t, "inspectpage.txt", p, err)
}

// TestInspectPageForeign checks that the page for another tool's image has tables and
// explains why there is no map.
func TestInspectPageForeign(t *testing.T) {
	img := &Image{Name: "example.org/other:1", Platforms: []*ImagePlatform{{Layers: []ImageLayer{{Comment: "RUN x"}}}}}
	p, err := Inspect(img).Page(img)
	if err != nil || p.Platforms[0].Map != nil || !strings.HasPrefix(p.Platforms[0].Verdict, "No map: ") || p.Platforms[0].Sections[0].Tables[0].Rows[0].Cells[4].Text != "?" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestBecause checks the causes of rebuilt packages. The cause with the most rebuilt
// packages comes first.
func TestBecause(t *testing.T) {
	a := closureOf(t, "a-zlib-1 x", "b-ssl-1 x -> a", "c-curl-8 x -> b", "d-git-2 x -> c", "f-tool-1 x -> a", "g-alone-1 x", "h-user-1 x -> g")
	b := closureOf(t, "i-zlib-2 x", "j-ssl-1 x -> i", "k-curl-9 x -> j", "l-git-2 x -> k", "m-tool-1 x -> i", "n-alone-1 x", "p-user-1 x -> n")
	got := map[string]string{}
	d := comparePlatform(&SidePlatform{Closure: a}, &SidePlatform{Closure: b})
	rebuilt, first := 0, 0
	for _, c := range d.Packages {
		got[c.Name] = c.Kind + ": " + strings.Join(c.Because, " ")
		if c.Kind == Rebuilt {
			rebuilt++
		}
	}
	for _, c := range d.Causes {
		first += c.First
	}
	if rebuilt != 4 || first != rebuilt {
		t.Errorf("%d packages rebuilt, the causes have %d: %+v", rebuilt, first, d.Causes)
	}
	for name, want := range map[string]string{
		"zlib": "changed: ", "curl": "changed: ", "ssl": "rebuilt: zlib", "git": "rebuilt: zlib", "tool": "rebuilt: zlib", "alone": "edited: ", "user": "rebuilt: alone",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

// TestChanceWords checks that the table and the pages use the same words for chances.
func TestChanceWords(t *testing.T) {
	for i, c := range chances {
		if chanceText(c.from) != c.word || chanceStates[i].Name != c.word || i > 0 && chanceText(c.from-0.01) != chances[i-1].word {
			t.Errorf("from %v on: table %q, page %q, before %q", c.from, chanceText(c.from), chanceStates[i].Name, chanceText(c.from-0.01))
		}
	}
}

// TestSizesOnPages checks that the page of a plan and the page of an image show the same
// sizes for a layer.
func TestSizesOnPages(t *testing.T) {
	c := sample(t, "sample-x86_64-linux")
	planned, err := plan.New(c, plan.Options{MaxLayers: 5})
	if err != nil {
		t.Fatal(err)
	}
	layers := []ImageLayer{{Init: true, PathsKnown: true, TarSize: 2048, Descriptor: ocispec.Descriptor{Digest: "sha256:init", Size: 1000}}}
	for i, g := range planned.Groups {
		layers = append(layers, ImageLayer{Paths: g.Paths, PathsKnown: true, TarSize: g.Size + 512, Descriptor: ocispec.Descriptor{Digest: digest.Digest(fmt.Sprint("sha256:", i)), Size: g.Size / 2}})
	}
	layers = append(layers, ImageLayer{System: true, PathsKnown: true, TarSize: 1024, Descriptor: ocispec.Descriptor{Digest: "sha256:system", Size: 500}})
	img := &Image{Name: "example.org/web:1", Platforms: []*ImagePlatform{{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Closure: c, Layers: layers}}}
	inspected, err := Inspect(img).Page(img)
	if err != nil {
		t.Fatal(err)
	}
	side := SideOfImage(img)
	d, err := Compare(side, side)
	if err != nil {
		t.Fatal(err)
	}
	diffed, err := d.Page(side, side)
	if err != nil {
		t.Fatal(err)
	}
	for i := range layers {
		a, b := inspected.Platforms[0].Map.Layers[i], diffed.Platforms[0].Map.Layers[i]
		if a.Size != b.Size || a.Pull != b.Pull || a.Pull == 0 || a.Size <= a.Pull {
			t.Errorf("layer %d: %d and %d unpacked, %d and %d compressed", i+1, a.Size, b.Size, a.Pull, b.Pull)
		}
	}
}
