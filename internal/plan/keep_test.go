package plan

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

// rebuilt gives new hashes to the paths at the given places and to all paths that refer to
// them. It adds paths named leaves, to which only the toplevel refers. The toplevel stays
// last.
func rebuilt(infos []closure.Info, rev uint64, places []int, leaves ...string) []closure.Info {
	renamed := map[closure.StorePath]closure.StorePath{}
	var out []closure.Info
	for i, info := range infos {
		if i == len(infos)-1 {
			for k, name := range leaves {
				leaf := closure.Info{Path: storePath(rev*1000+uint64(k), name), NarSize: 1500, References: []closure.StorePath{infos[0].Path}}
				if p, ok := renamed[infos[0].Path]; ok {
					leaf.References[0] = p
				}
				out = append(out, leaf)
				info.References = append(slices.Clone(info.References), leaf.Path)
			}
		}
		old := info.Path
		changed := slices.Contains(places, i) || i == len(infos)-1
		refs := slices.Clone(info.References)
		self := slices.Contains(refs, old)
		refs = slices.DeleteFunc(refs, func(p closure.StorePath) bool { return p == old })
		for k, ref := range refs {
			if p, ok := renamed[ref]; ok {
				refs[k], changed = p, true
			}
		}
		if changed {
			info.Path = storePath(rev<<32+uint64(i), old.Name())
			renamed[old] = info.Path
		}
		if self {
			refs = append(refs, info.Path)
		}
		info.References = refs
		out = append(out, info)
	}
	return out
}

// movedLayers counts the layers of now in which every path is in old's closure, but which are
// not layers of old.
func movedLayers(old *Plan, oldC *closure.Closure, now *Plan) (n int) {
	have := map[string]bool{}
	for _, g := range old.Groups {
		have[fmt.Sprint(g.Paths)] = true
	}
	for _, g := range now.Groups {
		if !have[fmt.Sprint(g.Paths)] && !slices.ContainsFunc(g.Paths, func(p closure.StorePath) bool { return oldC.Info(p) == nil }) {
			n++
		}
	}
	return n
}

func TestPlanSmallLeafMovesNothing(t *testing.T) {
	for seed := range uint64(10) {
		infos := randomInfos(rand.New(rand.NewPCG(seed, 7)), 500)
		c := mustClosure(t, infos)
		for _, budget := range []int{60, 100} {
			o := Options{MaxLayers: budget}
			old := mustPlan(t, c, o)
			now := mustPlan(t, mustClosure(t, rebuilt(infos, seed, nil, "newleaf-1.0")), o)
			if n := movedLayers(old, c, now); n > 0 {
				t.Errorf("seed %d, %d layers: a new leaf moved %d layers", seed, budget, n)
			}
		}
	}
}

func TestPlanKeepsLayers(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(8, 7)), 400)
	c := mustClosure(t, infos)
	old := mustPlan(t, c, Options{MaxLayers: 60})

	if got := mustPlan(t, c, Options{MaxLayers: 60, From: old}); shape(got) != shape(old) {
		t.Error("the same closure from its own plan has another plan")
	}
	for rev := range uint64(20) {
		r := rand.New(rand.NewPCG(rev, 8))
		infos = rebuilt(infos, rev+1, []int{r.IntN(400), 300 + r.IntN(100)}, fmt.Sprintf("leaf%d-1.0", rev))
		now := mustClosure(t, infos)
		plan := mustPlan(t, now, Options{MaxLayers: 60, From: old})
		checkPlan(t, now, plan, 60)
		if again := mustPlan(t, now, Options{MaxLayers: 60, From: plan}); shape(again) != shape(plan) {
			t.Fatalf("update %d: keeping a plan of the same closure changes it", rev)
		}
		c, old = now, plan
	}

	// A smaller budget merges layers. A larger budget is used only for new paths.
	for _, budget := range []int{1, 2, 10, 59, 100} {
		checkPlan(t, c, mustPlan(t, c, Options{MaxLayers: budget, From: old}), budget)
	}
	// An old plan without matching paths, or with a path twice, must not cause an error.
	for _, from := range []*Plan{{}, {Groups: []Group{{Paths: []closure.StorePath{storePath(1, "x")}}, {}}}, {Groups: append(slices.Clone(old.Groups), old.Groups...)}} {
		checkPlan(t, c, mustPlan(t, c, Options{MaxLayers: 60, From: from}), 60)
	}
}

func TestPlanKeepMatchesNames(t *testing.T) {
	path := func(seed uint64, name string) closure.StorePath { return storePath(seed, name) }
	old := &Plan{Groups: []Group{
		{Paths: []closure.StorePath{path(1, "gcc-14.1"), path(2, "gcc-14.1-lib")}},
		{Paths: []closure.StorePath{path(3, "nginx-1.0")}},
	}}
	// A new plan with three layers would give each path its own. Only the old plan keeps gcc
	// and its library together.
	c := mustClosure(t, []closure.Info{
		{Path: path(11, "gcc-14.2"), NarSize: 5 << 20},
		{Path: path(12, "gcc-14.2-lib"), NarSize: 5 << 20},
		{Path: path(13, "nginx-1.1"), NarSize: 5 << 20},
	})
	p := mustPlan(t, c, Options{MaxLayers: 2, From: old})
	var got []string
	for _, g := range p.Groups {
		var l []string
		for _, p := range g.Paths {
			l = append(l, p.Name())
		}
		slices.Sort(l)
		got = append(got, strings.Join(l, "+"))
	}
	slices.Sort(got)
	if s := strings.Join(got, " "); s != "gcc-14.2+gcc-14.2-lib nginx-1.1" {
		t.Errorf("layers are %s", s)
	}
}

func TestPlanFile(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(9, 7)), 80)
	c := mustClosure(t, infos)
	plan := mustPlan(t, c, Options{MaxLayers: 12, Layers: []LayerGlob{{"p7*", "sevens"}}})
	var b bytes.Buffer
	if err := Encode(&b, plan); err != nil {
		t.Fatal(err)
	}
	f, err := Decode(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	back, err := Follow(c, f, 12)
	if err != nil {
		t.Fatal(err)
	}
	if shape(back) != shape(plan) {
		t.Error("a plan that was written and read is another")
	}
	if _, err := Follow(c, f, 11); !errors.Is(err, ErrTooManyLayers) {
		t.Errorf("12 layers into 11: %v", err)
	}
	other := mustClosure(t, rebuilt(infos, 1, []int{3}))
	if _, err := Follow(other, f, 12); !errors.Is(err, ErrMismatch) {
		t.Errorf("another closure: %v", err)
	}
	for name, doc := range map[string]string{
		"version":   `{"nixociPlan":2,"layers":[]}`,
		"no object": `[]`,
		"unknown":   `{"nixociPlan":1,"layres":[]}`,
		"empty":     `{"nixociPlan":1,"layers":[{"paths":[]}]}`,
		"path":      `{"nixociPlan":1,"layers":[{"paths":["/nix/store/x"]}]}`,
		"glob":      `{"nixociPlan":1,"layers":[{"paths":["["]}]}`,
		"more":      `{"nixociPlan":1,"layers":[]} {}`,
	} {
		if f, err := Decode(strings.NewReader(doc)); err == nil {
			t.Errorf("%s: read as %+v", name, f)
		}
	}
}

func FuzzDecodePlan(f *testing.F) {
	f.Add([]byte(`{"nixociPlan":1,"strategy":"cost","layers":[{"name":"a","paths":["/nix/store/00000000000000000000000000000000-a","b*"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		c := mustClosure(t, []closure.Info{{Path: storePath(1, "a"), NarSize: 1}})
		if p, err := Follow(c, file, 100); err == nil {
			checkPlan(t, c, p, 100)
		}
	})
}
