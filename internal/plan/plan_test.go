package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/cputime"
)

// storePath returns a store path with a hash computed from seed.
func storePath(seed uint64, name string) closure.StorePath {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	r := rand.New(rand.NewPCG(seed, 1))
	h := make([]byte, 32)
	for i := range h {
		h[i] = digits[r.IntN(32)]
	}
	return closure.StorePath(closure.StoreDir + "/" + string(h) + "-" + name)
}

// randomInfos returns a closure of n paths that resembles NixOS: a few libraries that many
// paths use, many packages, sizes over five orders of magnitude, and a toplevel.
func randomInfos(r *rand.Rand, n int) []closure.Info {
	infos := make([]closure.Info, 0, n+1)
	for i := range n {
		info := closure.Info{
			Path:    storePath(r.Uint64(), fmt.Sprintf("p%d-1.%d", i, r.IntN(9))),
			NarSize: int64(1000 / (1e-5 + r.Float64()*r.Float64()*r.Float64())),
		}
		for range min(i, r.IntN(8)) {
			j := int(float64(i) * r.Float64() * r.Float64())
			info.References = append(info.References, infos[j].Path)
		}
		if r.IntN(4) == 0 {
			info.References = append(info.References, info.Path)
		}
		infos = append(infos, info)
	}
	top := closure.Info{Path: storePath(r.Uint64(), "nixos-system-host-25.11"), NarSize: 20_000}
	for _, info := range infos {
		top.References = append(top.References, info.Path)
	}
	return append(infos, top)
}

func mustClosure(t testing.TB, infos []closure.Info) *closure.Closure {
	t.Helper()
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustPlan(t testing.TB, c *closure.Closure, o Options) *Plan {
	t.Helper()
	p, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkPlan fails unless every path of c is in exactly one group, the groups are sorted,
// their sizes are right, and there are at most budget groups.
func checkPlan(t testing.TB, c *closure.Closure, p *Plan, budget int) {
	t.Helper()
	if len(p.Groups) > budget {
		t.Errorf("%d layers, budget %d", len(p.Groups), budget)
	}
	seen := map[closure.StorePath]bool{}
	for i, g := range p.Groups {
		if len(g.Paths) == 0 {
			t.Errorf("layer %d is empty", i)
		}
		if !slices.IsSorted(g.Paths) {
			t.Errorf("layer %d is not sorted", i)
		}
		var size int64
		for _, path := range g.Paths {
			info := c.Info(path)
			if info == nil {
				t.Fatalf("layer %d: %s is not in the closure", i, path)
			}
			if seen[path] {
				t.Errorf("%s is in two layers", path)
			}
			seen[path] = true
			size += info.NarSize
		}
		if size != g.Size {
			t.Errorf("layer %d: size %d, paths have %d", i, g.Size, size)
		}
		if g.Chance < 0 || g.Chance > 1 {
			t.Errorf("layer %d: chance %v", i, g.Chance)
		}
	}
	if len(seen) != len(c.Paths) {
		t.Errorf("%d paths planned of %d", len(seen), len(c.Paths))
	}
}

// shape returns a plan as text, without the parts that are only for information.
func shape(p *Plan) string {
	var b strings.Builder
	for _, g := range p.Groups {
		fmt.Fprintln(&b, g.Name, g.Size, g.Paths)
	}
	return b.String()
}

func TestPlanIsValidForAnyGraph(t *testing.T) {
	graphs := 10_000
	if testing.Short() {
		graphs = 1_000
	}
	for seed := range uint64(graphs) {
		r := rand.New(rand.NewPCG(seed, 2))
		n := r.IntN(30)
		infos := make([]closure.Info, 0, n+1)
		for i := range n + 1 {
			info := closure.Info{Path: storePath(seed<<8+uint64(i), "x"), NarSize: r.Int64N(3)}
			switch r.IntN(4) {
			case 0:
				info.NarSize = r.Int64()
				if n > 0 {
					info.NarSize /= int64(n + 1)
				}
			case 1:
				info.NarSize = r.Int64N(1 << 30)
			}
			if r.IntN(3) == 0 {
				info.Path = storePath(seed<<8+uint64(i), generatedNames[r.IntN(5)][:3])
			}
			for range r.IntN(4) {
				if i > 0 {
					info.References = append(info.References, infos[r.IntN(i)].Path)
				}
			}
			if r.IntN(3) == 0 {
				info.References = append(info.References, info.Path)
			}
			infos = append(infos, info)
		}
		c := mustClosure(t, infos)
		budget := 1 + r.IntN(40)
		checkPlan(t, c, mustPlan(t, c, Options{MaxLayers: budget}), budget)
		if seed%10 == 0 {
			for _, s := range Strategies {
				checkPlan(t, c, mustPlan(t, c, Options{MaxLayers: budget, Strategy: s}), budget)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d, %d paths", seed, n+1)
		}
	}
}

func TestPlanDoesNotDependOnInputOrder(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(1, 1)), 400)
	for _, s := range Strategies {
		want := shape(mustPlan(t, mustClosure(t, infos), Options{Strategy: s}))
		for seed := range uint64(5) {
			r := rand.New(rand.NewPCG(seed, 3))
			shuffled := slices.Clone(infos)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			for i := range shuffled {
				refs := slices.Clone(shuffled[i].References)
				r.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
				shuffled[i].References = refs
			}
			if got := shape(mustPlan(t, mustClosure(t, shuffled), Options{Strategy: s})); got != want {
				t.Fatalf("%s: another input order gives another plan", s)
			}
		}
	}
}

// names returns the groups of a plan as names of paths. Names are unique in randomInfos.
func names(p *Plan) string {
	var layers []string
	for _, g := range p.Groups {
		var l []string
		for _, p := range g.Paths {
			l = append(l, p.Name())
		}
		slices.Sort(l)
		layers = append(layers, strings.Join(l, " "))
	}
	return strings.Join(layers, "\n")
}

func TestPlanDoesNotDependOnStoreHashes(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(1, 1)), 400)
	for _, s := range Strategies {
		want := names(mustPlan(t, mustClosure(t, infos), Options{Strategy: s}))
		other := map[closure.StorePath]closure.StorePath{}
		for i, info := range infos {
			other[info.Path] = storePath(uint64(i)*7919, info.Path.Name())
		}
		renamed := make([]closure.Info, len(infos))
		for i, info := range infos {
			renamed[i] = closure.Info{Path: other[info.Path], NarSize: info.NarSize}
			for _, ref := range info.References {
				renamed[i].References = append(renamed[i].References, other[ref])
			}
		}
		if got := names(mustPlan(t, mustClosure(t, renamed), Options{Strategy: s})); got != want {
			t.Errorf("%s: other store hashes give another plan", s)
		}
	}
}

func TestPlanScalesWithSizes(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(4, 1)), 400)
	want := names(mustPlan(t, mustClosure(t, infos), Options{MaxLayers: 60}))
	for i := range infos {
		infos[i].NarSize *= 2
	}
	if names(mustPlan(t, mustClosure(t, infos), Options{MaxLayers: 60})) != want {
		t.Error("twice all sizes give another plan")
	}
}

// TestPlanScalesAtAnyRate checks that real systems get the same layers if all sizes are
// multiplied by one factor.
func TestPlanScalesAtAnyRate(t *testing.T) {
	for _, system := range []string{"x86_64-linux", "aarch64-linux"} {
		c := graphClosure(t, "../../bench/plan/graphs/large-"+system+".json.gz")
		for _, budget := range []int{60, 100} {
			want := names(mustPlan(t, c, Options{MaxLayers: budget}))
			for _, rate := range []float64{0.99, 1.01, 1.3} {
				infos := slices.Clone(c.Paths)
				for i := range infos {
					infos[i].NarSize = int64(float64(infos[i].NarSize) * rate)
				}
				if names(mustPlan(t, mustClosure(t, infos), Options{MaxLayers: budget})) != want {
					t.Errorf("%s, %d layers: all sizes × %v give another plan", system, budget, rate)
				}
			}
		}
	}
}

// TestPlanOfForgedSizes checks that the sum stays exact if a graph states impossibly large
// sizes.
func TestPlanOfForgedSizes(t *testing.T) {
	infos := make([]closure.Info, 9000)
	for i := range infos {
		infos[i] = closure.Info{Path: storePath(uint64(i), "x"), NarSize: 1 << 50}
	}
	c := mustClosure(t, infos)
	checkPlan(t, c, mustPlan(t, c, Options{}), DefaultMaxLayers)
}

// TestPlanExample checks the example in the package documentation.
func TestPlanExample(t *testing.T) {
	path := map[string]closure.StorePath{}
	var infos []closure.Info
	for i, p := range []struct {
		name string
		size int64
		refs string
	}{
		{"glibc-2", 30, ""}, {"zlib-1", 1, "glibc-2"}, {"python-3", 90, "zlib-1"}, {"git-2", 40, "zlib-1"}, {"etc", 1, "python-3 git-2"},
	} {
		path[p.name] = storePath(uint64(i), p.name)
		info := closure.Info{Path: path[p.name], NarSize: p.size * 1_000_000}
		for _, r := range strings.Fields(p.refs) {
			info.References = append(info.References, path[r])
		}
		infos = append(infos, info)
	}
	c := mustClosure(t, infos)
	for budget, want := range map[int]string{
		3: "git-2 glibc-2 zlib-1\npython-3\netc",
		4: "glibc-2\ngit-2 zlib-1\npython-3\netc",
	} {
		if got := names(mustPlan(t, c, Options{MaxLayers: budget})); got != want {
			t.Errorf("%d layers:\n%s\nwant\n%s", budget, got, want)
		}
	}
}

func TestPlanNamedLayers(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(5, 1)), 60)
	c := mustClosure(t, infos)
	o := Options{MaxLayers: 10, Layers: []LayerGlob{{"p1*", "ones"}, {"p1?-*", "never: the first glob has them all"}, {infos[5].Path.Base(), "five"}}}
	p := mustPlan(t, c, o)
	checkPlan(t, c, p, 10)
	for _, g := range p.Groups {
		for _, path := range g.Paths {
			want := ""
			switch {
			case strings.HasPrefix(path.Name(), "p1"):
				want = "ones"
			case path == infos[5].Path:
				want = "five"
			}
			if g.Name != want {
				t.Errorf("%s is in layer %q, want %q", path, g.Name, want)
			}
		}
	}
	if _, err := New(c, Options{MaxLayers: 1, Layers: o.Layers}); err == nil {
		t.Error("two named layers and a rest fit into one layer")
	}
	if _, err := New(c, Options{MaxLayers: 1, Layers: []LayerGlob{{"*", "all"}}}); err != nil {
		t.Error(err)
	}
}

// TestPlanLayerOfAPath checks that a LayerGlob with a store path puts the closure of this
// path into the layer.
func TestPlanLayerOfAPath(t *testing.T) {
	names := []string{"libc", "ssl", "python", "data", "app"}
	infos := make([]closure.Info, len(names))
	for i, name := range names {
		infos[i] = closure.Info{Path: storePath(uint64(i), name), NarSize: 1000}
	}
	for from, to := range map[int][]int{1: {0}, 2: {1}, 4: {2, 3}} {
		for _, i := range to {
			infos[from].References = append(infos[from].References, infos[i].Path)
		}
	}
	elsewhere := storePath(9, "arm-python")
	p := mustPlan(t, mustClosure(t, infos), Options{MaxLayers: 10, Layers: []LayerGlob{{string(infos[1].Path), "ssl"}, {string(elsewhere), "elsewhere"}, {string(infos[2].Path), "python"}}})
	checkPlan(t, mustClosure(t, infos), p, 10)
	got := map[string]string{}
	for _, g := range p.Groups {
		for _, path := range g.Paths {
			got[path.Name()] = g.Name
		}
	}
	if want := map[string]string{"libc": "ssl", "ssl": "ssl", "python": "python", "data": "", "app": ""}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseLayerGlob(t *testing.T) {
	const path = "/nix/store/00000000000000000000000000000001-hello-2.12"
	for s, want := range map[string]LayerGlob{
		path + "=hello":        {path, "hello"},
		"a*=b":                 {"a*", "b"},
		"?i=p=x":               {"?i=p", "x"},
		"linux-*=kernel and c": {"linux-*", "kernel and c"},
	} {
		if got, err := ParseLayerGlob(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "=", "a", "a=", "=b", "[=b", path + "/bin=b", "/nix/store/=b"} {
		if got, err := ParseLayerGlob(s); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
}

func TestGeneratedNames(t *testing.T) {
	for _, glob := range generatedNames {
		if _, err := path.Match(glob, ""); err != nil || strings.ContainsAny(glob, `?[]\`) || strings.Count(glob, "*") > 1 {
			t.Errorf("%s: not a pattern with at most one *, and no other special character (%v)", glob, err)
		}
		for _, name := range []string{"", "x", glob, "x" + glob, glob + "x", strings.ReplaceAll(glob, "*", ""), strings.ReplaceAll(glob, "*", "a-1.2"), strings.TrimPrefix(glob, "*."), strings.TrimSuffix(glob, "-*")} {
			matches := slices.ContainsFunc(generatedNames, func(g string) bool { ok, _ := path.Match(g, name); return ok })
			if isGenerated(name) != matches {
				t.Errorf("%q: generated %v, but path.Match gives %v", name, !matches, matches)
			}
		}
	}
	for name, want := range map[string]bool{
		"etc": true, "unit-nginx.service": true, "system-path": true, "nixos-system-web-25.11": true,
		"systemd-257": false, "nginx-1.26.1": false, "etcd-3.5": false, "unit": false,
	} {
		if isGenerated(name) != want {
			t.Errorf("%s: generated %v", name, !want)
		}
	}
}

func TestStem(t *testing.T) {
	for name, want := range map[string]string{
		"nginx-1.26.1": "nginx", "perl-5.40.0-dev": "perl-dev", "gcc-14.2.0-lib": "gcc-lib",
		"nixos-system-web-25.11pre1": "nixos-system-web", "system-path": "system-path",
		"font-misc-7x14": "font-misc", "x-1": "x", "-1": "-1", "libfoo-1.0-2+b1": "libfoo", "": "",
	} {
		if got := stem(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// BenchmarkPlan measures planning. The goal is 50 ms for 400 paths and 2 s for 5,000.
func BenchmarkPlan(b *testing.B) {
	for _, paths := range []int{400, 5000} {
		c := mustClosure(b, randomInfos(rand.New(rand.NewPCG(6, 1)), paths))
		b.Run(strconv.Itoa(paths), func(b *testing.B) {
			b.ReportAllocs()
			defer cputime.Report(b)()
			for b.Loop() {
				mustPlan(b, c, Options{})
			}
		})
	}
}
