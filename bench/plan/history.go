package main

import (
	"cmp"
	"hash/fnv"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// updates holds one bit for each week of a year.
type updates uint64

func (u updates) count() int { return bits.OnesCount64(uint64(u)) }

// item describes a store path with its history.
type item struct {
	name string
	size int64
	all  updates // weeks in which the store hash of the path changed
	own  updates // weeks in which the package itself changed
}

// rechunk divides items into layers as github.com/hhd-dev/rechunk does (alg.py). It first
// fills layers with the items that cost the least bandwidth over the history. After that, it
// puts each remaining item into the layer where the item costs least.
func rechunk(items []item, budget int) (layers [][]int) {
	const prefillRatio, maxRatio = 0.4, 1.3
	var total int64
	left := map[int]bool{}
	for i, it := range items {
		total += it.size
		left[i] = true
	}
	if len(items) <= budget {
		return singles(len(items))
	}
	for _, limit := range []int64{500_000, 1_000_000} {
		var small []int
		for i, it := range items {
			if left[i] && it.size < limit && budget > 2 {
				small = append(small, i)
				delete(left, i)
			}
		}
		if small != nil {
			layers = append(layers, small)
		}
	}
	layerSize := float64(total) / float64(budget)
	for len(layers) < budget && len(left) > 0 {
		first := slices.MaxFunc(slices.Sorted(maps.Keys(left)), func(a, b int) int {
			return cmp.Or(cmp.Compare(items[a].size, items[b].size), cmp.Compare(b, a))
		})
		delete(left, first)
		layer, size, upd := []int{first}, items[first].size, items[first].all
		for float64(size) <= layerSize*prefillRatio && len(left) > 0 {
			next := cheapest(items, left, upd, size)
			delete(left, next)
			layer, size, upd = append(layer, next), size+items[next].size, upd|items[next].all
		}
		layers = append(layers, layer)
	}
	return fill(items, layers, left, layerSize*maxRatio)
}

// cheapest returns the item in left that adds the least bandwidth to a layer. upd and size
// describe this layer.
func cheapest(items []item, left map[int]bool, upd updates, size int64) int {
	return slices.MinFunc(slices.Sorted(maps.Keys(left)), func(a, b int) int {
		bandwidth := func(i int) int64 { return int64((upd | items[i].all).count()) * (size + items[i].size) }
		return cmp.Or(cmp.Compare(bandwidth(a), bandwidth(b)), cmp.Compare(a, b))
	})
}

// fill puts each remaining item into the layer where the item costs least.
func fill(items []item, layers [][]int, left map[int]bool, maxSize float64) [][]int {
	sizes, upds := make([]int64, len(layers)), make([]updates, len(layers))
	for k, l := range layers {
		for _, i := range l {
			sizes[k] += items[i].size
			upds[k] |= items[i].all
		}
	}
	for len(left) > 0 {
		layer, next, least := -1, 0, int64(math.MaxInt64)
		for k := range layers {
			if float64(sizes[k]) > maxSize {
				continue
			}
			i := cheapest(items, left, upds[k], sizes[k])
			more := int64((upds[k]|items[i].all).count())*(sizes[k]+items[i].size) - int64(upds[k].count())*sizes[k]
			if more < least {
				layer, next, least = k, i, more
			}
		}
		if layer < 0 { // all layers are full, so use the smallest layer
			layer = slices.Index(sizes, slices.Min(sizes))
			next = slices.Min(slices.Collect(maps.Keys(left)))
		}
		delete(left, next)
		layers[layer] = append(layers[layer], next)
		sizes[layer] += items[next].size
		upds[layer] |= items[next].all
	}
	return layers
}

func singles(n int) (layers [][]int) {
	for i := range n {
		layers = append(layers, []int{i})
	}
	return layers
}

// chunkah divides items into layers as github.com/coreos/chunkah does (packing.rs). Unusually
// large items get separate layers. The other items are divided into tiers of stability, and
// within a tier by the hash of their names.
func chunkah(items []item, budget int) (layers [][]int) {
	if len(items) <= budget {
		return singles(len(items))
	}
	const threshold, cap = 1.5, 0.8
	median := medianOf(items, func(it item) float64 { return float64(it.size) })
	mad := medianOf(items, func(it item) float64 { return math.Abs(float64(it.size) - median) })
	if mad < median*0.01 {
		mad = median
	}
	var large, rest []int
	for i, it := range items {
		if float64(it.size) >= median+threshold*mad {
			large = append(large, i)
		} else {
			rest = append(rest, i)
		}
	}
	slices.SortStableFunc(large, func(a, b int) int { return cmp.Compare(items[b].size, items[a].size) })
	most := min(len(large), int(float64(budget-1)*cap))
	for _, i := range large[:most] {
		layers = append(layers, []int{i})
	}
	rest = append(rest, large[most:]...)
	return append(layers, tiers(items, rest, budget-most)...)
}

func medianOf(items []item, value func(item) float64) float64 {
	var all []float64
	for _, it := range items {
		all = append(all, value(it))
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

// tiers divides items by stability. Each tier gets layers in proportion to its
// number of items.
func tiers(items []item, rest []int, budget int) (layers [][]int) {
	stability := func(i int) float64 { return math.Exp(-float64(items[i].own.count()) / 52) }
	mean, deviation := 0.0, 0.0
	for _, i := range rest {
		mean += stability(i) / float64(len(rest))
	}
	for _, i := range rest {
		deviation += (stability(i) - mean) * (stability(i) - mean) / float64(len(rest))
	}
	deviation = math.Sqrt(deviation)
	var tier [3][]int
	for _, i := range rest {
		switch s := stability(i); {
		case s >= mean+deviation:
			tier[0] = append(tier[0], i)
		case s <= mean-deviation:
			tier[2] = append(tier[2], i)
		default:
			tier[1] = append(tier[1], i)
		}
	}
	full := slices.DeleteFunc(tier[:], func(t []int) bool { return t == nil })
	if budget < len(full) {
		return byName(items, rest, budget)
	}
	used := 0
	for k, t := range full {
		n := budget - used
		if k < len(full)-1 {
			share := math.Max(1, math.Round(float64(len(t))/float64(len(rest))*float64(budget)))
			n = min(int(share), budget-used-(len(full)-1-k))
		}
		used += n
		layers = append(layers, byName(items, t, n)...)
	}
	return layers
}

// byName distributes items by the hash of their names. A layer that stays empty gets the
// largest item of a layer with several items.
func byName(items []item, members []int, n int) [][]int {
	bins := make([][]int, n)
	for _, i := range members {
		h := fnv.New64()
		h.Write([]byte(items[i].name))
		bins[h.Sum64()%uint64(n)] = append(bins[h.Sum64()%uint64(n)], i)
	}
	for k := range bins {
		if len(bins[k]) > 0 {
			continue
		}
		from, at := -1, 0
		for b, bin := range bins {
			for j, i := range bin {
				if len(bin) > 1 && (from < 0 || items[i].size > items[bins[from][at]].size) {
					from, at = b, j
				}
			}
		}
		if from >= 0 {
			bins[k] = []int{bins[from][at]}
			bins[from] = slices.Delete(slices.Clone(bins[from]), at, at+1)
		}
	}
	return slices.DeleteFunc(bins, func(b []int) bool { return len(b) == 0 })
}
