package main

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// generate makes a graph of n store paths with the shape of a NixOS system. Almost everything
// depends on a C library. Many packages depend on a few dozen other libraries. The sizes of
// packages cover five orders of magnitude. Other paths stand for what a toplevel makes from
// its configuration.
func generate(n int, seed uint64) *graph {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	units := n / 12
	packages := n - units - 4
	var nodes []node
	add := func(name string, size int64, refs []int) int {
		id := len(nodes)
		nodes = append(nodes, node{id: id, name: name, size: size, refs: refs})
		return id
	}
	used := make([]bool, packages)
	// urn contains each path once, and once more for each reference to the path. References
	// are drawn from urn, so paths with many referrers get even more.
	var urn []int
	for i := range packages {
		size := int64(math.Exp(r.NormFloat64()*2.1+12.2)) + 500
		var refs []int
		switch {
		case i == 0:
			size = 31_000_000 // size of glibc
		case i < 4: // sizes of the helpers of glibc
			refs = []int{0}
		default:
			if r.IntN(12) > 0 {
				refs = append(refs, 0)
			}
			seen := map[int]bool{0: true}
			for range int(r.ExpFloat64() * (1.5 + 5*float64(i)/float64(packages))) {
				j := urn[r.IntN(len(urn))]
				if r.IntN(3) == 0 { // refer to a package with a near index
					j = max(1, i-1-r.IntN(20))
				}
				if !seen[j] {
					seen[j] = true
					refs = append(refs, j)
					urn = append(urn, j)
					used[j] = true
				}
			}
		}
		urn = append(urn, i)
		if r.IntN(3) == 0 {
			refs = append(refs, i)
		}
		add(fmt.Sprintf("%s-%d.%d", newWord(r), 1+r.IntN(9), r.IntN(30)), size, refs)
	}
	var top []int
	for i := range packages {
		if !used[i] || r.IntN(25) == 0 {
			top = append(top, i)
		}
	}
	var unitIDs []int
	for range units {
		var refs []int
		for range 1 + r.IntN(3) {
			refs = append(refs, r.IntN(packages))
		}
		unitIDs = append(unitIDs, add("unit-"+newWord(r)+".service", 800+int64(r.IntN(3000)), refs))
	}
	all := add("system-units", 30_000, unitIDs)
	sw := add("system-path", 1_100_000, top)
	etc := add("etc", 70_000, []int{all, sw})
	add("nixos-system-host-26.05", 20_000, []int{etc, sw, r.IntN(packages), r.IntN(packages)})
	return newGraph(nodes)
}
