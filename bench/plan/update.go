package main

import (
	"math/bits"
	"math/rand/v2"
	"regexp"
	"slices"
)

// generated matches the names of paths that a NixOS toplevel makes from its configuration.
// These paths are not packages, and every change of the configuration makes new ones.
var generated = regexp.MustCompile(`^(etc(-.*)?|unit-.*|system-units|user-units|system-path|nixos-system-.*|.*\.(service|conf|timer|socket|target)|users-groups\.json|set-environment|.*-disabled|X-Restart-Triggers.*|toplevel)$`)

// dependents counts, for each node, the nodes that change when this node changes.
func (g *graph) dependents() []int {
	words := (len(g.nodes) + 63) / 64
	users := make([][]int, len(g.nodes))
	for i, n := range g.nodes {
		for _, r := range n.refs {
			if j := g.at[r]; j != i {
				users[j] = append(users[j], i)
			}
		}
	}
	up := make([][]uint64, len(g.nodes))
	count := make([]int, len(g.nodes))
	for i := len(g.nodes) - 1; i >= 0; i-- {
		up[i] = make([]uint64, words)
		for _, u := range users[i] {
			up[i][u/64] |= 1 << (u % 64)
			for k, w := range up[u] {
				up[i][k] |= w
			}
		}
		for _, w := range up[i] {
			count[i] += bits.OnesCount64(w)
		}
	}
	return count
}

// classes returns the indexes of three sets of nodes. packages contains all packages. leaves
// contains the packages to which no other package refers. low contains the packages whose
// change also changes 15 to 85 % of all nodes.
func (g *graph) classes() (packages, leaves, low []int) {
	deps := g.dependents()
	usedByPackage := make([]bool, len(g.nodes))
	for i, n := range g.nodes {
		if generated.MatchString(n.name) {
			continue
		}
		packages = append(packages, i)
		for _, r := range n.refs {
			if j := g.at[r]; j != i {
				usedByPackage[j] = true
			}
		}
	}
	for _, i := range packages {
		if !usedByPackage[i] {
			leaves = append(leaves, i)
		}
		if f := float64(deps[i]) / float64(len(g.nodes)); f > 0.15 && f < 0.85 {
			low = append(low, i)
		}
	}
	if len(low) == 0 {
		low = packages[:1]
	}
	return packages, leaves, low
}

// rebuild gives new store hashes to the nodes in places and to everything that refers to
// them. The sizes of the nodes in places change by up to 3 %.
func (g *graph) rebuild(r *rand.Rand, places []int, rev int) *graph {
	nodes := slices.Clone(g.nodes)
	changed := make([]bool, len(nodes))
	for _, p := range places {
		changed[p] = true
		nodes[p].size += int64((r.Float64()*0.06 - 0.03) * float64(nodes[p].size))
	}
	for i, n := range nodes {
		for _, ref := range n.refs {
			if changed[g.at[ref]] {
				changed[i] = true
			}
		}
		if changed[i] {
			nodes[i].rev = rev
		}
	}
	return &graph{nodes: nodes, at: g.at}
}

// add adds n new leaf packages. The node that refers to the most leaves also refers to the
// new packages.
func (g *graph) add(r *rand.Rand, n, rev int) *graph { return g.addSized(r, n, rev, 0) }

// addSized does the same as add. size is the size of each new package in bytes. If size is 0,
// the new packages are as large as other packages.
func (g *graph) addSized(r *rand.Rand, n, rev int, size int64) *graph {
	packages, leaves, _ := g.classes()
	nodes := slices.Clone(g.nodes)
	var root int // the node that refers to the most leaves: system-path
	best := -1
	leaf := map[int]bool{}
	for _, l := range leaves {
		leaf[g.nodes[l].id] = true
	}
	for i, x := range nodes {
		k := 0
		for _, ref := range x.refs {
			if leaf[ref] {
				k++
			}
		}
		if k >= best {
			best, root = k, i
		}
	}
	maxID := 0
	for _, x := range nodes {
		maxID = max(maxID, x.id)
	}
	rootID := nodes[root].id
	nodes[root].refs = slices.Clone(nodes[root].refs)
	for k := range n {
		like := nodes[packages[r.IntN(len(packages))]]
		x := node{id: maxID + 1 + k, rev: rev, name: newName(r), size: int64(float64(like.size) * (0.5 + r.Float64()))}
		if size > 0 {
			x.size = size + int64(r.IntN(1000))
		}
		for _, ref := range like.refs {
			if ref != like.id {
				x.refs = append(x.refs, ref)
			}
		}
		nodes[root].refs = append(nodes[root].refs, x.id)
		nodes = append(nodes, x)
	}
	ng := newGraph(nodes)
	return ng.rebuildIDs(r, []int{rootID}, rev)
}

// rebuildIDs does the same as rebuild, for ids instead of indexes.
func (g *graph) rebuildIDs(r *rand.Rand, ids []int, rev int) *graph {
	var places []int
	for _, id := range ids {
		places = append(places, g.at[id])
	}
	return g.rebuild(r, places, rev)
}

func newName(r *rand.Rand) string { return newWord(r) + "-1." + string(rune('0'+r.IntN(10))) }

func newWord(r *rand.Rand) string {
	b := make([]byte, 3+r.IntN(8))
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// pick draws n different elements of from at random.
func pick(r *rand.Rand, from []int, n int) []int {
	out := make([]int, 0, n)
	for _, k := range r.Perm(len(from))[:min(n, len(from))] {
		out = append(out, from[k])
	}
	return out
}

// kinds lists the kinds of updates that are measured.
var kinds = []string{"one leaf", "five leaves", "one anywhere", "three anywhere", "a low library", "a rebuild", "configuration", "package added", "package removed", "size grown"}

// update returns the graph after one update of a kind.
func (g *graph) update(r *rand.Rand, kind string, rev int) *graph {
	packages, leaves, low := g.classes()
	switch kind {
	case "one leaf":
		return g.rebuild(r, pick(r, leaves, 1), rev)
	case "five leaves":
		return g.rebuild(r, pick(r, leaves, 5), rev)
	case "one anywhere":
		return g.rebuild(r, pick(r, packages, 1), rev)
	case "three anywhere":
		return g.rebuild(r, pick(r, packages, 3), rev)
	case "a low library":
		return g.rebuild(r, pick(r, low, 1), rev)
	case "a rebuild":
		u := g.rebuild(r, append(pick(r, low, 1), pick(r, packages, 10)...), rev)
		return u.add(r, 3, rev)
	case "configuration":
		var gen []int
		for i, n := range g.nodes {
			if generated.MatchString(n.name) {
				gen = append(gen, i)
			}
		}
		return g.rebuild(r, pick(r, gen, 3), rev)
	case "package added":
		return g.add(r, 1, rev)
	case "package removed":
		gone := g.nodes[pick(r, leaves, 1)[0]].id
		nodes := slices.Clone(g.nodes)
		var users []int
		nodes = slices.DeleteFunc(nodes, func(n node) bool { return n.id == gone })
		for i, n := range nodes {
			if slices.Contains(n.refs, gone) {
				nodes[i].refs = slices.DeleteFunc(slices.Clone(n.refs), func(id int) bool { return id == gone })
				users = append(users, n.id)
			}
		}
		return dropUnreachable(newGraph(nodes).rebuildIDs(r, users, rev), g)
	case "size grown":
		p := pick(r, packages, 1)
		u := g.rebuild(r, p, rev)
		u.nodes[p[0]].size = u.nodes[p[0]].size * 5 / 4
		return u
	}
	panic(kind)
}

// dropUnreachable removes the nodes to which only a removed package referred. These nodes are
// roots of g, but were not roots of old.
func dropUnreachable(g, old *graph) *graph {
	isRoot := func(g *graph) map[int]bool {
		roots := map[int]bool{}
		for _, n := range g.nodes {
			roots[n.id] = true
		}
		for _, n := range g.nodes {
			for _, r := range n.refs {
				if r != n.id {
					delete(roots, r)
				}
			}
		}
		return roots
	}
	was := isRoot(old)
	for {
		drop := map[int]bool{}
		for id := range isRoot(g) {
			if !was[id] {
				drop[id] = true
			}
		}
		if len(drop) == 0 {
			return g
		}
		g = newGraph(slices.DeleteFunc(slices.Clone(g.nodes), func(n node) bool { return drop[n.id] }))
	}
}

// jitter changes all sizes by up to 1 %, but changes no store hash.
func (g *graph) jitter(r *rand.Rand) *graph {
	nodes := slices.Clone(g.nodes)
	for i := range nodes {
		nodes[i].size += int64((r.Float64()*0.02 - 0.01) * float64(nodes[i].size))
	}
	return &graph{nodes: nodes, at: g.at}
}
