package plan

import (
	"cmp"
	"maps"
	"slices"
)

// This file contains the strategies of other tools, to compare them on the same image. They
// follow the behaviour of those tools, not their code.

func (g *graph) sorted(less func(a, b int32) int) []int32 {
	nodes := make([]int32, 0, len(g.infos))
	for i := range int32(len(g.infos)) {
		if !g.fixed[i] {
			nodes = append(nodes, i)
		}
	}
	slices.SortFunc(nodes, func(a, b int32) int { return cmp.Or(less(a, b), cmp.Compare(a, b)) })
	return nodes
}

// headAlone gives each of the first budget-1 nodes a layer of its own. All other nodes share
// the last layer.
func (g *graph) headAlone(nodes []int32, budget int) []*bin {
	var bins []*bin
	for i, n := range nodes {
		if i < budget {
			bins = append(bins, g.newBin())
		}
		g.put(bins[len(bins)-1], n)
	}
	return bins
}

// planOne puts all paths into one layer, like an image from a tarball.
func planOne(g *graph, _ int) []*bin {
	return g.headAlone(g.sorted(func(a, b int32) int { return 0 }), 1)
}

// planSize gives each of the biggest paths a layer of its own. The other paths share one
// layer.
func planSize(g *graph, budget int) []*bin {
	return g.headAlone(g.sorted(func(a, b int32) int { return cmp.Compare(g.sizes[b], g.sizes[a]) }), budget)
}

// planPopularity is the strategy of nix2container, and of dockerTools before 24.11. It counts
// the chains of references that lead to each path. The paths with most chains get a layer
// each.
func planPopularity(g *graph, budget int) []*bin {
	score := make([]float64, len(g.infos))
	for _, i := range slices.Backward(g.order) {
		score[i]++
		for _, r := range g.refs[i] {
			score[r] += score[i]
		}
	}
	return g.headAlone(g.sorted(func(a, b int32) int { return cmp.Compare(score[b], score[a]) }), budget)
}

// planDockerTools is the strategy of nixpkgs' dockerTools since 24.11. It makes the biggest
// paths primary, one after another. Two paths share a layer if the nearest primary paths that
// depend on them are the same. The function stops before the number of layers exceeds the
// budget.
func planDockerTools(g *graph, budget int) []*bin {
	n := len(g.infos)
	key := make([]string, n) // of each path: its set of primary users as a string, sorted, 4 bytes for each user
	sets := make([][]int32, n)
	encode := func(set []int32) string {
		b := make([]byte, 0, 4*len(set))
		for _, i := range set {
			b = append(b, byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
		}
		return string(b)
	}
	nodes := g.sorted(func(a, b int32) int { return cmp.Compare(g.sizes[b], g.sizes[a]) })
	count := map[string]int{"": len(nodes)}
	primary := map[int32]bitset{} // the closure of each primary path
	for _, p := range nodes {
		below := slices.Clone(g.below(p))
		primary[p] = below
		next := maps.Clone(count)
		change := map[int32][]int32{p: {p}}
		for d := range int32(n) {
			if d == p || g.fixed[d] || !below.has(d) {
				continue
			}
			// p is now nearer to d than the primary users of p. So d loses those users.
			set := slices.DeleteFunc(slices.Clone(sets[d]), func(u int32) bool { return u != p && primary[u].has(p) })
			if !slices.ContainsFunc(set, func(u int32) bool { return u != p && below.has(u) }) {
				set = append(set, p)
				slices.Sort(set)
				set = slices.Compact(set)
			}
			change[d] = set
		}
		for d, set := range change {
			if next[key[d]]--; next[key[d]] == 0 {
				delete(next, key[d])
			}
			next[encode(set)]++
		}
		if len(next) > budget {
			break
		}
		count = next
		for d, set := range change {
			sets[d], key[d] = set, encode(set)
		}
	}
	groups := map[string]*bin{}
	for _, i := range nodes {
		if groups[key[i]] == nil {
			groups[key[i]] = g.newBin()
		}
		g.put(groups[key[i]], i)
	}
	bins := make([]*bin, 0, len(groups))
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		bins = append(bins, groups[k])
	}
	return bins
}
