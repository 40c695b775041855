package plan

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// graph is a closure prepared for planning: its nodes in canonical order, with the number of
// nodes in each node's closure.
type graph struct {
	infos  []closure.Info // sorted by name, then size, then path
	names  []string
	sizes  []int64
	refs   [][]int32 // without self references
	users  [][]int32 // the reverse of refs
	order  []int32   // every node comes after all nodes to which it refers
	counts []int32   // number of nodes in each node's closure, including the node
	total  int64     // bytes

	reach  *reach
	rows   bitset // the closures of all nodes, one after another; nil if they would be too large
	buffer bitset // if rows is nil: the closure of one node, whose number is in the field in
	in     int32

	generated []bool    // generated from the configuration, not a package
	fixed     []bool    // in a layer that the user named
	chances   []float64 // see the function chances
	history   *history  // what earlier updates changed; nil if there is no history

	steps int64 // amount of work done, for tests
}

// maxPlanTotal limits the sum of sizes, so that a float64 holds the sum exactly even for
// forged graphs. In a graph of n paths, each size is therefore limited to maxPlanTotal/n.
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
	// Kahn's algorithm. There are no cycles: closure.New refuses them.
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

// words returns the number of words in a set of all nodes.
func (g *graph) words() int { return (len(g.infos) + 63) / 64 }

// fillRows computes the closures of all nodes.
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

// below returns the closure of a node, including the node. The result is valid until the next
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

// addBelow adds the closure of a node to b. b must be a union of closures.
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
			if !b.has(r) { // otherwise b already contains the closure of r
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
