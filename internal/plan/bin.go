package plan

import (
	"math"
	"math/bits"
)

// chances returns for each k from 0 to n how likely it is that one of k paths changes, up
// to a constant factor: √k.
//
// The reason for the square root: let p be the part of all packages that an update
// changes. Then k paths stay unchanged with probability (1-p)^k, about e^(-pk). There are
// many small updates and few large ones, so updates have the weight p^(-3/2) dp. The mean
// of 1-e^(-pk) over updates of all sizes is then proportional to √k. So the planner needs
// no rate of change, and no comparison depends on the number of paths.
//
// math.Sqrt is exact on every platform. math.Pow is not.
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
	below   bitset  // all nodes whose change changes the layer: the union of its members' closures
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

// put adds a node. Call settle before b is compared again.
func (g *graph) put(b *bin, node int32) {
	b.members = append(b.members, node)
	b.size += float64(g.sizes[node])
	g.addBelow(b.below, node)
}

func (g *graph) settle(b *bin) { b.chance = g.chances[b.below.count()] }

// joinCost returns how much the expected bytes of an update increase if a and b become
// one layer. Clients then download each of them also when only the other changes.
func (g *graph) joinCost(sizeA, chanceA float64, belowA bitset, sizeB, chanceB float64, belowB bitset) float64 {
	g.steps += int64(len(belowA))
	n := 0
	for i, w := range belowA {
		n += bits.OnesCount64(w | belowB[i])
	}
	return g.costOf(sizeA, chanceA, sizeB, chanceB, n)
}

// costOf is joinCost for two bins whose closures have n nodes together.
func (g *graph) costOf(sizeA, chanceA, sizeB, chanceB float64, n int) float64 {
	both := g.chances[n]
	// The conversions keep the compiler from fusing each multiplication with the
	// addition. It would do so on arm64 but not on amd64.
	return float64(sizeA*(both-chanceA)) + float64(sizeB*(both-chanceB))
}
