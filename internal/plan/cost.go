package plan

import (
	"cmp"
	"math"
	"slices"
)

const (
	// layerPrice is what a layer costs beside its bytes, in bytes: a HEAD, a GET
	// and their round trips. A path smaller than this is never alone, nor one
	// that is smaller than the same part of a small closure.
	layerPrice     = 32 << 10
	layerPricePart = 1.0 / 10_000

	// headStep is how much lighter than the last path that the budget gives a
	// layer of its own a path may be to take part in the merging. 4 and 8 fit
	// closures closer, and a package that comes or goes moves more of the others.
	headStep = 2

	// middleStep is how much lighter again a path may be to choose before the
	// tail does, where a package refers to it. A third such step is no better.
	middleStep = 2

	// openShare closes layers of more than one in openShare of all bytes: they
	// take nobody, for a path that changes its mind there has all of them shipped
	// again.
	openShare = 40

	// headsPerLayer bounds how many paths take part in the merging, for closures
	// of thousands of paths of much the same weight: the table of pairs stays
	// small.
	headsPerLayer = 8

	// binsAtOnce bounds the memory in which the lighter paths choose a bin. A word
	// has a bit for each.
	binsAtOnce = 64
)

// planCost is nixoci's own way, described in the package documentation.
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

// divide gives each path of some weight a bin of its own, the heaviest first.
// Of the lighter ones, middle are those that choose first. There is at least one
// bin.
func (g *graph) divide(nodes []int32, budget int) (heads []*bin, middle, tail []int32) {
	weight := make([]float64, len(g.infos))
	for _, i := range nodes {
		weight[i] = g.weight(i)
	}
	slices.SortFunc(nodes, func(a, b int32) int {
		return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(a, b))
	})
	price := int64(min(layerPrice, float64(g.total)*layerPricePart))
	least := 0.0
	for _, i := range nodes {
		switch {
		case len(heads) == 0 || g.sizes[i] >= price && weight[i] >= least && len(heads) < headsPerLayer*budget:
			heads = append(heads, g.newBin(i))
		case weight[i] >= least/middleStep && !g.leaf(i):
			middle = append(middle, i)
		default:
			tail = append(tail, i)
		}
		if len(heads) == budget && least == 0 {
			// All bytes times a power of two: a path more or less rarely moves it,
			// and sizes that all grow alike never do.
			total := float64(g.total)
			least = math.Ldexp(total, math.Ilogb(weight[i]/(headStep*total)))
		}
	}
	return heads, middle, tail
}

// leaf reports whether no package refers to a node.
func (g *graph) leaf(i int32) bool {
	return !slices.ContainsFunc(g.users[i], func(u int32) bool { return !g.generated[u] })
}

// join puts each node into the bin that it costs least to be in, the first of
// equals. None sees where the others go.
func (g *graph) join(nodes []int32, bins []*bin) {
	choice := make([]*bin, len(nodes))
	least := slices.Repeat([]float64{math.Inf(1)}, len(nodes))
	more := make([]int32, len(g.infos))
	for some := range slices.Chunk(bins, binsAtOnce) {
		below := make([]bitset, len(some))
		for x, b := range some {
			below[x] = b.below
		}
		outside := g.reach.outside(below)
		for x, b := range some {
			// How many nodes each node's closure has that b does not change with.
			g.reach.each(more, func(k int) int32 { return outside[k*len(some)+x] }, func(i int32) bool { return !b.below.has(i) })
			count := b.below.count()
			for k, i := range nodes {
				n := count + int(more[i])
				if cost := g.costOf(float64(g.sizes[i]), g.chances[g.counts[i]], b.size, b.chance, n); cost < least[k] {
					choice[k], least[k] = b, cost
				}
			}
		}
	}
	for k, i := range nodes {
		g.put(choice[k], i)
	}
	for _, b := range bins {
		g.settle(b)
	}
}

// openBins are the bins of up to limit bytes, and at least the smaller half.
func openBins(bins []*bin, limit float64) []*bin {
	sizes := make([]float64, len(bins))
	for k, b := range bins {
		sizes[k] = b.size
	}
	slices.Sort(sizes)
	limit = max(limit, sizes[(len(sizes)-1)/2])
	return slices.DeleteFunc(slices.Clone(bins), func(b *bin) bool { return b.size > limit })
}

// weight says how much a path deserves a layer of its own: its bytes, times its
// chance of change to the power of 3/4. A path that is shipped often gains more
// from being alone than one that hardly ever is; the power was measured.
func (g *graph) weight(i int32) float64 {
	root := math.Sqrt(g.chances[g.counts[i]])
	return float64(g.sizes[i]) * root * math.Sqrt(root)
}
