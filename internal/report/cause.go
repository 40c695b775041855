package report

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
)

// Cause describes a package where a change starts: the package changed, but none of its
// references did. The packages that refer to it were rebuilt because of it.
type Cause struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"` // a kind of [Change]
	Before  []string `json:"before,omitempty"`
	After   []string `json:"after,omitempty"`
	Rebuilt int      `json:"rebuilt"` // number of packages of kind [Rebuilt] that refer to this package, directly or not

	// First is the number of rebuilt packages that no earlier cause already counts. Each
	// rebuilt package is counted once, so the sum of First over all causes is the number of
	// rebuilt packages.
	First int `json:"first"`
}

// causes finds the packages where the change from a to b starts, and sorts them by the number
// of rebuilds, largest first. For each rebuilt package in changes, it sets the field Because.
// A rebuilt package for which causes finds no other package becomes [Edited].
func causes(a, b *closure.Closure, changes []Change) []Cause {
	byName := map[string]*Change{}
	for i := range changes {
		byName[changes[i].Name] = &changes[i]
	}
	var names []string // names of the packages where a change starts
	index := map[string]int{}
	w := rootWalk{a: a, b: b, of: make([][]uint64, len(b.Paths)), root: func(p closure.StorePath) int {
		name := PackageOf(p).Name
		if _, ok := index[name]; !ok {
			index[name] = len(names)
			names = append(names, name)
		}
		return index[name]
	}}
	rebuilt := map[string][]uint64{} // bit sets of causes, by package name
	for i := range b.Paths {
		roots := w.roots(i)
		name := PackageOf(b.Paths[i].Path).Name
		if c := byName[name]; c != nil && c.Kind == Rebuilt {
			rebuilt[name] = union(rebuilt[name], roots)
		}
	}
	all := make([]Cause, 0, len(names))
	for i, name := range names {
		c := Cause{Name: name}
		if change := byName[name]; change != nil {
			c.Kind, c.Before, c.After = change.Kind, change.Before, change.After
		}
		for other, roots := range rebuilt {
			if other != name && has(roots, i) {
				c.Rebuilt++
			}
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y Cause) int {
		return cmp.Or(cmp.Compare(y.Rebuilt, x.Rebuilt), strings.Compare(x.Name, y.Name))
	})
	for i := range all {
		for other, roots := range rebuilt {
			if other != all[i].Name && has(roots, index[all[i].Name]) {
				if byName[other].Because == nil {
					all[i].First++
				}
				byName[other].Because = append(byName[other].Because, all[i].Name)
			}
		}
	}
	for i := range changes {
		if c := &changes[i]; c.Kind == Rebuilt && c.Because == nil {
			c.Kind = Edited
		}
	}
	for i := range all {
		if all[i].Kind == Rebuilt {
			all[i].Kind = byName[all[i].Name].Kind
		}
	}
	return all
}

// what describes how the package changed: its versions, formatted by show, or a remark if the
// package has no versions.
func (c *Cause) what(show func([]string) string) string {
	switch c.Kind {
	case Changed:
		return " " + show(c.Before) + " → " + show(c.After)
	case Added:
		return " (added)"
	case Edited, Rebuilt:
		return " (same version, other content)"
	case Altered:
		return " (same store path, other content)"
	}
	return ""
}

// effect describes how many packages were rebuilt because of the nth cause (the first is 0).
// It returns "" if there are none. It does not count packages that an earlier cause already
// counted.
func (c *Cause) effect(n int) string {
	switch {
	case c.Rebuilt == 0:
		return ""
	case n == 0:
		return ": " + human.Count(c.First, "package") + " rebuilt because of it"
	case c.First == 0 && c.Rebuilt == 1:
		return ": its rebuilt package is counted above"
	case c.First == 0:
		return fmt.Sprintf(": its %d rebuilt packages are counted above", c.Rebuilt)
	}
	more := "packages"
	if c.First == 1 {
		more = "package"
	}
	return fmt.Sprintf(": %d more %s rebuilt because of it", c.First, more)
}

// otherCauses describes all causes together that are not listed one by one.
func otherCauses(all []Cause) string {
	first := 0
	for _, c := range all {
		first += c.First
	}
	text := fmt.Sprintf("and %d more", len(all))
	switch {
	case first == 1:
		text += ": 1 more package rebuilt"
	case first > 1:
		text += fmt.Sprintf(": %d more packages rebuilt", first)
	}
	return text
}

// rootWalk finds the root packages of each path that b has and a does not: the packages where
// the change of this path starts.
type rootWalk struct {
	a, b *closure.Closure
	of   [][]uint64 // a bit set of root packages for each path; nil until the path is visited
	root func(closure.StorePath) int
}

func (w *rootWalk) roots(i int) []uint64 {
	if w.of[i] != nil {
		return w.of[i]
	}
	w.of[i] = []uint64{}
	p := &w.b.Paths[i]
	if sameContent(w.a.Info(p.Path), p) {
		return w.of[i]
	}
	var found []uint64
	for _, r := range p.References {
		if k, ok := w.b.Index(r); ok && k != i {
			found = union(found, w.roots(k))
		}
	}
	if bitCount(found) == 0 {
		n := w.root(p.Path)
		found = make([]uint64, n/64+1)
		found[n/64] |= 1 << (n % 64)
	}
	w.of[i] = found
	return found
}

func union(x, y []uint64) []uint64 {
	if len(x) < len(y) {
		x, y = y, x
	}
	x = slices.Clone(x)
	for i := range y {
		x[i] |= y[i]
	}
	return x
}

func has(set []uint64, i int) bool { return i/64 < len(set) && set[i/64]&(1<<(i%64)) != 0 }

func bitCount(set []uint64) (n int) {
	for _, w := range set {
		n += bits.OnesCount64(w)
	}
	return n
}
