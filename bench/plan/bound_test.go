package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestBoundChange checks the function change. Its result for a move must be the difference
// between the expected bytes of all layers after the move and before it, computed anew.
func TestBoundChange(t *testing.T) {
	g := generate(200, 3)
	b, err := newBound(g, g.closure(), 12, 2000)
	if err != nil {
		t.Fatal(err)
	}
	total := func() (sum float64) {
		for k := range b.bins {
			in := make([]bool, len(g.nodes)) // nodes whose change also changes the layer
			size := 0.0
			for i, home := range b.home {
				if home == k {
					size += float64(g.nodes[i].size)
					for _, x := range b.below[i] {
						in[x] = true
					}
				}
			}
			var has [3]int
			for x, is := range in {
				if is {
					b.class[x].add(&has, 1)
				}
			}
			sum += size * b.chance(has)
		}
		return sum
	}
	r := rand.New(rand.NewPCG(1, 1))
	before := total()
	for range 200 {
		i, to := r.IntN(len(g.nodes)), r.IntN(len(b.bins))
		if to == b.home[i] {
			continue
		}
		want := before + b.change(i, to)
		b.take(i)
		b.put(i, to)
		if before = total(); math.Abs(before-want) > 1e-9*before {
			t.Fatalf("a move of node %d to layer %d costs %f, change says %f", i, to, before, want)
		}
	}
}

// TestBoundFindsMore checks that the search finds a better division than the plan with which
// it begins.
func TestBoundFindsMore(t *testing.T) {
	g := generate(300, 3)
	var means []float64
	for _, steps := range []int{0, 100_000} {
		b, err := newBound(g, g.closure(), 20, steps)
		if err != nil {
			t.Fatal(err)
		}
		means = append(means, average(b.excess(10)))
	}
	if means[1] >= means[0] {
		t.Errorf("excess %.4f after the search, %.4f before", means[1], means[0])
	}
}
