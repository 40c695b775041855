package plan

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// graph is a closure as the planner sees it: nodes in canonical order, and
// for each of them the set of nodes that it changes with.
type graph struct {
	infos  []closure.Info // in canonical order: name, size, then the path
	names  []string
	sizes  []int64
	refs   [][]int32 // without self references
	users  [][]int32 // the reverse of refs
	order  []int32   // every node after all that it refers to
	below  []bitset  // the node and everything in its own closure
	counts []int     // how many nodes that is
	total  int64     // bytes

	generated []bool    // made of the configuration, no package
	fixed     []bool    // in a layer that the caller decided
	chances   []float64 // by number of nodes, see [chances]
}

// maxPlanTotal keeps sums of sizes, even of forged graphs, exact in a float64:
// no path counts for more than its part of it.
const maxPlanTotal = 1 << 53

func newGraph(c *closure.Closure) *graph {
	n := len(c.Paths)
	g := &graph{
		counts:    make([]int, n),
		generated: make([]bool, n),
		fixed:     make([]bool, n),
		chances:   chances(n),
		infos:     slices.Clone(c.Paths),
		names:     make([]string, n),
		sizes:     make([]int64, n),
		refs:      make([][]int32, n),
		users:     make([][]int32, n),
		order:     make([]int32, 0, n),
		below:     make([]bitset, n),
	}
	slices.SortFunc(g.infos, func(a, b closure.Info) int {
		return cmp.Or(strings.Compare(a.Path.Name(), b.Path.Name()), cmp.Compare(a.NarSize, b.NarSize), cmp.Compare(a.Path, b.Path))
	})
	at := make(map[closure.StorePath]int32, n)
	for i, info := range g.infos {
		at[info.Path] = int32(i)
		g.names[i] = info.Path.Name()
		g.sizes[i] = min(max(info.NarSize, 0), maxPlanTotal/int64(n))
		g.generated[i] = isGenerated(g.names[i])
		g.total += g.sizes[i]
	}
	for i, info := range g.infos {
		for _, r := range info.References {
			if j, ok := at[r]; ok && j != int32(i) {
				g.refs[i] = append(g.refs[i], j)
				g.users[j] = append(g.users[j], int32(i))
			}
		}
	}
	for i := range n {
		slices.Sort(g.refs[i])
		slices.Sort(g.users[i])
	}
	// Kahn's algorithm: closure.New has refused cycles.
	waits := make([]int, n)
	for i := range n {
		waits[i] = len(g.refs[i])
		if waits[i] == 0 {
			g.order = append(g.order, int32(i))
		}
	}
	for k := 0; k < len(g.order); k++ {
		for _, u := range g.users[g.order[k]] {
			if waits[u]--; waits[u] == 0 {
				g.order = append(g.order, u)
			}
		}
	}
	words := (n + 63) / 64
	all := make(bitset, n*words)
	for _, i := range g.order {
		b := all[int(i)*words : (int(i)+1)*words : (int(i)+1)*words]
		b.set(i)
		for _, r := range g.refs[i] {
			b.or(g.below[r])
		}
		g.below[i] = b
		g.counts[i] = b.count()
	}
	return g
}

// bitset is a set of nodes.
type bitset []uint64

func (b bitset) set(i int32)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) has(i int32) bool { return b[i>>6]>>(i&63)&1 != 0 }

func (b bitset) or(o bitset) {
	for i, w := range o {
		b[i] |= w
	}
}

func (b bitset) count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}
