package plan

import (
	"math/bits"
	"slices"
)

// unions counts the nodes in unions of closures, for kept bins. A bin changes often while
// paths move, and a closure may be as large as the graph. So unions computes only the numbers
// that are asked for.
//
// A way begins at a node and goes on to the node's parent, the parent's parent and so on, see
// [reach]. It ends at a join, or at a node without references. A closure that contains a node
// also contains the rest of the node's way. So a search on the way can find the first node
// that is in a bin's closure.
type unions struct {
	depth []int32 // of each node: the number of steps to the end of its way
	jump  []int32 // of each node: a node further on its way; following the jumps takes few steps even on a long way
	seen  bitset  // used by outside and adjust

	debt  int64 // work that outside has done since the last refresh
	cost  int64 // work of a refresh, without the part for each bin
	stale int   // upper limit for the number of bins with more == nil
}

func (k *keeper) newUnions() {
	n := len(k.infos)
	k.depth, k.jump, k.seen = make([]int32, n), make([]int32, n), make(bitset, k.words())
	joins := k.reach.joins // joins are in the same order as k.order
	for _, i := range k.order {
		p := k.reach.parent[i]
		if len(joins) > 0 && joins[0] == i {
			joins, p = joins[1:], -1
		}
		if p < 0 {
			k.jump[i] = i
			continue
		}
		k.depth[i] = k.depth[p] + 1
		near := k.jump[p]
		far := k.jump[near]
		if k.depth[p]-k.depth[near] == k.depth[near]-k.depth[far] {
			k.jump[i] = far
		} else {
			k.jump[i] = p
		}
	}
}

// search follows the way of node i. below is a union of closures that does not contain i.
// search returns the number of nodes before the first node in below. If no node on the way is
// in below, it returns the end of the way and the number of nodes before the end.
func (k *keeper) search(i int32, below bitset) (before int, end int32) {
	for v := i; ; k.steps++ {
		switch next := k.jump[v]; {
		case k.depth[v] == 0:
			return int(k.depth[i]), v
		case !below.has(next):
			v = next
		case !below.has(k.reach.parent[v]):
			v = k.reach.parent[v]
		default:
			return int(k.depth[i]-k.depth[v]) + 1, -1
		}
	}
}

// union returns the number of nodes in the union of b's closure and i's closure.
func (k *keeper) union(i int32, b *keptBin) int {
	if k.rows != nil {
		n := 0
		for w, x := range k.below(i) {
			n += bits.OnesCount64(x | b.below[w])
		}
		k.steps += int64(k.words())
		return n
	}
	if b.below.has(i) {
		return b.count
	}
	before, end := k.search(i, b.below)
	switch {
	case end < 0:
		return b.count + before
	case k.reach.parent[end] < 0:
		return b.count + before + 1
	case b.more == nil && k.debt > k.cost+int64(len(k.infos)*k.stale):
		k.refresh()
	}
	if b.more != nil {
		return b.count + int(b.more[i])
	}
	return b.count + before + k.outside(end, b.below)
}

// outside counts the nodes in the closure of i that are not in below, a union of closures. It
// walks to each of these nodes.
func (k *keeper) outside(i int32, below bitset) int {
	k.seen.set(i)
	found := []int32{i}
	for at := 0; at < len(found); at++ {
		refs := k.refs[found[at]]
		k.debt += 1 + int64(len(refs))
		k.steps += 1 + int64(len(refs))
		for _, r := range refs {
			if !below.has(r) && !k.seen.has(r) {
				k.seen.set(r)
				found = append(found, r)
			}
		}
	}
	for _, x := range found {
		k.seen[x>>6] = 0
	}
	return len(found)
}

// refresh counts the nodes outside each bin, for all nodes at once. It runs when the walks of
// outside have cost as much work as a refresh. So the work is at most twice the work of the
// better one of the two methods.
func (k *keeper) refresh() {
	before := k.steps
	var bins []*bin
	var of []*keptBin
	for _, b := range k.bins {
		if b.more == nil {
			bins, of = append(bins, &b.bin), append(of, b)
		}
	}
	k.eachOutside(bins, func(x int, more []int32) { of[x].more = slices.Clone(more) })
	k.debt, k.stale = 0, 0
	k.cost = k.steps - before - int64(len(k.infos)*len(of))
}

// loss returns the number of nodes that leave the closure of b if member i leaves b.
func (k *keeper) loss(i int32, b *keptBin) int {
	if b.cover == nil {
		b.cover = make([]int32, len(k.infos))
		for _, m := range b.members {
			b.cover[m]++
		}
		for x := range b.cover {
			if b.below.has(int32(x)) {
				for _, r := range k.refs[x] {
					b.cover[r]++
				}
				k.steps += 1 + int64(len(k.refs[x]))
			}
		}
	}
	lost := k.uncover(i, b, nil)
	for _, x := range lost { // restore the cover, because i stays in b
		for _, r := range k.refs[x] {
			b.cover[r]++
		}
	}
	b.cover[i]++
	return len(lost)
}

// uncover takes member i out of the cover of b. It appends to lost the nodes that leave the
// closure of b together with i.
func (k *keeper) uncover(i int32, b *keptBin, lost []int32) []int32 {
	k.steps++
	if b.cover[i]--; b.cover[i] > 0 {
		return lost
	}
	lost = append(lost, i)
	for at := 0; at < len(lost); at++ {
		refs := k.refs[lost[at]]
		k.steps += int64(len(refs))
		for _, r := range refs {
			if b.cover[r]--; b.cover[r] == 0 {
				lost = append(lost, r)
			}
		}
	}
	return lost
}

// grow adds a new member i to the closure of b, and to the cover if b has one.
func (k *keeper) grow(i int32, b *keptBin) {
	added := []int32{i}
	if b.cover != nil {
		b.cover[i]++
	}
	if b.below.has(i) {
		return
	}
	b.below.set(i)
	for at := 0; at < len(added); at++ {
		refs := k.refs[added[at]]
		k.steps += int64(len(refs))
		for _, r := range refs {
			if b.cover != nil {
				b.cover[r]++
			}
			if !b.below.has(r) {
				b.below.set(r)
				added = append(added, r)
			}
		}
	}
	b.count += len(added)
	k.adjust(b, added, -1)
}

// adjust adds the number by to the entries of b.more, once for each node of changed: to the
// entry of this node and to those of all nodes whose closures contain this node. If this
// takes more work than counting again, adjust sets b.more to nil.
func (k *keeper) adjust(b *keptBin, changed []int32, by int32) {
	if b.more == nil {
		return
	}
	work := len(k.infos) // work that is still allowed
	for _, c := range changed {
		k.seen.set(c)
		found := []int32{c}
		for at := 0; at < len(found) && work > 0; at++ {
			b.more[found[at]] += by
			users := k.users[found[at]]
			work -= 1 + len(users)
			k.steps += 1 + int64(len(users))
			for _, u := range users {
				if !k.seen.has(u) {
					k.seen.set(u)
					found = append(found, u)
				}
			}
		}
		for _, x := range found {
			k.seen[x>>6] = 0
		}
		if work <= 0 {
			b.more = nil
			k.stale++
			return
		}
	}
}
