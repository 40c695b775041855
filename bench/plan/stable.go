package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
)

// moved counts the unchanged paths in layers that are not in the old plan and
// have no changed path.
func moved(old [][]closure.StorePath, oldC *closure.Closure, now [][]closure.StorePath) (paths, layers int) {
	have := layerKeys(old)
	for _, ps := range now {
		if have[layerKey(ps)] {
			continue
		}
		unrelated := true
		for _, p := range ps {
			if oldC.Info(p) == nil {
				unrelated = false
			}
		}
		if unrelated {
			layers++
			paths += len(ps)
		}
	}
	return
}

func (g *graph) jitter(r *rand.Rand, one bool) *graph {
	nodes := slices.Clone(g.nodes)
	for i := range nodes {
		if !one || r.IntN(len(nodes)) < 3 {
			nodes[i].size += int64((r.Float64()*0.02 - 0.01) * float64(nodes[i].size))
		}
	}
	return &graph{nodes: nodes, at: g.at}
}

func stability(g *graph, strategy string, b int, trials int) {
	oldC := g.closure()
	old := groups(oldC, strategy, b)
	for _, kind := range []string{"all sizes 1 %", "three sizes 1 %", "small leaf added", "package added"} {
		clean, np, nl := 0, 0, 0
		var ex float64
		for t := range trials {
			r := rand.New(rand.NewPCG(77, uint64(t)))
			var ng *graph
			switch kind {
			case "all sizes 1 %":
				ng = g.jitter(r, false)
			case "three sizes 1 %":
				ng = g.jitter(r, true)
			case "small leaf added":
				ng = g.addSized(r, 1, t+1, 200_000)
			default:
				ng = g.update(r, kind, t+1)
			}
			c := ng.closure()
			now := groups(c, strategy, b)
			p, l := moved(old, oldC, now)
			e, _ := excess(old, oldC, now, c)
			ex += e
			if l == 0 {
				clean++
			}
			np += p
			nl += l
		}
		fmt.Printf("     %-16s %3d%% clean, %5.1f layers %6.1f paths, excess %.2f\n", kind, clean*100/trials, float64(nl)/float64(trials), float64(np)/float64(trials), ex/float64(trials)*100)
	}
}
