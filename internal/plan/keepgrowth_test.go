package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

// afterUpdate returns a graph of n paths after an update, and a plan of the graph before the
// update.
func afterUpdate(t *testing.T, n int, refs func(*rand.Rand, int) []int) (*closure.Closure, *Plan) {
	t.Helper()
	before := shaped(t, n, refs)
	after := mustClosure(t, rebuilt(before.Paths, 1, []int{n / 3, n / 2, n - n/8}, "newleaf-1.0", "newleaf-2.0"))
	return after, mustPlan(t, before, Options{MaxLayers: 12})
}

// TestKeepGolden compares plans that continue earlier plans with a stored checksum. Plans
// with and without a table of all closures must be the same. The checksum comes from the
// first version of repair, which counted every union again.
func TestKeepGolden(t *testing.T) {
	defer func(n int) { blockBytes = n }(blockBytes)
	sum := sha256.New()
	for _, all := range []map[string]func(*rand.Rand, int) []int{shapes, joining} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			for _, n := range []int{30, 300, 1000} {
				after, old := afterUpdate(t, n, all[name])
				var first string
				for _, blockBytes = range []int{16 << 20, 8 << 10} {
					got := ""
					for _, budget := range []int{6, 12, 14, 30} {
						got += fmt.Sprintln(name, n, budget, shape(mustPlan(t, after, Options{MaxLayers: budget, From: old})))
					}
					if first == "" {
						first = got
					}
					if got != first {
						t.Errorf("%s, %d paths: another plan without a table of closures", name, n)
					}
				}
				io.WriteString(sum, first)
			}
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)[:8]); got != "67a83b4bd6c68fde" {
		t.Errorf("plans %s", got)
	}
}

// TestKeepGrowth checks how much work planning with an earlier plan takes, for the graphs in
// shapes. The work for each path must not grow with the number of paths. The work grows in
// jumps, because a graph of another size moves other paths. So the limit is a fixed number of
// steps for each path.
func TestKeepGrowth(t *testing.T) {
	defer func(n int) { blockBytes = n }(blockBytes)
	blockBytes = 8 << 10
	const limit = 700 // steps for each path; counting every union again takes 2,200 for 1,000 paths in a chain and 11,500 for 2,000
	sizes := []int{8000, 16_000}
	if testing.Short() {
		sizes = []int{4000} // with this size too, counting every union again takes far more steps than limit
	}
	for name, refs := range shapes {
		for _, n := range sizes {
			c, old := afterUpdate(t, n, refs)
			for _, layers := range []int{8, 12, 16} {
				o := Options{MaxLayers: layers}
				g, budget, _, err := preparePlan(c, &o)
				if err != nil {
					t.Fatal(err)
				}
				if g.rows != nil {
					t.Fatalf("%d paths have a table", n)
				}
				g.steps = 0
				planKeep(g, budget, old)
				if g.steps > limit*int64(n) {
					t.Errorf("%s, %d layers: %d paths take %d steps, more than %d for each", name, layers, n, g.steps, limit)
				}
			}
		}
	}
}
