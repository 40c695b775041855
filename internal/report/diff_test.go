package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/terminal"
)

func planned(t testing.TB, name, platform string, c *closure.Closure) Side {
	t.Helper()
	p := &plan.Plan{} // one layer for each path, because this test is not about the planner
	for i := range c.Paths {
		p.Groups = append(p.Groups, plan.Group{Paths: []closure.StorePath{c.Paths[i].Path}, Size: c.Paths[i].NarSize})
	}
	return SideOfClosure(name, platform, c, p, layers.Compression{Algorithm: "gzip", Level: 1})
}

// closureOf makes a closure from lines of the form "NAME CONTENT [-> REFERENCE...]". The
// first letter of NAME becomes the hash of the store path, and each REFERENCE is such a
// letter.
func closureOf(t testing.TB, lines ...string) *closure.Closure {
	t.Helper()
	var infos []closure.Info
	byLetter := map[string]closure.StorePath{}
	for _, l := range lines {
		name := strings.Fields(l)[0]
		p, err := closure.ParseStorePath("/nix/store/" + strings.Repeat(name[:1], 32) + name[1:])
		if err != nil {
			t.Fatal(err)
		}
		byLetter[name[:1]] = p
	}
	for _, l := range lines {
		what, refs, _ := strings.Cut(l, " -> ")
		f := strings.Fields(what)
		info := closure.Info{Path: byLetter[f[0][:1]], NarHash: closure.Hash{f[1][0]}, NarSize: int64(1000 * len(f[1]))}
		for _, r := range strings.Fields(refs) {
			info.References = append(info.References, byLetter[r])
		}
		infos = append(infos, info)
	}
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompareClosures(t *testing.T) {
	a := closureOf(t,
		"a-nginx-1.26.1 xx", "b-glibc-2.38-66 xxxx", "c-glibc-2.38-66-dev x", "d-etc x", "f-old-1 x", "g-tool-1.9 x", "h-same-3 x", "i-python3-3.11.9 x", "j-impure-1 x", "k-moved-1 x")
	b := closureOf(t,
		"0-nginx-1.26.2 xxx", "1-glibc-2.39 xxxx", "2-glibc-2.39-dev x", "3-etc x", "4-new-1-unstable-2024 x", "5-tool-1.10 x", "h-same-3 x", "6-python3-3.12.1 x", "i-python3-3.11.9 x", "j-impure-1 yy", "7-moved-1 x", "8-moved-2 x")
	var got []string
	changes, _ := compareClosures(a, b)
	for _, c := range changes {
		got = append(got, c.Kind+" "+c.Name+" "+c.versionsText()+" "+deltaText(c.Size))
	}
	want := []string{
		"changed glibc 2.38-66 → 2.39 ±0 B",
		"changed moved 1 → 1, 2 +1.0 kB",
		"changed nginx 1.26.1 → 1.26.2 +1.0 kB",
		"changed tool 1.9 → 1.10 ±0 B",
		"added new 1-unstable-2024 +1.0 kB",
		"added python3 3.12.1 +1.0 kB",
		"removed old 1 -1.0 kB",
		"edited etc  ±0 B",
		"altered impure /nix/store/jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj-impure-1 +1.0 kB",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if same, _ := compareClosures(a, a); len(same) != 0 {
		t.Errorf("a closure differs from itself: %v", same)
	}
}

func TestPullCost(t *testing.T) {
	c := closureOf(t, "a-x-1 x", "b-y-1 x")
	d := closureOf(t, "a-x-1 x", "c-y-2 x")
	x, y, z := c.Paths[0].Path, c.Paths[1].Path, d.Paths[1].Path
	image := func(c *closure.Closure, ls ...SideLayer) *SidePlatform { return &SidePlatform{Closure: c, Layers: ls} }
	shared := SideLayer{Digest: "sha256:1", Recipe: "r1", Size: 10, Paths: []closure.StorePath{x}}
	old := SideLayer{Digest: "sha256:2", Recipe: "r2", Size: 20, Paths: []closure.StorePath{y}}
	fresh := SideLayer{Digest: "sha256:3", Recipe: "r3", Size: 30, Paths: []closure.StorePath{z}}
	system := SideLayer{Digest: "sha256:4", Recipe: "r4", Size: 5, System: true}
	for _, tt := range []struct {
		name     string
		a, b     *SidePlatform
		pulled   []int64
		of, size int64
		because  []closure.StorePath
	}{
		{name: "update", a: image(c, shared, old), b: image(d, shared, fresh), pulled: []int64{30}, of: 40, size: 30, because: []closure.StorePath{z}},
		{name: "same", a: image(c, shared, old), b: image(c, shared, old), of: 30},
		{name: "other tool", a: image(nil, SideLayer{Digest: "sha256:1"}), b: image(nil, SideLayer{Digest: "sha256:1", Size: 1}, SideLayer{Digest: "sha256:9", Size: 2}), pulled: []int64{2}, of: 3, size: 2},
		{name: "a blob twice", a: image(nil), b: image(nil, SideLayer{Digest: "sha256:9", Size: 2}, SideLayer{Digest: "sha256:9", Size: 2}), pulled: []int64{2}, of: 2, size: 2},
		{name: "compressed differently", a: image(c, shared), b: image(c, SideLayer{Digest: "sha256:8", Recipe: "r8", Size: 9, Paths: []closure.StorePath{x}}), pulled: []int64{9}, of: 9, size: 9},
		{name: "planned", a: image(c, shared, old, system), b: &SidePlatform{Closure: d, Planned: true, Layers: []SideLayer{{Recipe: "r1", Size: 1000}, {Recipe: "r3", Size: 1000, Paths: []closure.StorePath{z}}}},
			pulled: []int64{1000}, of: 2000, size: 1000, because: []closure.StorePath{z}},
		{name: "from planned", a: &SidePlatform{Closure: d, Planned: true, Layers: []SideLayer{{Recipe: "r1"}}}, b: image(c, shared, old, system), pulled: []int64{20}, of: 30, size: 20, because: []closure.StorePath{y}},
	} {
		p := pullCost(tt.a, tt.b)
		var sizes []int64
		var because []closure.StorePath
		for _, l := range p.Layers {
			sizes = append(sizes, l.Size)
			because = append(because, l.Because...)
		}
		if !slices.Equal(sizes, tt.pulled) || p.OfSize != tt.of || p.Size != tt.size || !slices.Equal(because, tt.because) {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
}

func TestComparePlatforms(t *testing.T) {
	c := closureOf(t, "a-x-1 x")
	both := Side{Name: "both", Platforms: []SidePlatform{{Platform: "linux/amd64", Closure: c}, {Platform: "linux/arm64", Closure: c}}}
	one := Side{Name: "one", Platforms: both.Platforms[1:]}
	anon := Side{Name: "anon", Platforms: []SidePlatform{{Closure: c}}}
	d, err := Compare(both, one)
	if err != nil || len(d.Platforms) != 2 || d.Platforms[0].OnlyIn != "a" || d.Platforms[1].OnlyIn != "" || d.Same() {
		t.Errorf("a platform less: %+v, %v", d, err)
	}
	if d, err := Compare(anon, one); err != nil || d.Platforms[0].Platform != "linux/arm64" || !d.Same() {
		t.Errorf("a closure that does not say: %+v, %v", d, err)
	}
	if _, err := Compare(anon, both); err == nil || !strings.Contains(err.Error(), "the platform of anon is unknown") {
		t.Errorf("which of two: %v", err)
	}
}

func TestDiffGolden(t *testing.T) {
	d, err := Compare(planned(t, "before", "linux/amd64", sample(t, "sample-x86_64-linux")), planned(t, "after", "linux/amd64", sample(t, "sample-x86_64-linux-update")))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := d.WriteText(terminal.New(&text), true); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "diff.txt", text.Bytes())
	var md bytes.Buffer
	if err := d.WriteMarkdown(&md); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "diff.md", md.Bytes())
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "diff.json", append(data, '\n'))
}

func TestCompareVersions(t *testing.T) {
	// These examples and their order come from the Nix manual and Nix's own tests.
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"1.0", "2.3", -1}, {"2.1", "2.3", -1}, {"2.3", "2.3", 0}, {"2.5", "2.3", 1}, {"3.1", "2.3", 1},
		{"2.3.1", "2.3", 1}, {"2.3.1", "2.3a", 1}, {"2.3pre1", "2.3", -1}, {"2.3pre3", "2.3pre12", -1},
		{"2.3a", "2.3c", -1}, {"2.3pre1", "2.3c", -1}, {"2.3pre1", "2.3q", -1}, {"1.9", "1.10", -1}, {"", "1", -1}, {"1.02", "1.2", 0},
	} {
		if got := compareVersions(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := compareVersions(tt.b, tt.a); got != -tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.b, tt.a, got, -tt.want)
		}
	}
}
