package plan

import (
	"math"
	"math/bits"
)

// chances returns a slice c in which c[k] is √k. Up to a constant factor, this is the
// probability that an update changes at least one of k paths.
//
// The reason for the square root: suppose that an update changes the share p of all packages.
// Then k paths stay unchanged with probability (1-p)^k, about e^(-pk). Small updates are
// frequent and large updates are rare, so updates have the weight p^(-3/2) dp. The mean of
// 1-e^(-pk) over updates of all sizes is then proportional to √k. So the planner needs no
// rate of change, and no comparison depends on the number of paths in the closure.
//
// math.Sqrt is exact on every platform. math.Pow is not.
func chances(n int) []float64 {
	c := make([]float64, n+1)
	for k := range c {
		c[k] = math.Sqrt(float64(k))
	}
	return c
}

// bin describes a layer while the plan is made.
type bin struct {
	members  []int32
	size     float64 // bytes
	below    bitset  // the union of the members' closures: a change of any of these nodes changes the layer
	chance   float64
	clusters uint64 // the clusters of the nodes in below; 0 without a history
}

func (g *graph) newBin(members ...int32) *bin {
	b := &bin{below: make(bitset, g.words())}
	for _, m := range members {
		g.put(b, m)
	}
	g.settle(b)
	return b
}

// put adds a node. The caller must call settle before the next comparison that uses b.
func (g *graph) put(b *bin, node int32) {
	b.members = append(b.members, node)
	b.size += float64(g.sizes[node])
	g.addBelow(b.below, node)
	b.clusters |= g.clustersOf(node)
}

func (g *graph) settle(b *bin) { b.chance = g.rate(b.below.count(), b.clusters) }

// joinCost returns how much the expected download of an update grows if a and b become one
// layer. Clients then download the bytes of both, even if only one of them changes.
func (g *graph) joinCost(a, b *bin) float64 {
	g.steps += int64(len(a.below))
	n := 0
	for i, w := range a.below {
		n += bits.OnesCount64(w | b.below[i])
	}
	return g.costOf(a.size, a.chance, b.size, b.chance, g.rate(n, a.clusters|b.clusters))
}

// costOf computes the same cost as joinCost. both is the chance that an update changes the union of
// the two bins.
func (g *graph) costOf(sizeA, chanceA, sizeB, chanceB, both float64) float64 {
	// The conversions to float64 keep the compiler from fusing each multiplication with the
	// addition. The compiler would fuse them on arm64 but not on amd64.
	return float64(sizeA*(both-chanceA)) + float64(sizeB*(both-chanceB))
}
