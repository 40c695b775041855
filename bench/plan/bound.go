package main

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
)

// bound estimates the best result that any plan can have with a given number of layers. It
// uses facts that a planner does not have: the kinds of updates that are measured, and the
// packages from which each kind chooses. With these facts, it searches by simulated annealing
// for the division into layers that ships the fewest bytes on average. The result of such a
// search is an estimate, not a proof. After an update, the paths stay in the same layers.
type bound struct {
	g     *graph
	below [][]int32 // the closure of each node
	class []class
	count [3]float64 // number of nodes of each class
	bins  []*boundBin
	home  []int
}

// boundSteps is the number of moves that the search tries. Six times as many moves lower the
// bound by 0.3 points for 5,000 paths and 100 layers, and by 0.01 for the real systems.
const boundSteps = 1_000_000

// class records in which lists of [graph.classes] a node is. An update of a kind chooses its
// nodes from one of these lists.
type class struct{ leaf, anywhere, low uint8 }

// boundBin describes a layer of a bound.
type boundBin struct {
	size  float64
	cover []int32 // for each node: the number of members of the layer whose closure contains the node
	has   [3]int  // number of nodes of each class whose change also changes the layer
}

// chance returns the probability that an update changes a layer, as the mean of the first six
// kinds of updates.
func (b *bound) chance(has [3]int) float64 {
	leaf, anywhere, low := float64(has[0])/b.count[0], float64(has[1])/b.count[1], float64(has[2])/b.count[2]
	none := func(p float64, n int) float64 { return math.Pow(1-p, float64(n)) }
	return (leaf + 1 - none(leaf, 5) + anywhere + 1 - none(anywhere, 3) + low + 1 - none(anywhere, 10)*(1-low)) / 6
}

func (c class) add(has *[3]int, by int) {
	has[0] += int(c.leaf) * by
	has[1] += int(c.anywhere) * by
	has[2] += int(c.low) * by
}

// with returns the chance of layer to after node i is added, if it is not in the layer yet.
func (b *bound) with(i, to int) float64 {
	bin := b.bins[to]
	has := bin.has
	for _, x := range b.below[i] {
		if bin.cover[x] == 0 {
			b.class[x].add(&has, 1)
		}
	}
	return b.chance(has)
}

// without returns the chance of the layer of node i after node i is removed.
func (b *bound) without(i int) float64 {
	bin := b.bins[b.home[i]]
	has := bin.has
	for _, x := range b.below[i] {
		if bin.cover[x] == 1 {
			b.class[x].add(&has, -1)
		}
	}
	return b.chance(has)
}

func (b *bound) put(i, to int) {
	bin := b.bins[to]
	b.home[i] = to
	bin.size += float64(b.g.nodes[i].size)
	for _, x := range b.below[i] {
		if bin.cover[x]++; bin.cover[x] == 1 {
			b.class[x].add(&bin.has, 1)
		}
	}
}

func (b *bound) take(i int) {
	bin := b.bins[b.home[i]]
	bin.size -= float64(b.g.nodes[i].size)
	for _, x := range b.below[i] {
		if bin.cover[x]--; bin.cover[x] == 0 {
			b.class[x].add(&bin.has, -1)
		}
	}
}

// change returns how much the mean of the bytes that updates ship rises if node i moves to
// the layer to. A negative result means that the move saves bytes.
func (b *bound) change(i, to int) float64 {
	from, into, s := b.bins[b.home[i]], b.bins[to], float64(b.g.nodes[i].size)
	return (from.size-s)*b.without(i) - from.size*b.chance(from.has) +
		(into.size+s)*b.with(i, to) - into.size*b.chance(into.has)
}

// newBound searches for the best division into layers. It starts with nixoci's plan.
func newBound(g *graph, c *closure.Closure, budget, steps int) (*bound, error) {
	b := &bound{g: g, home: make([]int, len(g.nodes)), class: make([]class, len(g.nodes)), below: g.closures()}
	packages, leaves, low := g.classes()
	for _, i := range leaves {
		b.class[i].leaf = 1
	}
	for _, i := range packages {
		b.class[i].anywhere = 1
	}
	for _, i := range low {
		b.class[i].low = 1
	}
	b.count = [3]float64{float64(len(leaves)), float64(len(packages)), float64(len(low))}
	_, groups, err := planGroups(c, plan.Options{MaxLayers: budget})
	if err != nil {
		return nil, err
	}
	for range budget {
		b.bins = append(b.bins, &boundBin{cover: make([]int32, len(g.nodes))})
	}
	at := make(map[closure.StorePath]int, len(g.nodes))
	for i, n := range g.nodes {
		at[n.path()] = i
	}
	for k, paths := range groups {
		for _, p := range paths {
			b.put(at[p], k)
		}
	}
	b.anneal(rand.New(rand.NewPCG(4, uint64(budget))), steps)
	return b, nil
}

// anneal moves single nodes between layers. At first it also makes moves that ship more
// bytes. Later it makes only moves that save bytes.
func (b *bound) anneal(r *rand.Rand, steps int) {
	// Half of the tried moves are moves of heavy nodes, because these matter most.
	heavy := make([]int, len(b.home))
	for i := range heavy {
		heavy[i] = i
	}
	slices.SortFunc(heavy, func(x, y int) int { return int(b.g.nodes[y].size - b.g.nodes[x].size) })
	heat := float64(b.g.bytes()) / float64(len(b.home)) / 50
	for step := range steps {
		temperature := heat * math.Pow(1e-4, float64(step)/float64(steps))
		i := r.IntN(len(b.home))
		if r.IntN(2) == 0 {
			i = heavy[r.IntN(1+len(heavy)/5)]
		}
		to := r.IntN(len(b.bins))
		if to == b.home[i] {
			continue
		}
		if d := b.change(i, to); d <= 0 || r.Float64() < math.Exp(-d/temperature) {
			b.take(i)
			b.put(i, to)
		}
	}
}

// excess returns the mean excess for the first six kinds of updates. The function measure
// uses the same updates.
func (b *bound) excess(trials int) (row []float64) {
	for k, kind := range kinds[:6] {
		sum := 0.0
		for t := range trials {
			u := b.g.update(rand.New(rand.NewPCG(uint64(k), uint64(t))), kind, t+1)
			size, changed := make([]float64, len(b.bins)), make([]float64, len(b.bins))
			for _, n := range u.nodes {
				i, ok := b.g.at[n.id]
				if !ok {
					continue // a new path goes into a layer that changes anyway
				}
				size[b.home[i]] += float64(n.size)
				if n.rev != b.g.nodes[i].rev {
					changed[b.home[i]] += float64(n.size)
				}
			}
			for k, c := range changed {
				if c > 0 {
					sum += (size[k] - c) / float64(u.bytes())
				}
			}
		}
		row = append(row, sum/float64(trials))
	}
	return row
}

// closures returns the closure of each node. The closure contains the node itself.
func (g *graph) closures() [][]int32 {
	below := make([][]int32, len(g.nodes))
	seen := make([]int, len(g.nodes)) // for each node: 1 + the last node from which the search reached it
	for i := range g.nodes {
		todo := []int32{int32(i)}
		seen[i] = i + 1
		for len(todo) > 0 {
			x := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			below[i] = append(below[i], x)
			for _, ref := range g.nodes[x].refs {
				if j := g.at[ref]; seen[j] != i+1 {
					seen[j] = i + 1
					todo = append(todo, int32(j))
				}
			}
		}
	}
	return below
}
