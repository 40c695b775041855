package report

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/page"
)

// A map can be coloured in two ways: by how likely a change is, and by what changed.
var (
	chanceStates = []page.Shade{chances[0].state("c0"), chances[1].state("c1"), chances[2].state("c2"), chances[3].state("c3")}
	changeStates = []page.Shade{
		{Class: "old", Name: "unchanged", Words: "unchanged"},
		{Class: "new", Name: "new or changed", Words: "new or changed"},
	}
)

// chanceNote explains how the chances are estimated.
const chanceNote = "How often a path changes is an estimate from the closure alone: the more paths something refers to, directly or not, the more often it changes."

// chanceOf returns the element of chanceStates for the chance c.
func chanceOf(c float64) page.Shade { return chanceStates[chanceState(c)] }

// changeState returns an index into changeStates.
func changeState(changed bool) int {
	if changed {
		return 1
	}
	return 0
}

// mapLayer describes a layer for which newMap makes tiles.
type mapLayer struct {
	page.Layer
	paths  []closure.StorePath
	states []int // states of a layer without paths
}

// newMap makes the map of layers and their paths. states(i) must return the states of the
// path c.Paths[i]. A layer without paths becomes one tile.
func newMap(c *closure.Closure, colourings []page.Colouring, framed string, layers []mapLayer, states func(i int) []int) (*page.Map, error) {
	m := &page.Map{Colourings: colourings, Frame: framed}
	at := make([]int, len(c.Paths)) // index of each path's tile, in the order of c.Paths
	for i := range at {
		at[i] = -1
	}
	n := 0
	for _, l := range layers {
		for k, p := range l.paths {
			i, ok := c.Index(p)
			if !ok {
				return nil, fmt.Errorf("page: %s is not in the closure", p)
			}
			at[i] = n + k
		}
		n += max(len(l.paths), 1)
	}
	for _, l := range layers {
		for _, p := range l.paths {
			i, _ := c.Index(p)
			info := &c.Paths[i]
			t := page.Tile{Name: p.Name(), Path: string(p), Size: info.NarSize, States: states(i)}
			for _, ref := range info.References {
				if j, ok := c.Index(ref); ok && j != i && at[j] >= 0 {
					t.Refs = append(t.Refs, at[j])
				}
			}
			l.Tiles = append(l.Tiles, t)
		}
		if len(l.paths) == 0 {
			l.Tiles = []page.Tile{{Name: cmp.Or(l.Name, "no store paths"), Size: l.Size, States: l.states}}
		}
		m.Layers = append(m.Layers, l.Layer)
	}
	return m, nil
}

// titleOf names a closure for people, for example "web 26.05" for nixos-system-web-26.05. If
// the closure does not have exactly one root, titleOf returns the base name of given.
func titleOf(c *closure.Closure, given string) string {
	if c == nil || len(c.Roots) != 1 {
		return filepath.Base(given)
	}
	pkg := PackageOf(c.Roots[0])
	return strings.TrimSpace(strings.TrimPrefix(pkg.Name, "nixos-system-") + " " + pkg.Version)
}

// shortName returns the base name of a file, for use in a sentence. It does not change an
// image reference.
func shortName(given string) string {
	if strings.HasPrefix(given, "/") || strings.HasPrefix(given, ".") {
		return filepath.Base(given)
	}
	return given
}

// layerTables makes two tables of layers: one for layers with several paths, and a folded one
// for layers with one path.
func layerTables(head []page.Column, several, single []page.Row, singleSize int64) []page.Table {
	var tables []page.Table
	if len(several) > 0 {
		tables = append(tables, page.Table{Head: head, Rows: several})
	}
	if len(single) > 0 {
		t := page.Table{Head: head, Rows: single}
		if len(several) > 0 {
			t.Fold, t.Note = human.Count(len(single), "layer")+" of one store path", human.Bytes(singleSize)
		}
		tables = append(tables, t)
	}
	return tables
}

// pathLines lists paths with their sizes. The largest comes first.
func pathLines(c *closure.Closure, paths []closure.StorePath) (lines []string) {
	for _, p := range bySize(c, paths) {
		lines = append(lines, fmt.Sprintf("%s, %s", p, human.Bytes(sizeOf(c, p))))
	}
	return lines
}

func sizeOf(c *closure.Closure, p closure.StorePath) int64 {
	if c != nil {
		if info := c.Info(p); info != nil {
			return info.NarSize
		}
	}
	return 0
}
