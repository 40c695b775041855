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
// An update changes a package by itself if it changes the package's version, or if it changes the
// package and none of the packages to which this package refers. All other changes are rebuilds.
type history struct {
	clusters []uint64  // for each node: the clusters of the packages in its closure, one bit for each cluster
	weights  [64]int64 // for each cluster: the weight of each of its packages
	cold     int64     // mean weight of the packages without a cluster
}

// weightUnit is the weight of a package with as many changes as the mean of all packages. The
// weight of a package is proportional to its estimated number of changes.
const weightUnit = 256

// learn makes the history of g from earlier images. It compares the closure of g with images[0],
// images[0] with images[1], and so on. If the images show no differences between packages, learn
// returns nil.
func (g *graph) learn(images [][]closure.StorePath) *history {
	own := g.ownChanges(images[:min(len(images), 64)])
	weight := g.changeWeights(own)
	if weight == nil {
		return nil
	}
	// Each key of the map is a set of updates, one bit for each. The value lists the
	// packages with exactly these own changes, see ownChanges. These packages form one cluster.
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
// function is the package's element of own. If no package changes more often than the others,
// changeWeights returns nil.
//
// The numbers of changes are small, so a package may have many changes only by chance. If all
// packages change equally often, the variance of these numbers is about equal to their mean. If the
// variance is greater, the packages really differ. Then the weight of a package depends more on its
// own number of changes (gamma-Poisson estimate).
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

// ownChanges returns, for each node, the updates that changed the node by itself, one bit for each
// update. Bit 0 stands for the update from images[0] to the closure of g, and bit k for the update
// from images[k] to images[k-1].
func (g *graph) ownChanges(images [][]closure.StorePath) []uint64 {
	paths := make([]closure.StorePath, len(g.infos)) // for each node: its path in the image now; "" if the image does not contain the node
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

// predecessors maps each path of now that is not in before to the path of before that it replaces.
// If a path replaces none, predecessors maps it to "".
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

// replaced maps each path of fresh to the path of gone that it replaces. A path replaces one with the
// same name, or else one with the same name without version. If there is none, replaced maps the path
// to "".
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

// rate returns the chance that an update changes one of count nodes, in the unit of graph.chances.
// clusters contains the clusters of these nodes.
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

// clustersOf returns the clusters of the packages in the closure of a node.
func (g *graph) clustersOf(i int32) uint64 {
	if g.history == nil {
		return 0
	}
	return g.history.clusters[i]
}

// ownRate returns the rate of a layer that contains only node i.
func (g *graph) ownRate(i int32) float64 { return g.rate(int(g.counts[i]), g.clustersOf(i)) }
