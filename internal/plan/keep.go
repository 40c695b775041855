package plan

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
)

const (
	// keepHorizon is the number of future updates that are weighed together with the current
	// update. In the current update, a layer of unchanged paths costs nothing as long as its
	// paths stay the same. A larger value gives better plans in the long run, but a larger
	// current update.
	keepHorizon = 8

	// keepPasses limits the number of passes in repair. Usually repair ends after fewer
	// passes.
	keepPasses = 6
)

// keeper makes a plan that keeps the layers of an earlier image.
type keeper struct {
	*graph
	bins      []*keptBin
	home      []*keptBin // the bin of each node; nil for a node without a bin
	origin    []*keptBin // for each node: the bin of the old layer that contains exactly this path; nil for a new path
	unchanged []bool     // for each node: whether the old image contains exactly this path
	budget    int
	unit      float64 // keepHorizon updates ship chance × bytes × unit bytes

	unions
}

// keptBin is a bin that may continue a layer of the old image.
type keptBin struct {
	bin
	old   int     // number of paths in the old layer; 0 for a new bin
	same  int     // number of members that the old layer contains, too
	bytes float64 // bytes of the members that did not change

	count     int     // number of nodes in below
	generated int     // number of members generated from the configuration
	votes     []int32 // for each cluster of the history: the number of members with this cluster in their closure; nil if there are none
	more      []int32 // for each node: the number of nodes in its closure that are not in below; nil if not computed
	cover     []int32 // for each node in below: the number of its users in below, plus one if the node is a member; nil if not computed
}

func (k *keeper) newKeptBin(old int) *keptBin {
	return &keptBin{bin: *k.newBin(), old: old}
}

// intact reports whether the old image contains a layer with exactly these members.
func (b *keptBin) intact() bool { return b.old > 0 && b.same == b.old && len(b.members) == b.old }

// vote adds by to b.votes for each of the given clusters. It also updates b.clusters.
func (b *keptBin) vote(clusters uint64, by int32) {
	for ; clusters != 0; clusters &= clusters - 1 {
		if b.votes == nil {
			b.votes = make([]int32, 64)
		}
		k := bits.TrailingZeros64(clusters)
		if b.votes[k] += by; b.votes[k] == 0 {
			b.clusters &^= 1 << k
		} else {
			b.clusters |= 1 << k
		}
	}
}

// clustersWithout returns the clusters that b has if one member leaves b. clusters contains the
// clusters in the closure of this member.
func (b *keptBin) clustersWithout(clusters uint64) uint64 {
	left := b.clusters
	for ; clusters != 0; clusters &= clusters - 1 {
		if k := bits.TrailingZeros64(clusters); b.votes[k] == 1 {
			left &^= 1 << k
		}
	}
	return left
}

// planKeep keeps the layers of old for paths that are still in g, and for paths that replace
// old ones. It then plans the other paths.
func planKeep(g *graph, budget int, old *Plan) []*bin {
	k := &keeper{graph: g, budget: budget, home: make([]*keptBin, len(g.infos)), origin: make([]*keptBin, len(g.infos)), unchanged: make([]bool, len(g.infos))}
	k.unit = keepHorizon / g.chances[len(g.infos)]
	k.newUnions()
	rest := k.match(old)
	if len(rest) == 0 && len(k.bins) <= budget && !slices.ContainsFunc(k.bins, func(b *keptBin) bool { return !b.intact() }) {
		return k.plain() // the closure has not changed, so its plan does not change
	}
	for len(k.bins) > budget {
		a, b, _ := k.cheapestMerge()
		k.merge(a, b)
	}
	slices.SortFunc(rest, func(a, b int32) int { return cmp.Or(cmp.Compare(g.weight(b), g.weight(a)), cmp.Compare(a, b)) })
	for _, i := range rest {
		k.place(i)
	}
	k.repair()
	return k.plain()
}

// plain returns the bins without the fields that only a keeper needs.
func (k *keeper) plain() []*bin {
	out := make([]*bin, len(k.bins))
	for i, b := range k.bins {
		out[i] = &b.bin
	}
	return out
}

// match fills the bins from old, and returns the nodes for which old has no place. A path
// gets its own place in old. If old does not contain the path, it gets the place of a path
// that no longer exists and has the same name. If there is none, the names are compared
// without the versions.
func (k *keeper) match(old *Plan) []int32 {
	at := make(map[closure.StorePath]int32, len(k.infos))
	for i, info := range k.infos {
		at[info.Path] = int32(i)
	}
	homes := map[closure.StorePath]*keptBin{} // the bin of each old path that no longer exists
	var gone, fresh []closure.StorePath
	for _, group := range old.Groups {
		b := k.newKeptBin(len(group.Paths))
		k.bins = append(k.bins, b)
		for _, path := range group.Paths {
			i, here := at[path]
			switch {
			case !here && homes[path] == nil:
				gone, homes[path] = append(gone, path), b
			case !here || k.fixed[i] || k.home[i] != nil:
			default:
				k.unchanged[i], k.origin[i] = true, b
				k.add(b, i)
			}
		}
	}
	var rest []int32
	for i := range int32(len(k.infos)) {
		if k.home[i] == nil && !k.fixed[i] {
			rest, fresh = append(rest, i), append(fresh, k.infos[i].Path)
		}
	}
	sortByName(gone)
	of := replaced(fresh, gone)
	rest = slices.DeleteFunc(rest, func(i int32) bool {
		replaces := of[k.infos[i].Path]
		if replaces != "" {
			k.add(homes[replaces], i)
		}
		return replaces != ""
	})
	k.bins = slices.DeleteFunc(k.bins, func(b *keptBin) bool { return len(b.members) == 0 })
	for _, b := range k.bins {
		k.settleKept(b)
	}
	return rest
}

// add puts node i into b. The caller must call settleKept before the next comparison that
// uses b.
func (k *keeper) add(b *keptBin, i int32) {
	k.grow(i, b)
	b.vote(k.clustersOf(i), 1)
	b.members = append(b.members, i)
	b.size += float64(k.sizes[i])
	k.home[i] = b
	if k.unchanged[i] {
		b.bytes += float64(k.sizes[i])
	}
	if k.origin[i] == b {
		b.same++
	}
	if k.generated[i] {
		b.generated++
	}
}

// settleKept does the same as settle. But if a bin contains a path generated from the
// configuration, settleKept sets the chance of the whole closure.
func (k *keeper) settleKept(b *keptBin) { b.chance = k.keptChance(b.generated, b.count, b.clusters) }

func (k *keeper) keptChance(generated, count int, clusters uint64) float64 {
	if generated > 0 {
		return k.chances[len(k.infos)]
	}
	return k.rate(count, clusters)
}

// waste returns the cost of b in this update and the following ones.
func (k *keeper) waste(b *keptBin) float64 {
	cost := float64(b.size * b.chance * k.unit)
	if !b.intact() {
		cost += b.bytes
	}
	return cost
}

// without returns a copy of b without member i. Only the fields that waste reads are right in
// this copy. For example, below is still the closure of b. loss is the number of nodes that
// leave the closure.
func (k *keeper) without(b *keptBin, i int32, loss int) *keptBin {
	left := *b
	left.members = b.members[1:] // waste only reads how many members there are
	left.size -= float64(k.sizes[i])
	left.clusters = b.clustersWithout(k.clustersOf(i))
	left.chance = k.keptChance(b.generated, b.count-loss, left.clusters)
	if k.unchanged[i] {
		left.bytes -= float64(k.sizes[i])
	}
	if k.origin[i] == b {
		left.same--
	}
	return &left
}

// remove takes node i out of b. The node must not be a generated one. left is what without
// returned for b and i.
func (k *keeper) remove(b *keptBin, i int32, left *keptBin) {
	members := slices.DeleteFunc(b.members, func(m int32) bool { return m == i })
	*b = *left
	b.vote(k.clustersOf(i), -1)
	b.members = members
	lost := k.uncover(i, b, nil)
	for _, x := range lost {
		b.below[x>>6] &^= 1 << (x & 63)
	}
	b.count -= len(lost)
	k.adjust(b, lost, 1)
}

// joinWaste returns by how much the sum of waste over all bins grows if node i joins b.
func (k *keeper) joinWaste(i int32, b *keptBin) float64 {
	cost := k.costOf(float64(k.sizes[i]), k.ownRate(i), b.size, b.chance, k.rate(k.union(i, b), b.clusters|k.clustersOf(i)))
	if k.generated[i] != (b.chance == k.chances[len(k.infos)]) {
		all := k.chances[len(k.infos)]
		own := k.ownRate(i)
		if k.generated[i] {
			own = all
		}
		cost = float64(b.size*(all-b.chance)) + float64(float64(k.sizes[i])*(all-own))
	}
	cost = float64(cost * k.unit)
	if b.intact() {
		cost += b.bytes
	}
	if k.unchanged[i] {
		cost += float64(k.sizes[i])
	}
	return cost
}

// place puts a node that has no place in the old image into the bin where the node costs
// least. This may be a new bin. If the budget is used up, a new bin requires that two other
// bins merge.
func (k *keeper) place(i int32) {
	best, least := k.cheapestHome(i, nil)
	alone := float64(layerPrice)
	var a, b *keptBin
	if len(k.bins) >= k.budget {
		alone = math.Inf(1)
		if len(k.bins) > 1 && !k.generated[i] {
			var cost float64
			a, b, cost = k.cheapestMerge()
			alone = cost + layerPrice
		}
	}
	if best != nil && least <= alone {
		k.add(best, i)
		k.settleKept(best)
		return
	}
	if a != nil {
		k.merge(a, b)
	}
	n := k.newKeptBin(0)
	k.add(n, i)
	k.settleKept(n)
	k.bins = append(k.bins, n)
}

func (k *keeper) cheapestHome(i int32, not *keptBin) (best *keptBin, least float64) {
	least = math.Inf(1)
	for _, b := range k.bins {
		if b == not {
			continue
		}
		if cost := k.joinWaste(i, b); cost < least {
			best, least = b, cost
		}
	}
	return best, least
}

func (k *keeper) mergeWaste(a, b *keptBin) float64 {
	cost := float64(k.unit * k.joinCost(&a.bin, &b.bin))
	for _, x := range []*keptBin{a, b} {
		if x.intact() {
			cost += x.bytes
		}
	}
	return cost
}

// cheapestMerge returns the two bins that are cheapest to merge, and the cost of this merge.
func (k *keeper) cheapestMerge() (a, b *keptBin, least float64) {
	least = math.Inf(1)
	for i, x := range k.bins {
		for _, y := range k.bins[:i] {
			// The waste of an intact bin is a lower bound of the cost, and is cheap to
			// compute. This check skips half of all pairs.
			if x.intact() && x.bytes >= least || y.intact() && y.bytes >= least {
				continue
			}
			if cost := k.mergeWaste(x, y); cost < least {
				a, b, least = y, x, cost
			}
		}
	}
	return a, b, least
}

// merge moves b's members into a.
func (k *keeper) merge(a, b *keptBin) {
	for _, i := range b.members {
		k.add(a, i)
	}
	k.settleKept(a)
	k.bins = slices.DeleteFunc(k.bins, func(x *keptBin) bool { return x == b })
}

// repair moves single paths as long as a move saves more in future updates than it costs in
// the current one. A move between two layers that change anyway costs nothing.
func (k *keeper) repair() {
	for range keepPasses {
		moved := false
		for i := range int32(len(k.infos)) {
			from := k.home[i]
			if from == nil || k.generated[i] {
				continue
			}
			if len(from.members) == 1 && len(k.bins) < k.budget {
				continue
			}
			left := k.without(from, i, k.loss(i, from))
			saved := k.waste(from) - k.waste(left) - float64(float64(k.sizes[i])*k.ownRate(i)*k.unit)
			if len(left.members) == 0 {
				saved += layerPrice
			}
			if saved <= 0 {
				continue
			}
			to, cost := k.cheapestHome(i, from)
			if len(k.bins) < k.budget && k.aloneWaste(i) < cost {
				to, cost = k.newKeptBin(0), k.aloneWaste(i)
				k.bins = append(k.bins, to)
			}
			// The margin prevents rounding errors from moving a path back and forth.
			if to == nil || cost >= saved*0.999 {
				continue
			}
			k.remove(from, i, left)
			k.add(to, i)
			k.settleKept(to)
			if len(from.members) == 0 {
				k.bins = slices.DeleteFunc(k.bins, func(x *keptBin) bool { return x == from })
			}
			moved = true
		}
		if !moved {
			return
		}
	}
}

func (k *keeper) aloneWaste(i int32) float64 {
	cost := float64(layerPrice)
	if k.unchanged[i] {
		cost += float64(k.sizes[i])
	}
	return cost
}
