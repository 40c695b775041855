package plan

import (
	"math"
	"math/bits"
)

// chances[k] is how likely it is that one of k paths changes, up to a factor:
// the square root of k. With p the part of all packages that an update
// changes, k paths stay as they are with probability (1-p)^k, about e^(-pk);
// and the mean of 1-e^(-pk) over updates of every size, weighted p^(-3/2) dp so
// that small ones are many and large ones few, is proportional to √k. There is
// no rate to assume, and none of the comparisons depends on how many paths
// there are.
//
// math.Sqrt is exact on every platform, which math.Pow is not.
func chances(n int) []float64 {
	c := make([]float64, n+1)
	for k := range c {
		c[k] = math.Sqrt(float64(k))
	}
	return c
}

// bin is a layer while it is planned.
type bin struct {
	members []int32
	size    float64 // bytes
	below   bitset  // everything that the layer changes with
	chance  float64
}

func (g *graph) newBin(members ...int32) *bin {
	b := &bin{below: make(bitset, g.words())}
	for _, m := range members {
		g.put(b, m)
	}
	g.settle(b)
	return b
}

// put adds a node. Settle must follow before b is compared again.
func (g *graph) put(b *bin, node int32) {
	b.members = append(b.members, node)
	b.size += float64(g.sizes[node])
	g.addBelow(b.below, node)
}

func (g *graph) settle(b *bin) { b.chance = g.chances[b.below.count()] }

// joinCost is by how much the expected bytes of an update rise when a and b
// become one layer: each of them is then shipped also when only the other
// changes.
func (g *graph) joinCost(sizeA, chanceA float64, belowA bitset, sizeB, chanceB float64, belowB bitset) float64 {
	g.steps += int64(len(belowA))
	n := 0
	for i, w := range belowA {
		n += bits.OnesCount64(w | belowB[i])
	}
	return g.costOf(sizeA, chanceA, sizeB, chanceB, n)
}

// costOf is joinCost where the two change with n nodes together.
func (g *graph) costOf(sizeA, chanceA, sizeB, chanceB float64, n int) float64 {
	both := g.chances[n]
	// The conversions keep the compiler from fusing the multiplications with the
	// addition, which arm64 would do and amd64 would not.
	return float64(sizeA*(both-chanceA)) + float64(sizeB*(both-chanceB))
}

func (g *graph) nodeJoinCost(node int32, b *bin) float64 {
	return g.joinCost(float64(g.sizes[node]), g.chances[g.counts[node]], g.below(node), b.size, b.chance, b.below)
}
