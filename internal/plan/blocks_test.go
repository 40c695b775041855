package plan

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

// randomClosure returns a closure of n paths. Each path has up to six references to earlier
// paths. The last path refers to all others.
func randomClosure(t *testing.T, n int, seed uint64) *closure.Closure {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	path := func(i int) closure.StorePath {
		return closure.StorePath(fmt.Sprintf("/nix/store/%032d-p%d-1.%d", i, (i*7919)%n, seed))
	}
	infos := make([]closure.Info, n)
	for i := range infos {
		infos[i] = closure.Info{Path: path(i), NarSize: 100 + r.Int64N(1<<uint(8+r.IntN(16)))}
		for range r.IntN(7) {
			if i > 0 {
				infos[i].References = append(infos[i].References, path(max(0, i-1-r.IntN(60))))
			}
		}
	}
	for i := range n - 1 {
		infos[n-1].References = append(infos[n-1].References, path(i))
	}
	c, err := closure.New([]closure.StorePath{path(n - 1)}, infos)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBlocks: a closure that is too large for the table of closures must get the same plan as
// with the table.
func TestBlocks(t *testing.T) {
	defer func(n int) { blockBytes = n }(blockBytes)
	const n = 700
	c, before := randomClosure(t, n, 1), randomClosure(t, n-50, 2)
	plans := func() map[string]*Plan {
		all := map[string]*Plan{}
		for s := range planners {
			for _, layers := range []int{1, 12, 100} {
				p, err := New(c, Options{MaxLayers: layers, Strategy: s})
				if err != nil {
					t.Fatal(err)
				}
				all[fmt.Sprint(s, layers)] = p
			}
		}
		from, err := New(before, Options{MaxLayers: 30})
		if err != nil {
			t.Fatal(err)
		}
		if all["from"], err = New(c, Options{MaxLayers: 30, From: from}); err != nil {
			t.Fatal(err)
		}
		return all
	}
	want, chances := plans(), Chances(c)
	for _, width := range []int{1, 3} {
		blockBytes = 8 * n * width
		if g := newGraph(c); g.rows != nil {
			t.Fatal("one block is enough")
		}
		for name, p := range plans() {
			if !reflect.DeepEqual(p, want[name]) {
				t.Errorf("%d words at a time: the plan %s differs", width, name)
			}
		}
		if !reflect.DeepEqual(Chances(c), chances) {
			t.Errorf("%d words at a time: the chances differ", width)
		}
	}
}
