package plan

import (
	"cmp"
	"math/bits"
	"slices"
)

// reach counts closures without a table of them, which for 100,000 nodes would
// have 1.25 GB.
//
// Most nodes need one other: the closure of one of their references has all
// others. Their closure is then that one's, and themselves. So only nodes that
// join closures have a row of bits, and what these refer to. A chain has no row,
// however long it is.
type reach struct {
	*graph
	parent []int32   // of each node, the last of its references in order; -1: none
	joins  []int32   // nodes that need more than one other, in order
	needs  [][]int32 // of joins: references that are in no closure of another, as far as that is cheap to see

	top  []int32   // of each node: the row that adds it; -1: no row has it
	rows [][]int32 // of each row: the rows that it has as a whole; these come before it
	row  []int32   // of joins: their rows
}

func newReach(g *graph) *reach {
	r := &reach{graph: g, parent: make([]int32, len(g.infos))}
	at := make([]int32, len(g.infos)) // in order
	for k, i := range g.order {
		at[i] = int32(k)
	}
	for i, refs := range g.refs {
		r.parent[i] = -1
		if len(refs) > 0 {
			r.parent[i] = slices.MaxFunc(refs, func(a, b int32) int { return cmp.Compare(at[a], at[b]) })
		}
	}
	r.findJoins()
	r.cutRows()
	return r
}

// findJoins fills joins and needs. Parents make a forest. What is on the way
// from a node's parent to the end of its tree is in the closure of the parent.
func (r *reach) findJoins() {
	size := slices.Repeat([]int32{1}, len(r.infos)) // of the tree of those whose way goes through a node
	for _, i := range slices.Backward(r.order) {
		if p := r.parent[i]; p >= 0 {
			size[p] += size[i]
		}
	}
	first, free := make([]int32, len(r.infos)), make([]int32, len(r.infos)) // a tree has the numbers from first on
	roots := int32(0)
	for _, i := range r.order {
		from := &roots
		if p := r.parent[i]; p >= 0 {
			from = &free[p]
		}
		first[i], free[i] = *from, *from+1
		*from += size[i]
	}
	var need []int32
	for _, i := range r.order {
		p := r.parent[i]
		need = slices.DeleteFunc(append(need[:0], r.refs[i]...), func(j int32) bool {
			return j != p && first[j] <= first[p] && first[p] < first[j]+size[j]
		})
		r.steps += int64(len(r.refs[i]))
		if len(need) > 1 {
			r.joins, r.needs = append(r.joins, i), append(r.needs, slices.Clone(need))
		}
	}
}

// cutRows gives a row to each join, to what it needs, and where the ways from
// two of these meet. What is between a row and the next on its way, the row adds.
func (r *reach) cutRows() {
	const none, cut = -1, -2
	r.top = slices.Repeat([]int32{none}, len(r.infos))
	for k, i := range r.joins {
		r.top[i] = cut
		for _, j := range r.needs[k] {
			r.top[j] = cut
		}
	}
	var starts int32 // how many rows there are
	k := len(r.joins)
	for _, i := range slices.Backward(r.order) {
		if r.top[i] == cut {
			r.top[i] = starts
			starts++
		}
		if k > 0 && r.joins[k-1] == i {
			k--
			continue
		}
		if r.top[i] == none || r.parent[i] < 0 {
			continue
		}
		switch p := r.parent[i]; r.top[p] {
		case none:
			r.top[p] = r.top[i]
		default:
			r.top[p] = cut
		}
	}
	// Rows are numbered in order, so that each comes after those that it has.
	for i, t := range r.top {
		if t >= 0 {
			r.top[i] = starts - 1 - t
		}
	}
	r.rows, r.row = make([][]int32, starts), make([]int32, len(r.joins))
	for _, i := range r.order {
		t, p := r.top[i], r.parent[i]
		switch {
		case k < len(r.joins) && r.joins[k] == i:
			for _, j := range r.needs[k] {
				r.rows[t] = append(r.rows[t], r.top[j])
			}
			r.row[k] = t
			k++
		case t >= 0 && p >= 0 && r.top[p] != t:
			r.rows[t] = []int32{r.top[p]}
		}
	}
}

// blockBytes is about how much [reach.blocks] needs, and how large the table of
// closures of a graph may be: that of 11,000 nodes is. A variable for tests.
var blockBytes = 16 << 20

// blocks computes all rows, a block of columns after another: do gets width
// words of each row, from the word first on. Columns are the nodes that count.
func (r *reach) blocks(columns []int32, do func(first, width int, rows bitset)) {
	if len(r.rows) == 0 {
		return
	}
	words := (len(columns) + 63) / 64
	width := min(max(blockBytes/8/len(r.rows), 1), words)
	table := make(bitset, len(r.rows)*width)
	for first := 0; first < words; first += width {
		clear(table)
		for c := first * 64; c < min((first+width)*64, len(columns)); c++ {
			table[int(r.top[columns[c]])*width+c/64-first] |= 1 << (c & 63)
		}
		for t, has := range r.rows {
			row := table[t*width : (t+1)*width]
			for _, u := range has {
				row.or(table[int(u)*width : (int(u)+1)*width])
			}
			r.steps += int64((1 + len(has)) * width)
		}
		do(first, width, table)
	}
}

// fillCounts fills counts: how many nodes are in each closure.
func (r *reach) fillCounts() {
	var columns []int32
	for i, t := range r.top {
		if t >= 0 {
			columns = append(columns, int32(i))
		}
	}
	joined := make([]int32, len(r.joins))
	r.blocks(columns, func(_, width int, rows bitset) {
		for k, t := range r.row {
			joined[k] += int32(rows[int(t)*width : (int(t)+1)*width].count())
		}
	})
	r.each(r.counts, func(k int) int32 { return joined[k] }, func(int32) bool { return true })
}

// each fills counts with how many nodes of each closure count: joined knows it
// of a join. A node that does not count has none in its closure that does.
func (r *reach) each(counts []int32, joined func(k int) int32, counted func(i int32) bool) {
	r.steps += int64(len(r.order))
	k := 0
	for _, i := range r.order {
		isJoin := k < len(r.joins) && r.joins[k] == i
		switch {
		case isJoin:
			counts[i] = joined(k)
			k++
		case !counted(i):
			counts[i] = 0
		case r.parent[i] >= 0:
			counts[i] = counts[r.parent[i]] + 1
		default:
			counts[i] = 1
		}
	}
}

// outside counts for each of up to 64 closed sets and each join the nodes in
// the closure of the join that are not in the set: those of the join k outside
// of sets[x] are counts[k*len(sets)+x].
//
// Nodes that are outside of the same sets are columns beside each other, and
// are counted once for all sets.
func (r *reach) outside(sets []bitset) (counts []int32) {
	counts = make([]int32, len(r.joins)*len(sets))
	var columns []int32
	from := make([]uint64, len(r.infos)) // the sets that a node is outside of
	for i := range int32(len(r.infos)) {
		for x, set := range sets {
			if !set.has(i) {
				from[i] |= 1 << x
			}
		}
		if r.top[i] >= 0 && from[i] != 0 {
			columns = append(columns, i)
		}
	}
	slices.SortFunc(columns, func(a, b int32) int { return cmp.Or(cmp.Compare(from[a], from[b]), cmp.Compare(a, b)) })
	words := make([]column, (len(columns)+63)/64)
	for w := range words {
		nodes := columns[w*64 : min(len(columns), w*64+64)]
		words[w] = newColumn(nodes, from, len(sets))
	}
	r.blocks(columns, func(first, width int, rows bitset) {
		last := min(first+width, len(words))
		for k, t := range r.row {
			row := rows[int(t)*width:][:last-first]
			r.steps += addOutside(counts[k*len(sets):][:len(sets)], row, words[first:last])
		}
	})
	return counts
}

// column is 64 columns of a table of bits.
type column struct {
	from uint64   // the sets that all its nodes are outside of, if these are the same
	each []uint64 // otherwise, of each set: the nodes outside of it
}

func newColumn(nodes []int32, from []uint64, sets int) column {
	c := column{from: from[nodes[0]]}
	if c.from == from[nodes[len(nodes)-1]] { // they are sorted
		return c
	}
	c.each = make([]uint64, sets)
	for bit, i := range nodes {
		for s := from[i]; s != 0; s &= s - 1 {
			c.each[bits.TrailingZeros64(s)] |= 1 << bit
		}
	}
	return c
}

// addOutside adds the members of row, and returns how much work that was.
func addOutside(counts []int32, row bitset, columns []column) (steps int64) {
	for w := 0; w < len(row); {
		if each := columns[w].each; each != nil {
			if row[w] != 0 {
				for x, nodes := range each {
					counts[x] += int32(bits.OnesCount64(row[w] & nodes))
				}
				steps += int64(len(each))
			}
			w++
			continue
		}
		from, n := columns[w].from, 0
		for ; w < len(row) && columns[w].each == nil && columns[w].from == from; w++ {
			n += bits.OnesCount64(row[w])
			steps++
		}
		if n == 0 {
			continue
		}
		for s := from; s != 0; s &= s - 1 {
			counts[bits.TrailingZeros64(s)] += int32(n)
			steps++
		}
	}
	return steps
}
