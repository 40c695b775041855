package plan

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// history records which packages change more often than others. Packages that always change
// together form a cluster.
//
// A package changes by itself if an update changes its version, or if the update changes the
// package but nothing to which it refers. The other changes are rebuilds.
type history struct {
	clusters []uint64  // for each node: the clusters in its closure, one bit for each cluster
	weights  [64]int64 // for each cluster: the weight of one of its packages
	cold     int64     // mean weight of the packages that are in no cluster
}

// weightUnit is the weight of a package with as many changes as the mean of all packages. The
// weight of a package is proportional to its estimated number of changes.
const weightUnit = 256

// learn compares the closure of g with the image before it, this image with the image before
// it, and so on. images begins with the latest image.
func (g *graph) learn(images [][]closure.StorePath) *history {
	own := g.ownChanges(images[:min(len(images), 64)])
	weight := g.changeWeights(own)
	if weight == nil {
		return nil
	}
	// A key of the map is a set of updates. Its value lists the packages that changed by
	// themselves in exactly these updates. They are one cluster.
	of := map[uint64][]int32{}
	for i, o := range own {
		if weight(o) > weightUnit && !g.generated[i] {
			of[o] = append(of[o], int32(i))
		}
	}
	hot := slices.SortedFunc(maps.Keys(of), func(a, b uint64) int {
		return cmp.Or(cmp.Compare(bits.OnesCount64(b), bits.OnesCount64(a)), cmp.Compare(of[a][0], of[b][0]))
	})
	h := &history{clusters: make([]uint64, len(g.infos))}
	left, rest := int64(0), int64(0)
	for k, o := range hot[:min(len(hot), 64)] {
		h.weights[k] = weight(o)
		for _, i := range of[o] {
			h.clusters[i] = 1 << k
		}
	}
	for i, o := range own {
		if h.clusters[i] == 0 && !g.generated[i] {
			rest, left = rest+weight(o), left+1
		}
	}
	h.cold = max(1, rest/max(1, left))
	for _, i := range g.order {
		for _, r := range g.refs[i] {
			h.clusters[i] |= h.clusters[r]
		}
	}
	return h
}

// changeWeights returns a function that computes the weight of a package. The argument of this
// function is the element of own for the package. If no package changes more often
// than others, changeWeights returns nil.
//
// The numbers of changes are small, so a package may have many changes only by chance.
// If all packages change equally often, the variance of the numbers is about equal to their mean.
// If the variance is greater, the packages really differ, and the number of a single package
// counts more (gamma-Poisson estimate).
func (g *graph) changeWeights(own []uint64) func(uint64) int64 {
	var n, sum, squares int64
	for i, o := range own {
		if !g.generated[i] {
			c := int64(bits.OnesCount64(o))
			n, sum, squares = n+1, sum+c, squares+c*c
		}
	}
	excess := n*squares - sum*sum - n*sum // n² × (variance - mean)
	if excess <= 0 {
		return nil
	}
	mean := float64(sum) / float64(n)
	shape := float64(sum) * float64(sum) / float64(excess) // mean² / (variance - mean)
	return func(own uint64) int64 {
		return int64(weightUnit * (float64(bits.OnesCount64(own)) + shape) / (mean + shape))
	}
}

// ownChanges returns, for each node, which updates changed the node by itself. Bit k is set for
// the update from images[k] to the image before it in the slice, or to the closure of g.
func (g *graph) ownChanges(images [][]closure.StorePath) []uint64 {
	paths := make([]closure.StorePath, len(g.infos)) // of each node: its path in the image at hand; "" if it has none
	for i, info := range g.infos {
		paths[i] = info.Path
	}
	now := slices.Clone(paths)
	own := make([]uint64, len(g.infos))
	changed, renamed := make([]bool, len(g.infos)), make([]bool, len(g.infos))
	for k, before := range images {
		was := predecessors(now, before)
		for i, p := range paths {
			earlier, is := was[p]
			changed[i] = is && p != ""
			renamed[i] = changed[i] && earlier != "" && earlier.Name() != p.Name()
			if changed[i] {
				paths[i] = earlier
			}
		}
		for i, p := range paths {
			if p == "" || !changed[i] {
				continue
			}
			if renamed[i] || !slices.ContainsFunc(g.refs[i], func(r int32) bool { return changed[r] }) {
				own[i] |= 1 << k
			}
		}
		now = before
	}
	return own
}

// predecessors maps each path of now that is not in before to the path that it replaces, or to
// "" if it replaces none.
func predecessors(now, before []closure.StorePath) map[closure.StorePath]closure.StorePath {
	in := func(paths []closure.StorePath) map[closure.StorePath]bool {
		set := make(map[closure.StorePath]bool, len(paths))
		for _, p := range paths {
			set[p] = true
		}
		return set
	}
	without := func(paths []closure.StorePath, known map[closure.StorePath]bool) (rest []closure.StorePath) {
		for _, p := range paths {
			if !known[p] {
				rest = append(rest, p)
			}
		}
		sortByName(rest)
		return rest
	}
	return replaced(without(now, in(before)), without(before, in(now)))
}

func sortByName(paths []closure.StorePath) {
	slices.SortFunc(paths, func(a, b closure.StorePath) int {
		return cmp.Or(strings.Compare(a.Name(), b.Name()), cmp.Compare(a, b))
	})
}

// replaced maps each path of fresh to the path of gone that it replaces, or to "" if it
// replaces none.
func replaced(fresh, gone []closure.StorePath) map[closure.StorePath]closure.StorePath {
	of := make(map[closure.StorePath]closure.StorePath, len(fresh))
	for _, key := range []func(string) string{func(name string) string { return name }, stem} {
		free := map[string][]closure.StorePath{}
		for _, p := range gone {
			free[key(p.Name())] = append(free[key(p.Name())], p)
		}
		taken := map[closure.StorePath]bool{}
		fresh = slices.DeleteFunc(slices.Clone(fresh), func(p closure.StorePath) bool {
			name := key(p.Name())
			if len(free[name]) == 0 {
				return false
			}
			of[p] = free[name][0]
			taken[free[name][0]] = true
			free[name] = free[name][1:]
			return true
		})
		gone = slices.DeleteFunc(slices.Clone(gone), func(p closure.StorePath) bool { return taken[p] })
	}
	for _, p := range fresh {
		of[p] = ""
	}
	return of
}

// rate returns the chance that an update changes a set of count nodes, in the unit of
// [graph.chances]. clusters is the union of the clusters of these nodes.
func (g *graph) rate(count int, clusters uint64) float64 {
	if g.history == nil {
		return g.chances[count]
	}
	h := g.history
	weight := h.cold * int64(count-bits.OnesCount64(clusters))
	for c := clusters; c != 0; c &= c - 1 {
		weight += h.weights[bits.TrailingZeros64(c)]
	}
	return math.Sqrt(float64(weight) / weightUnit)
}

// clustersOf returns the clusters in the closure of a node.
func (g *graph) clustersOf(i int32) uint64 {
	if g.history == nil {
		return 0
	}
	return g.history.clusters[i]
}

// ownRate returns the rate of a layer that contains only node i.
func (g *graph) ownRate(i int32) float64 { return g.rate(int(g.counts[i]), g.clustersOf(i)) }
