package main

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
)

// layerKeys returns the key of each layer. The key of a layer depends only on the set of its
// paths.
func layerKeys(groups [][]closure.StorePath) map[[32]byte]bool {
	keys := make(map[[32]byte]bool, len(groups))
	for _, paths := range groups {
		keys[layerKey(paths)] = true
	}
	return keys
}

// layerKey returns a hash of the paths of a layer.
func layerKey(paths []closure.StorePath) [32]byte {
	s := slices.Clone(paths)
	slices.Sort(s)
	return sha256.Sum256(fmt.Append(nil, s))
}

// excess returns how much a client pulls beyond the changed paths, as a part of the image
// size. It also returns the least possible excess.
func excess(old [][]closure.StorePath, oldC *closure.Closure, now [][]closure.StorePath, nowC *closure.Closure) (excess, least float64) {
	have := layerKeys(old)
	var pulled, changed, total int64
	for _, paths := range now {
		again := !have[layerKey(paths)]
		for _, p := range paths {
			size := nowC.Info(p).NarSize
			total += size
			if again {
				pulled += size
			}
			if oldC.Info(p) == nil {
				changed += size
			}
		}
	}
	return float64(pulled-changed) / float64(total), float64(changed) / float64(total)
}

// moved counts the layers that contain no new path and are not in the old plan. The new plan
// has moved these layers without need.
func moved(old [][]closure.StorePath, oldC *closure.Closure, now [][]closure.StorePath) (n int) {
	have := layerKeys(old)
	for _, paths := range now {
		news := slices.ContainsFunc(paths, func(p closure.StorePath) bool { return oldC.Info(p) == nil })
		if !news && !have[layerKey(paths)] {
			n++
		}
	}
	return n
}
