package plan

import (
	"cmp"
	"math/bits"
	"slices"
)

// reach counts the nodes in closures without a table of the closures of all nodes. For
// 100,000 nodes such a table would take 1.25 GB.
//
// Most nodes have a reference whose closure contains all other references of the node. The
// closure of such a node is the closure of this reference, plus the node. A node that needs
// several references is called a join. Only joins and the nodes that they need have a row of
// bits. A chain of references needs no row, however long it is.
type reach struct {
	*graph
	parent []int32   // of each node: the reference that comes last in order; -1 for none
	joins  []int32   // nodes that need more than one reference, in order
	needs  [][]int32 // of each join: references that are not in the closure of another reference, as far as this is cheap to find out

	top  []int32   // of each node: the row to which the node belongs; -1 for none
	rows [][]int32 // of each row: the rows that it contains completely; these come before it
	row  []int32   // of each join: its row
}

func newReach(g *graph) *reach {
	r := &reach{graph: g, parent: make([]int32, len(g.infos))}
	at := make([]int32, len(g.infos)) // position of each node in order
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

// findJoins fills joins and needs. The parents form a forest. A node's parent, the parent's
// parent and so on are all in the closure of the node. So needs does not list a reference
// that is on the way from the parent to the root.
func (r *reach) findJoins() {
	size := slices.Repeat([]int32{1}, len(r.infos)) // of each node: the number of nodes in its subtree
	for _, i := range slices.Backward(r.order) {
		if p := r.parent[i]; p >= 0 {
			size[p] += size[i]
		}
	}
	first, free := make([]int32, len(r.infos)), make([]int32, len(r.infos)) // the nodes of the subtree of i have the numbers from first[i] on, without gaps
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

// cutRows makes a row for each join, for each node that a join needs, and for each node where
// the ways from two of these nodes meet. A way goes from a node to its parent, the parent's
// parent and so on. A row stands for its own node and the nodes that follow on the way, up to
// the next node with a row.
func (r *reach) cutRows() {
	const none, cut = -1, -2
	r.top = slices.Repeat([]int32{none}, len(r.infos))
	for k, i := range r.joins {
		r.top[i] = cut
		for _, j := range r.needs[k] {
			r.top[j] = cut
		}
	}
	var starts int32 // number of rows
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
	// Number the rows in order, so that each comes after the rows that it contains.
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

// blockBytes is about how much memory [reach.blocks] uses. It also limits the table of the
// closures of all nodes: up to 11,000 nodes fit. It is a variable so that tests can change
// it.
var blockBytes = 16 << 20

// blocks computes all rows, one block of columns after another. Each column stands for one
// node to count. blocks calls do for each block: rows contains width words of each row, and
// first is the number of the first word.
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

// fillCounts fills counts with the number of nodes in the closure of each node.
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

// each sets counts[i], for every node i, to the number of nodes in i's closure for which
// counted is true. joined(k) returns that number for the k-th join, see [reach]. If counted
// is false for a node, it must be false for its whole closure.
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

// outside counts nodes for each join and each of up to 64 sets. Each set must contain the
// closures of all its nodes. counts[k*len(sets)+x] is the number of nodes in the closure of
// join k that are not in sets[x].
//
// A column stands for a node. outside sorts the columns by the sets that do not contain the node.
// Columns with the same such sets are then next to each other, and outside counts them once for all
// of these sets.
func (r *reach) outside(sets []bitset) (counts []int32) {
	counts = make([]int32, len(r.joins)*len(sets))
	var columns []int32
	from := make([]uint64, len(r.infos)) // of each node: the sets that do not contain the node, one bit for each set
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

// column describes 64 neighbouring columns of the table of bits, one word of each row.
type column struct {
	from uint64   // if all nodes are outside the same sets: one bit for each of these sets
	each []uint64 // otherwise, for each set: one bit for each node that is outside the set
}

func newColumn(nodes []int32, from []uint64, sets int) column {
	c := column{from: from[nodes[0]]}
	if c.from == from[nodes[len(nodes)-1]] { // from is sorted
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

// addOutside counts, for each set, the nodes of row that are outside the set. It adds the
// results to counts, and returns the amount of work.
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
