package page

import (
	"cmp"
	"slices"
)

// box is a rectangle in a map. Its unit is about one pixel of a screen. The page itself uses
// percentages.
type box struct{ x, y, w, h float64 }

// frame describes the size of a map.
type frame struct {
	w, h, head float64 // head is the height of a layer's head line
}

// A map has two shapes: one is shown beside the details, the other on a telephone.
var (
	wideFrame = frame{900, 620, 17}
	tallFrame = frame{362, 520, 17}
)

// layout holds the positions of a map's layers and tiles in one frame.
type layout struct {
	layers []box
	heads  []bool // heads[i] is true if layer i has a head line
	tiles  []box  // tiles of all layers, one layer after another
}

// lay computes the positions of the layers, and of the tiles in each layer, by size. It
// enlarges boxes that would be too small to see.
func lay(layers []Layer, f frame) layout {
	l := layout{layers: make([]box, len(layers)), heads: make([]bool, len(layers))}
	var total float64
	for i := range layers {
		total += float64(layers[i].Size)
	}
	weights := make([]float64, len(layers))
	for i := range layers {
		weights[i] = max(float64(layers[i].Size), total/20000, 1)
	}
	squarify(weights, box{1.5, 1.5, f.w - 3, f.h - 3}, func(i int, b box) {
		pad := min(1.5, b.w/6, b.h/6)
		l.layers[i] = box{b.x + pad, b.y + pad, b.w - float64(2*pad), b.h - float64(2*pad)}
	})
	for i := range layers {
		b := l.layers[i]
		l.heads[i] = len(layers[i].Tiles) > 1 && b.w > 60 && b.h > 48
		if l.heads[i] {
			b.y, b.h = b.y+f.head, b.h-f.head
		}
		tiles := layers[i].Tiles
		weights := make([]float64, len(tiles))
		for j := range tiles {
			weights[j] = max(float64(tiles[j].Size), float64(layers[i].Size)/5000, 1)
		}
		first := len(l.tiles)
		l.tiles = append(l.tiles, make([]box, len(tiles))...)
		squarify(weights, b, func(j int, b box) { l.tiles[first+j] = b })
	}
	return l
}

// squarify divides b by weight into rectangles that are as square as possible (Bruls,
// Huizing, van Wijk: Squarified Treemaps, 2000). The heaviest item comes first; among equal
// weights, the item with the lowest index. Each product is rounded separately, so that no
// processor can combine a product and a sum into one operation. So a page is the same on
// every platform.
func squarify(weights []float64, b box, place func(i int, b box)) {
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(cmp.Compare(weights[j], weights[i]), cmp.Compare(i, j)) })
	left := make([]float64, len(order)+1) // the sum of the weights that are not placed yet
	for i := len(order) - 1; i >= 0; i-- {
		left[i] = left[i+1] + weights[order[i]]
	}
	for len(order) > 0 {
		side := min(b.w, b.h)
		scale := float64(b.w*b.h) / left[len(weights)-len(order)]
		n, row := nextRow(weights, order, side, scale)
		depth := 0.0
		if side > 0 {
			depth = float64(row*scale) / side
		}
		at := 0.0
		for _, i := range order[:n] {
			length := float64(side*weights[i]) / row
			if b.w >= b.h {
				place(i, box{b.x, b.y + at, depth, length})
			} else {
				place(i, box{b.x + at, b.y, length, depth})
			}
			at += length
		}
		if b.w >= b.h {
			b.x, b.w = b.x+depth, max(b.w-depth, 0)
		} else {
			b.y, b.h = b.y+depth, max(b.h-depth, 0)
		}
		order = order[n:]
	}
}

// nextRow returns how many items of order the next row contains, and the sum of their
// weights. It adds items as long as each new item makes the longest rectangle of the row less
// long.
func nextRow(weights []float64, order []int, side, scale float64) (n int, row float64) {
	worst := 0.0
	for i, k := range order {
		sum := row + weights[k]
		area := float64(sum * scale)
		first, last := float64(weights[order[0]]*scale), float64(weights[k]*scale)
		square := float64(side * side)
		ratio := max(float64(square*first)/float64(area*area), float64(area*area)/max(float64(square*last), 1e-9))
		if i > 0 && !(ratio <= worst) { // this is also true if ratio is NaN
			return i, row
		}
		worst, row = ratio, sum
	}
	return len(order), row
}
