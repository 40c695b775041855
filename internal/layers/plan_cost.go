package layers

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

	// planRounds is in how many rounds small paths choose their layers. One
	// would be the most stable, since nothing that a path chooses then depends on
	// another small one, and many the closest fit. Measured on graphs of 250 to
	// 1,000 paths: 1 round costs 20 % more excess, 10 are no better than 4.
	planRounds = 4

	// tailStep is how much lighter than the lightest seed a path of the tail is,
	// at least. The tail chooses last, and nothing depends on what it chooses: a
	// small path that comes or goes moves no other.
	tailStep = 4

	// hostShare keeps small paths out of the layers of the very biggest paths,
	// those of more than one in hostShare of all bytes: a path that changes its
	// mind there has all of them shipped again.
	hostShare = 40
)

// planCost is nixoci's own way, described in the package documentation.
func planCost(g *planGraph, budget int) []*bin {
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
	weight := make([]float64, len(g.infos))
	for _, i := range nodes {
		weight[i] = g.weight(i)
	}
	slices.SortFunc(nodes, func(a, b int32) int {
		return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(a, b))
	})
	price := int64(min(layerPrice, float64(g.total)*layerPricePart))
	seeds := make([]*bin, 0, budget)
	var small []int32
	for _, i := range nodes {
		if len(seeds) == 0 || len(seeds) < budget && g.sizes[i] >= price {
			seeds = append(seeds, g.newBin(i))
		} else {
			small = append(small, i)
		}
	}
	// In round r the names that hash to r choose, all of them seeing the layers
	// as they were after the round before. So a path's choice depends on the big
	// paths and on few others, none of which is there because of its place in
	// some order that one new path would shift.
	hosts := g.hosts(seeds)
	// A power of two, so that another lightest seed rarely moves the threshold.
	tail := math.Ldexp(1, math.Ilogb(weight[seeds[len(seeds)-1].members[0]]/tailStep))
	turn := make([]uint32, len(small))
	for k, i := range small {
		if turn[k] = g.hashes[i] % planRounds; weight[i] < tail {
			turn[k] = planRounds
		}
	}
	choice := make([]*bin, len(small))
	for round := range uint32(planRounds + 1) {
		for k, i := range small {
			if turn[k] == round {
				choice[k] = g.cheapest(i, hosts)
			}
		}
		for k, i := range small {
			if turn[k] == round {
				g.put(choice[k], i)
			}
		}
		for _, b := range seeds {
			g.settle(b)
		}
	}
	return append(bins, seeds...)
}

// hosts are the seeds that small paths may join: all but the biggest, and at
// least the lighter half.
func (g *planGraph) hosts(seeds []*bin) []*bin {
	hosts := make([]*bin, 0, len(seeds))
	for k, b := range seeds {
		if k >= len(seeds)/2 || b.size*hostShare <= float64(g.total) {
			hosts = append(hosts, b)
		}
	}
	return hosts
}

// weight says how much a path deserves a layer of its own: its bytes, times its
// chance of change to the power of 3/4. A path that is shipped often gains more
// from being alone than one that hardly ever is; the power was measured.
func (g *planGraph) weight(i int32) float64 {
	root := math.Sqrt(g.chances[g.counts[i]])
	return float64(g.sizes[i]) * root * math.Sqrt(root)
}

// cheapest is the bin that node costs least to be in; the first of equals.
func (g *planGraph) cheapest(node int32, bins []*bin) *bin {
	var best *bin
	least := math.Inf(1)
	for _, b := range bins {
		if cost := g.nodeJoinCost(node, b); cost < least {
			best, least = b, cost
		}
	}
	return best
}
