package plan

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

// versions returns one path for each name, with a hash that depends on the version of the name.
func versions(of map[string]int) (paths []closure.StorePath) {
	for name, v := range of {
		paths = append(paths, storePath(uint64(v)<<8+uint64(name[0]), fmt.Sprintf("%s-%d", name, v)))
	}
	slices.Sort(paths)
	return paths
}

// TestOwnChanges checks which updates changed a package by itself. Such an update changed the version
// of the package, or it changed the package but no package to which it refers.
func TestOwnChanges(t *testing.T) {
	image := func(a, b, c int, more ...closure.StorePath) []closure.StorePath {
		return append(versions(map[string]int{"a": a, "b": b, "c": c}), more...)
	}
	now := image(4, 2, 1)
	path := func(letter byte) closure.StorePath {
		return now[slices.IndexFunc(now, func(p closure.StorePath) bool { return p.Name()[0] == letter })]
	}
	// x refers to b. One update rebuilds x together with b, and another changes x alone. y refers
	// to a. The update that changes both a and y gives y a new version.
	x, y := storePath(90, "x"), storePath(94, "y-4")
	fresh := storePath(98, "fresh-1")
	c := mustClosure(t, []closure.Info{
		{Path: path('a'), NarSize: 1}, {Path: path('b'), NarSize: 1}, {Path: path('c'), NarSize: 1},
		{Path: x, NarSize: 1, References: []closure.StorePath{path('b')}},
		{Path: y, NarSize: 1, References: []closure.StorePath{path('a')}},
		{Path: fresh, NarSize: 1},
	})
	g := newGraph(c)
	own := g.ownChanges([][]closure.StorePath{
		image(3, 2, 1, x, storePath(93, "y-3")),
		image(2, 2, 1, storePath(89, "x"), storePath(93, "y-3")),
		image(1, 1, 1, storePath(88, "x"), storePath(93, "y-3")),
		image(1, 1, 1), // x and y did not exist
	})
	want := map[string]uint64{"a-4": 0b0111, "b-2": 0b0100, "c-1": 0, "x": 0b0010, "y-4": 0b0001, "fresh-1": 0}
	for i, info := range g.infos {
		if name := info.Path.Name(); own[i] != want[name] {
			t.Errorf("%s: changed by itself in %04b, want %04b", name, own[i], want[name])
		}
	}
}

// TestLearn checks that packages that change together are one cluster, that each path has the
// clusters of its closure, and that a package with more changes has a larger weight.
func TestLearn(t *testing.T) {
	image := func(v int) (paths []closure.StorePath) {
		for i := range 30 { // packages that never change
			paths = append(paths, storePath(uint64(1000+i), fmt.Sprintf("calm%d-1", i)))
		}
		for _, name := range []string{"docker", "containerd"} {
			paths = append(paths, storePath(uint64(v)<<8+uint64(name[0]), fmt.Sprintf("%s-%d", name, v)))
		}
		return append(paths, storePath(uint64(v/3)<<8+'e', fmt.Sprintf("eza-%d", v/3)))
	}
	var infos []closure.Info
	for _, p := range image(12) {
		infos = append(infos, closure.Info{Path: p, NarSize: 1})
	}
	user := closure.Info{Path: storePath(5, "user-1"), NarSize: 1}
	for _, info := range infos {
		if info.Path.Name() != "calm0-1" {
			user.References = append(user.References, info.Path)
		}
	}
	g := newGraph(mustClosure(t, append(infos, user)))
	var images [][]closure.StorePath
	for v := 11; v >= 0; v-- {
		images = append(images, append(image(v), user.Path))
	}
	h := g.learn(images)
	if h == nil {
		t.Fatal("nothing was learned")
	}
	clusters := map[string]uint64{}
	for i, info := range g.infos {
		clusters[stem(info.Path.Name())] = h.clusters[i]
	}
	for name, want := range map[string]uint64{"docker": 1, "containerd": 1, "eza": 2, "calm1": 0, "user": 3} {
		if clusters[name] != want {
			t.Errorf("%s: clusters %b, want %b", name, clusters[name], want)
		}
	}
	if h.weights[0] <= h.weights[1] || h.weights[1] <= weightUnit || h.cold >= weightUnit {
		t.Errorf("weights %v, of other packages %d", h.weights[:2], h.cold)
	}
	if whole, unit := g.rate(len(g.infos), 3), g.chances[len(g.infos)]; whole > unit {
		t.Errorf("the chance of the whole closure is %v, more than %v", whole, unit)
	}
}

// TestEvenHistory checks that a history does not affect the plan if all packages change equally
// often.
func TestEvenHistory(t *testing.T) {
	infos := randomInfos(rand.New(rand.NewPCG(3, 3)), 52)
	from := mustPlan(t, mustClosure(t, infos), Options{MaxLayers: 20})
	var history [][]closure.StorePath
	for rev := range 52 { // each package changes once
		var paths []closure.StorePath
		for _, info := range infos {
			paths = append(paths, info.Path)
		}
		history = append([][]closure.StorePath{paths}, history...)
		place := infos[rev].Path
		infos = slices.Clone(infos)
		for i := range infos {
			infos[i].References = nil
		}
		infos[rev].Path = storePath(uint64(rev)+700, place.Name())
	}
	c := mustClosure(t, infos)
	plain := mustPlan(t, c, Options{MaxLayers: 20, From: from})
	if got := mustPlan(t, c, Options{MaxLayers: 20, From: from, History: history}); !sameGroups(got, plain) {
		t.Error("the plan differs")
	}
}

// TestReplaced checks which path a new path replaces. A path with the same name must have priority
// over a path with the same name without version. Each old path must be replaced only once.
func TestReplaced(t *testing.T) {
	x1, x2, x3, y := storePath(1, "x-1"), storePath(2, "x-1"), storePath(3, "x-3"), storePath(4, "y-1")
	old1, old2 := storePath(5, "x-1"), storePath(6, "x-2")
	got := replaced([]closure.StorePath{x1, x2, x3, y}, []closure.StorePath{old1, old2})
	want := map[closure.StorePath]closure.StorePath{x1: old1, x2: old2, x3: "", y: ""}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestHistoryGroups plans two layers for three programs. Two of the programs always change together,
// and the third never changes. Only the history shows this. With the history, the two programs must
// share a layer.
func TestHistoryGroups(t *testing.T) {
	image := func(a, b, c int) []closure.StorePath { return versions(map[string]int{"a": a, "b": b, "c": c}) }
	now := image(9, 9, 1)
	infos := make([]closure.Info, len(now))
	for i, p := range now {
		infos[i] = closure.Info{Path: p, NarSize: 10_000_000}
	}
	c := mustClosure(t, infos)
	old := image(8, 8, 1)
	from := &Plan{}
	for _, p := range old { // a and c share a layer
		if p.Name()[0] == 'b' {
			from.Groups = append(from.Groups, Group{Paths: []closure.StorePath{p}})
		}
	}
	from.Groups = append(from.Groups, Group{Paths: slices.DeleteFunc(slices.Clone(old), func(p closure.StorePath) bool { return p.Name()[0] == 'b' })})
	var history [][]closure.StorePath
	for v := range 7 {
		history = append(history, image(7-v, 7-v, 1))
	}
	layers := func(history [][]closure.StorePath) (names []string) {
		for _, g := range mustPlan(t, c, Options{MaxLayers: 2, From: from, History: history}).Groups {
			name := ""
			for _, p := range g.Paths {
				name += p.Name()[:1]
			}
			names = append(names, sorted(name))
		}
		slices.Sort(names)
		return names
	}
	if got := layers(nil); !slices.Equal(got, []string{"ac", "b"}) {
		t.Errorf("without the history the layers are %q", got)
	}
	if got := layers(history); !slices.Equal(got, []string{"ab", "c"}) {
		t.Errorf("with the history the layers are %q", got)
	}
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}

// randomHistory returns an updated closure, the plan of the closure before, and the paths of
// the closures before that.
func randomHistory(t testing.TB, seed uint64, n, images int) (*closure.Closure, *Plan, [][]closure.StorePath) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	infos := randomInfos(r, n)
	var closures []*closure.Closure
	for rev := range images + 1 {
		closures = append(closures, mustClosure(t, infos))
		infos = rebuilt(infos, uint64(rev)+1, []int{r.IntN(n), r.IntN(n)}, fmt.Sprintf("leaf%d-1.0", rev))
	}
	var history [][]closure.StorePath
	for i := images - 2; i >= 0; i-- {
		var paths []closure.StorePath
		for _, info := range closures[i].Paths {
			paths = append(paths, info.Path)
		}
		history = append(history, paths)
	}
	return closures[images], mustPlan(t, closures[images-1], Options{MaxLayers: 40}), history
}

// TestHistoryOrder checks that the order in which an image lists its paths does not affect the plan.
func TestHistoryOrder(t *testing.T) {
	c, from, history := randomHistory(t, 1, 200, 12)
	o := Options{MaxLayers: 40, From: from, History: history}
	want := mustPlan(t, c, o)
	r := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		o.History = nil
		for _, image := range history {
			shuffled := slices.Clone(image)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			o.History = append(o.History, shuffled)
		}
		if got := mustPlan(t, c, o); !reflect.DeepEqual(got, want) {
			t.Fatal("another order gives another plan")
		}
	}
}

// TestUnchangedClosure checks that an unchanged closure keeps its plan exactly, with and without a
// history. Only then can nixoci make an image again from the image's own plan.
func TestUnchangedClosure(t *testing.T) {
	for seed := range uint64(5) {
		c, from, history := randomHistory(t, seed, 300, 8)
		made := mustPlan(t, c, Options{MaxLayers: 40, From: from, History: history})
		for name, o := range map[string]Options{
			"without the history": {MaxLayers: 40, From: made},
			"with the history":    {MaxLayers: 40, From: made, History: append([][]closure.StorePath{from.Paths()}, history...)},
			"with more layers":    {MaxLayers: 50, From: made},
			"another strategy":    {MaxLayers: 40, From: mustPlan(t, c, Options{MaxLayers: 40, Strategy: StrategyPopularity})},
		} {
			if again := mustPlan(t, c, o); !sameGroups(again, o.From) {
				t.Errorf("seed %d, %s: the plan has changed", seed, name)
			}
		}
	}
}

// TestBinClusters checks that each layer has exactly the clusters of its members, while paths move
// between layers.
func TestBinClusters(t *testing.T) {
	moved := false
	for seed := range uint64(10) {
		c, from, history := randomHistory(t, seed, 300, 20)
		g := newGraph(c)
		if g.history = g.learn(append([][]closure.StorePath{from.Paths()}, history...)); g.history == nil {
			continue
		}
		for _, b := range planKeep(g, 20, from) {
			want := uint64(0)
			for _, i := range b.members {
				want |= g.clustersOf(i)
			}
			if b.clusters != want {
				t.Errorf("seed %d: a layer has the clusters %b, want %b", seed, b.clusters, want)
			}
			moved = moved || want != 0
		}
	}
	if !moved {
		t.Error("no layer has a cluster")
	}
}

// FuzzHistory checks that a plan contains every path once and no more layers than allowed, whatever
// the history contains.
func FuzzHistory(f *testing.F) {
	c, from, history := randomHistory(f, 1, 60, 4)
	var all []closure.StorePath
	for _, image := range history {
		all = append(all, image...)
	}
	f.Add([]byte{1, 2, 3, 255, 4, 5}, uint8(9))
	f.Add([]byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, layers uint8) {
		images := [][]closure.StorePath{nil}
		for _, b := range data { // 255 begins a new image
			if b == 255 {
				images = append(images, nil)
				continue
			}
			last := len(images) - 1
			images[last] = append(images[last], all[int(b)%len(all)])
		}
		o := Options{MaxLayers: 1 + int(layers)%LayerLimit, From: from, History: images}
		checkComplete(t, c, o)
	})
}

// TestForgedHistory checks plans with histories that contain paths of all kinds, in any order and
// more than once.
func TestForgedHistory(t *testing.T) {
	c, from, history := randomHistory(t, 2, 150, 6)
	var all []closure.StorePath
	for _, image := range append(history, from.Paths()) {
		all = append(all, image...)
	}
	for i := range 20 {
		all = append(all, storePath(uint64(i), "-"), storePath(uint64(i), "nixos-system-host-25.11"), storePath(uint64(i), fmt.Sprintf("p%d-9.9", i)))
	}
	r := rand.New(rand.NewPCG(9, 9))
	for range 30 {
		o := Options{MaxLayers: 1 + r.IntN(60), From: from}
		for range r.IntN(100) {
			image := make([]closure.StorePath, r.IntN(300))
			for i := range image {
				image[i] = all[r.IntN(len(all))]
			}
			o.History = append(o.History, image)
		}
		checkComplete(t, c, o)
	}
}

// checkComplete checks that a plan has every path of c exactly once, and no more layers than
// allowed.
func checkComplete(t *testing.T, c *closure.Closure, o Options) {
	t.Helper()
	p := mustPlan(t, c, o)
	seen := map[closure.StorePath]bool{}
	for _, path := range p.Paths() {
		if seen[path] {
			t.Errorf("%s is in the plan twice", path)
		}
		seen[path] = true
	}
	if len(seen) != len(c.Paths) || len(p.Groups) > o.MaxLayers {
		t.Errorf("%d of %d paths, %d layers of at most %d", len(seen), len(c.Paths), len(p.Groups), o.MaxLayers)
	}
}

// TestClustersLeave checks that a layer loses a cluster when the last member with this cluster leaves.
func TestClustersLeave(t *testing.T) {
	c, _, _ := randomHistory(t, 1, 20, 2)
	n := len(c.Paths)
	g := newGraph(c)
	g.history = &history{clusters: make([]uint64, n)}
	k := &keeper{graph: g, budget: 5, home: make([]*keptBin, n), origin: make([]*keptBin, n), unchanged: make([]bool, n)}
	k.newUnions()
	b := k.newKeptBin(0)
	for i, clusters := range []uint64{0b01, 0b11, 0b10} {
		g.history.clusters[i] = clusters
		k.add(b, int32(i))
	}
	for i, want := range []uint64{0b11, 0b10, 0} {
		k.remove(b, int32(i), k.without(b, int32(i), k.loss(int32(i), b)))
		if b.clusters != want {
			t.Errorf("after %d members have left: clusters %02b, want %02b", i+1, b.clusters, want)
		}
	}
}
