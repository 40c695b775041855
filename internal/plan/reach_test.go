package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

// shapes contains kinds of graphs in which each path has a reference whose closure contains
// all other references of the path. A path refers only to earlier paths.
var shapes = map[string]func(r *rand.Rand, i int) []int{
	"chain":         func(_ *rand.Rand, i int) []int { return []int{i - 1} },
	"ladder":        func(_ *rand.Rand, i int) []int { return []int{i - 1, i - 2} },
	"tree":          func(_ *rand.Rand, i int) []int { return []int{(i - 1) / 3} },
	"deep tree":     func(r *rand.Rand, i int) []int { return []int{i - 1 - r.IntN(4)} },
	"comb":          func(_ *rand.Rand, i int) []int { return []int{(i - 1) &^ 1} },
	"to the bottom": func(_ *rand.Rand, i int) []int { return []int{i - 1, i / 2, i / 4, 0} },
	"star":          func(_ *rand.Rand, i int) []int { return []int{0} },
}

// joining contains kinds of graphs in which many paths join the closures of several
// references.
var joining = map[string]func(r *rand.Rand, i int) []int{
	"random":    func(r *rand.Rand, i int) []int { return []int{r.IntN(i), r.IntN(i), r.IntN(i)} },
	"braid":     func(r *rand.Rand, i int) []int { return []int{i - 2, i - 3, i - 1 - r.IntN(9)} },
	"two ways":  func(_ *rand.Rand, i int) []int { return []int{i - 2} },
	"sometimes": func(r *rand.Rand, i int) []int { return []int{i - 1 - r.IntN(2)*r.IntN(i)} },
	"meet": func(_ *rand.Rand, i int) []int {
		if i%10 == 0 {
			return []int{i - 1, i - 2, i - 3}
		}
		return []int{i - 3}
	},
}

func shaped(t *testing.T, n int, refs func(*rand.Rand, int) []int) *closure.Closure {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(n), 1))
	infos := make([]closure.Info, n)
	for i := range infos {
		infos[i] = closure.Info{Path: closure.StorePath(fmt.Sprintf("/nix/store/%032d-p%d-1.0", i, (i*7919)%n)), NarSize: 100 + r.Int64N(1<<uint(8+r.IntN(16)))}
		if i == 0 {
			continue
		}
		for _, j := range refs(r, i) {
			infos[i].References = append(infos[i].References, infos[max(j, 0)].Path)
		}
	}
	return mustClosure(t, infos)
}

// TestReach: reach must count the same nodes as a walk through the graph.
func TestReach(t *testing.T) {
	defer func(n int) { blockBytes = n }(blockBytes)
	for _, all := range []map[string]func(*rand.Rand, int) []int{shapes, joining} {
		for name, refs := range all {
			for _, n := range []int{1, 2, 64, 65, 200} {
				for _, bytes := range []int{16 << 20, 8 * n, 1} {
					blockBytes = bytes
					g := newGraph(shaped(t, n, refs))
					g.rows, g.in = nil, -1 // so that checkReach walks through the graph instead of reading the table
					checkReach(t, fmt.Sprint(name, " ", n, " ", bytes), g)
				}
			}
		}
	}
}

func checkReach(t *testing.T, name string, g *graph) {
	t.Helper()
	var sets []bitset
	r := rand.New(rand.NewPCG(7, 7))
	for x := range 12 {
		set := make(bitset, g.words())
		for range x {
			g.addBelow(set, int32(r.IntN(len(g.infos))))
		}
		sets = append(sets, set)
	}
	outside := g.reach.outside(sets)
	counts := make([][]int32, len(sets))
	for x, set := range sets {
		counts[x] = make([]int32, len(g.infos))
		g.reach.each(counts[x], func(k int) int32 { return outside[k*len(sets)+x] }, func(i int32) bool { return !set.has(i) })
	}
	for i := range int32(len(g.infos)) {
		below := g.below(i)
		if int(g.counts[i]) != below.count() {
			t.Fatalf("%s: %d are below %d, not %d", name, below.count(), i, g.counts[i])
		}
		for x, set := range sets {
			want := 0
			for j := range int32(len(g.infos)) {
				if below.has(j) && !set.has(j) {
					want++
				}
			}
			if int(counts[x][i]) != want {
				t.Fatalf("%s: %d below %d are outside of set %d, not %d", name, want, i, x, counts[x][i])
			}
		}
	}
}

// TestGrowth checks that twice as many paths take only about twice as much work, for the
// graphs in shapes.
func TestGrowth(t *testing.T) {
	defer func(n int) { blockBytes = n }(blockBytes)
	blockBytes = 8 << 10
	const n = 4000
	for name, refs := range shapes {
		work := func(n int) int64 {
			c := shaped(t, n, refs)
			o := Options{MaxLayers: 12}
			g, budget, _, err := preparePlan(c, &o)
			if err != nil {
				t.Fatal(err)
			}
			if g.rows != nil {
				t.Fatalf("%d paths have a table", n)
			}
			planCost(g, budget)
			return g.steps
		}
		if one, two := work(n), work(2*n); float64(two) > 2.3*float64(one) {
			t.Errorf("%s: %d paths take %d steps, %d take %d", name, n, one, 2*n, two)
		}
	}
}
