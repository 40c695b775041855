package plan

import (
	"cmp"
	"math"
	"slices"
)

const (
	// layerPrice is the fixed cost of a layer in bytes: a HEAD request, a GET request and
	// their round trips. A path that is smaller never starts as a layer. In a small closure
	// the minimum size is layerPricePart of all bytes instead.
	layerPrice     = 32 << 10
	layerPricePart = 1.0 / 10_000

	// headStep decides which paths take part in the merging. Take the last path that gets a
	// layer of its own within the budget. Paths that are at most headStep times lighter take
	// part. With 4 or 8 instead of 2, plans cost less. But then a package that is added or
	// removed moves more other packages.
	headStep = 2

	// middleStep decides which of the lighter paths choose a layer before the tail does.
	// These paths are at most middleStep times lighter again, and at least one package refers
	// to each. A third step brings no gain.
	middleStep = 2

	// In a closure with at least largeClosure paths, the planner uses largeHeadStep instead of
	// headStep, and 1 instead of middleStep. In such a closure, light paths contain a large part
	// of all bytes, and each layer gets dozens of them. So it pays to merge more paths. In three
	// closures of 2,100 to 5,000 paths, with 60 and 100 layers, updates ship 13 % less unchanged
	// data on average, and 21 % less with Options.From. But a removed package moves more layers.
	largeClosure  = 2_000
	largeHeadStep = 8

	// openShare limits which layers accept more paths: no path may join a layer with more
	// than 1/openShare of all bytes. If a path in such a layer later moved, clients would
	// have to download all these bytes again.
	openShare = 40

	// headsPerLayer limits how many paths take part in the merging. Closures with
	// thousands of paths of similar weight need this limit to keep the table of pairs
	// small.
	headsPerLayer = 8

	// binsAtOnce is how many bins are compared with the lighter paths at the same time. This
	// limits the memory. 64 is the number of bits in a word.
	binsAtOnce = 64
)

// planCost plans with nixoci's own strategy. The package documentation describes it.
func planCost(g *graph, budget int) []*bin {
	nodes := make([]int32, 0, len(g.infos))
	var generated []int32
	for i := range int32(len(g.infos)) {
		switch {
		case g.fixed[i]:
		case g.generated[i]:
			generated = append(generated, i)
		default:
			nodes = append(nodes, i)
		}
	}
	if budget == 1 {
		return []*bin{g.newBin(append(generated, nodes...)...)}
	}
	var bins []*bin
	if len(generated) > 0 {
		b := g.newBin(generated...)
		b.chance = g.chances[len(g.infos)]
		bins = append(bins, b)
		budget--
	}
	if len(nodes) == 0 {
		return bins
	}
	heads, middle, tail := g.divide(nodes, budget)
	limit := float64(g.total) / float64(min(openShare, budget))
	heads = g.mergeCheapest(heads, budget, limit)
	open := openBins(heads, limit)
	g.join(middle, open)
	g.join(tail, open)
	return append(bins, heads...)
}

// divide gives each heavy path a bin of its own, the heaviest path first. Of the lighter
// paths, those in middle choose a bin first, and those in tail choose later. divide returns
// at least one bin.
func (g *graph) divide(nodes []int32, budget int) (heads []*bin, middle, tail []int32) {
	weight := make([]float64, len(g.infos))
	for _, i := range nodes {
		weight[i] = g.weight(i)
	}
	slices.SortFunc(nodes, func(a, b int32) int {
		return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(a, b))
	})
	price := int64(min(layerPrice, float64(g.total)*layerPricePart))
	step, next := float64(headStep), float64(middleStep)
	if len(g.infos) >= largeClosure {
		step, next = largeHeadStep, 1
	}
	least := 0.0
	for _, i := range nodes {
		switch {
		case len(heads) == 0 || g.sizes[i] >= price && weight[i] >= least && len(heads) < headsPerLayer*budget:
			heads = append(heads, g.newBin(i))
		case weight[i] >= least/next && !g.leaf(i):
			middle = append(middle, i)
		default:
			tail = append(tail, i)
		}
		if len(heads) == budget && least == 0 {
			// least is the sum of all bytes times a power of two. So one additional path
			// rarely changes which paths are heavy enough. Multiplying all sizes by one
			// factor never changes which paths are heavy enough.
			total := float64(g.total)
			least = math.Ldexp(total, math.Ilogb(weight[i]/(step*total)))
		}
	}
	return heads, middle, tail
}

// leaf reports whether no package refers to a node.
func (g *graph) leaf(i int32) bool {
	return !slices.ContainsFunc(g.users[i], func(u int32) bool { return !g.generated[u] })
}

// join puts each node into the bin where it costs least. If several bins cost the same, it
// uses the first one. The choice for a node does not depend on the choices for other nodes.
func (g *graph) join(nodes []int32, bins []*bin) {
	choice := make([]*bin, len(nodes))
	least := slices.Repeat([]float64{math.Inf(1)}, len(nodes))
	g.eachOutside(bins, func(x int, more []int32) {
		b := bins[x]
		count := b.below.count()
		for k, i := range nodes {
			n := count + int(more[i])
			if cost := g.costOf(float64(g.sizes[i]), g.ownRate(i), b.size, b.chance, g.rate(n, b.clusters|g.clustersOf(i))); cost < least[k] {
				choice[k], least[k] = b, cost
			}
		}
	})
	for k, i := range nodes {
		g.put(choice[k], i)
	}
	for _, b := range bins {
		g.settle(b)
	}
}

// eachOutside calls do once for each bin. more[i] is then the number of nodes in the closure
// of node i that are not in the closure of the bin. The slice is valid until do returns.
func (g *graph) eachOutside(bins []*bin, do func(x int, more []int32)) {
	more := make([]int32, len(g.infos))
	first := 0
	for some := range slices.Chunk(bins, binsAtOnce) {
		below := make([]bitset, len(some))
		for x, b := range some {
			below[x] = b.below
		}
		outside := g.reach.outside(below)
		for x, b := range some {
			g.reach.each(more, func(k int) int32 { return outside[k*len(some)+x] }, func(i int32) bool { return !b.below.has(i) })
			do(first+x, more)
		}
		first += len(some)
	}
}

// openBins returns the bins with at most limit bytes. If these are fewer than half of all
// bins, it returns the smaller half of the bins instead.
func openBins(bins []*bin, limit float64) []*bin {
	sizes := make([]float64, len(bins))
	for k, b := range bins {
		sizes[k] = b.size
	}
	slices.Sort(sizes)
	limit = max(limit, sizes[(len(sizes)-1)/2])
	return slices.DeleteFunc(slices.Clone(bins), func(b *bin) bool { return b.size > limit })
}

// weight returns how much updates gain if a path has a layer of its own: the path's bytes,
// times its chance of change to the power of 3/4. Paths that change often gain more than
// paths that hardly ever change. The power 3/4 comes from measurements.
func (g *graph) weight(i int32) float64 {
	root := math.Sqrt(g.ownRate(i))
	return float64(g.sizes[i]) * root * math.Sqrt(root)
}
