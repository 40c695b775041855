package plan

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// graph is a closure as the planner sees it: nodes in canonical order, and
// how many nodes each of them changes with.
type graph struct {
	infos  []closure.Info // in canonical order: name, size, then the path
	names  []string
	sizes  []int64
	refs   [][]int32 // without self references
	users  [][]int32 // the reverse of refs
	order  []int32   // every node after all that it refers to
	counts []int32   // how many nodes are in each node's closure, itself included
	total  int64     // bytes

	reach  *reach
	rows   bitset // the closures of all nodes, one after another; nil: too large
	buffer bitset // the closure of node in, where rows is nil
	in     int32

	generated []bool    // made of the configuration, no package
	fixed     []bool    // in a layer that the caller decided
	chances   []float64 // by number of nodes, see [chances]

	steps int64 // how much was looked at; for tests
}

// maxPlanTotal keeps sums of sizes, even of forged graphs, exact in a float64:
// no path counts for more than its part of it.
const maxPlanTotal = 1 << 53

func newGraph(c *closure.Closure) *graph {
	n := len(c.Paths)
	g := &graph{
		counts:    make([]int32, n),
		generated: make([]bool, n),
		fixed:     make([]bool, n),
		chances:   chances(n),
		infos:     slices.Clone(c.Paths),
		names:     make([]string, n),
		sizes:     make([]int64, n),
		refs:      make([][]int32, n),
		users:     make([][]int32, n),
		order:     make([]int32, 0, n),
		in:        -1,
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
	g.reach = newReach(g)
	g.reach.fillCounts()
	if n*g.words()*8 <= blockBytes {
		g.fillRows()
	}
	return g
}

// words is how many words a set of all nodes has.
func (g *graph) words() int { return (len(g.infos) + 63) / 64 }

// fillRows makes the table of all closures.
func (g *graph) fillRows() {
	words := g.words()
	g.rows = make(bitset, len(g.infos)*words)
	for _, i := range g.order {
		row := g.rows[int(i)*words : (int(i)+1)*words]
		row.set(i)
		for _, r := range g.refs[i] {
			row.or(g.rows[int(r)*words : (int(r)+1)*words])
		}
	}
}

// below is the closure of a node, itself included. It is valid until the next
// call.
func (g *graph) below(node int32) bitset {
	if g.rows != nil {
		words := g.words()
		return g.rows[int(node)*words : (int(node)+1)*words]
	}
	if g.in != node {
		if g.buffer == nil {
			g.buffer = make(bitset, g.words())
		}
		clear(g.buffer)
		g.addBelow(g.buffer, node)
		g.in = node
	}
	return g.buffer
}

// addBelow adds the closure of a node to b, a union of closures.
func (g *graph) addBelow(b bitset, node int32) {
	if g.rows != nil {
		b.or(g.below(node))
		return
	}
	if b.has(node) {
		return
	}
	b.set(node)
	for todo := []int32{node}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		g.steps += int64(len(g.refs[i]))
		for _, r := range g.refs[i] {
			if !b.has(r) { // else its closure is there, too
				b.set(r)
				todo = append(todo, r)
			}
		}
	}
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
