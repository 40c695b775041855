// Command plan measures what updates cost under each plan strategy.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
)

func groups(c *closure.Closure, strategy string, n int) [][]closure.StorePath {
	p, err := layers.NewPlan(c, layers.PlanOptions{MaxLayers: n, Strategy: layers.Strategy(strategy)})
	if err != nil {
		panic(err)
	}
	var out [][]closure.StorePath
	for _, g := range p.Groups {
		out = append(out, g.Paths)
	}
	return out
}

// static keeps the old groups by name and puts what is new into its own.
func static(old [][]closure.StorePath, now *closure.Closure) [][]closure.StorePath {
	at := map[string]int{}
	for i, ps := range old {
		for _, p := range ps {
			at[p.Name()] = i
		}
	}
	out := make([][]closure.StorePath, len(old)+1)
	for _, in := range now.Paths {
		i, ok := at[in.Path.Name()]
		if !ok {
			i = len(old)
		}
		out[i] = append(out[i], in.Path)
	}
	return out
}

func main() {
	strategies := flag.String("s", "popularity,size,docker,greedy", "")
	budgets := flag.String("b", "100,60", "")
	trials := flag.Int("n", 20, "")
	verbose := flag.Bool("v", false, "")
	stat := flag.Bool("static", false, "")
	stab := flag.Bool("stab", false, "")
	dg := flag.String("diag", "", "")
	pairs := flag.Bool("pairs", false, "")
	from := flag.Bool("from", false, "")
	flag.Parse()
	type key struct {
		b int
		s string
	}
	tot := map[key][]float64{}
	defer func() {
		for k, v := range tot {
			fmt.Printf("TOTAL %4d %-11s mean %5.2f static %5.2f |", k.b, k.s, v[0]*100/float64(flag.NArg()), v[1]*100/float64(flag.NArg()))
			for _, x := range v[2:] {
				fmt.Printf(" %5.2f", x*100/float64(flag.NArg()))
			}
			fmt.Println()
		}
	}()
	if *pairs {
		for i := 0; i+1 < flag.NArg(); i += 2 {
			a, err := load(flag.Arg(i))
			if err != nil {
				panic(err)
			}
			b, err := load(flag.Arg(i + 1))
			if err != nil {
				panic(err)
			}
			ac, bc := a.real, b.real
			for _, bs := range strings.Split(*budgets, ",") {
				n, _ := strconv.Atoi(bs)
				for _, s := range strings.Split(*strategies, ",") {
					ga, gb := groups(ac, s, n), groups(bc, s, n)
					e, l := excess(ga, ac, gb, bc)
					es, _ := excess(ga, ac, static(ga, bc), bc)
					if *dg == "pair" {
						diag(ga, ac, gb, bc)
					}
					fmt.Printf("%s %4d %-12s excess %.2f static %.2f least %.2f\n", flag.Arg(i+1), n, s, e*100, es*100, l*100)
				}
			}
		}
		return
	}
	if *from {
		for _, f := range flag.Args() {
			g, err := load(f)
			if err != nil {
				panic(err)
			}
			for _, bs := range strings.Split(*budgets, ",") {
				b, _ := strconv.Atoi(bs)
				keepBench(g, b, *trials)
			}
		}
		return
	}
	for _, f := range flag.Args() {
		g, err := load(f)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		oldC := g.closure()
		fmt.Printf("%s: %d paths, %d MB\n", f, len(g.nodes), g.bytes()/1e6)
		type upd struct {
			kind int
			c    *closure.Closure
		}
		var ups []upd
		for k, kind := range kinds {
			for t := range *trials {
				r := rand.New(rand.NewPCG(uint64(k), uint64(t)))
				ups = append(ups, upd{k, g.update(r, kind, t+1).closure()})
			}
		}
		for _, bs := range strings.Split(*budgets, ",") {
			b, _ := strconv.Atoi(bs)
			for _, s := range strings.Split(*strategies, ",") {
				t0 := time.Now()
				old := groups(oldC, s, b)
				took := time.Since(t0)
				if len(old) > b {
					panic("budget")
				}
				if *stab {
					fmt.Println(b, s)
					stability(g, s, b, *trials)
					continue
				}
				sum := make([]float64, len(kinds))
				ssum := make([]float64, len(kinds))
				least := make([]float64, len(kinds))
				var mu sync.Mutex
				var wg sync.WaitGroup
				sem := make(chan bool, 2)
				for _, u := range ups {
					wg.Add(1)
					sem <- true
					go func() {
						defer wg.Done()
						now := groups(u.c, s, b)
						e, l := excess(old, oldC, now, u.c)
						if kinds[u.kind] == *dg {
							mu.Lock()
							diag(old, oldC, now, u.c)
							mu.Unlock()
						}
						es := 0.0
						if *stat {
							es, _ = excess(old, oldC, static(old, u.c), u.c)
						}
						mu.Lock()
						sum[u.kind] += e
						ssum[u.kind] += es
						least[u.kind] += l
						mu.Unlock()
						<-sem
					}()
				}
				wg.Wait()
				mean, smean := 0.0, 0.0
				for k := range 6 {
					mean += sum[k] / float64(*trials) / 6
					smean += ssum[k] / float64(*trials) / 6
				}
				kk := key{b, s}
				if tot[kk] == nil {
					tot[kk] = make([]float64, 2+len(kinds))
				}
				tot[kk][0] += mean
				tot[kk][1] += smean
				for k := range kinds {
					tot[kk][2+k] += sum[k] / float64(*trials)
				}
				fmt.Printf("%4d %-11s mean %6.2f", b, s, mean*100)
				if *stat {
					fmt.Printf(" static %6.2f", smean*100)
				}
				fmt.Printf("  |")
				for k := range kinds {
					fmt.Printf(" %6.2f", sum[k]/float64(*trials)*100)
					if *verbose {
						fmt.Printf("(%.2f/%.1f)", ssum[k]/float64(*trials)*100, least[k]/float64(*trials)*100)
					}
				}
				fmt.Printf("  %d layers %v\n", len(old), took.Round(time.Millisecond))
			}
		}
	}
}

func keepBench(g *graph, b, trials int) {
	oldC := g.closure()
	old, _ := layers.NewPlan(oldC, layers.PlanOptions{MaxLayers: b})
	list := func(p *layers.Plan) (out [][]closure.StorePath) {
		for _, g := range p.Groups {
			out = append(out, g.Paths)
		}
		return
	}
	fmt.Printf("%d from:", b)
	total := 0.0
	for k, kind := range kinds {
		sum := 0.0
		for t := range trials {
			r := rand.New(rand.NewPCG(uint64(k), uint64(t)))
			c := g.update(r, kind, t+1).closure()
			p, err := layers.NewPlan(c, layers.PlanOptions{MaxLayers: b, From: old})
			if err != nil {
				panic(err)
			}
			if len(p.Groups) > b {
				panic("budget")
			}
			e, _ := excess(list(old), oldC, list(p), c)
			sum += e
		}
		fmt.Printf(" %.2f", sum/float64(trials)*100)
		if k < 6 {
			total += sum / float64(trials) * 100 / 6
		}
	}
	fmt.Printf(" | mean %.2f\n", total)
	// Twenty in a row.
	var after, along float64
	for t := range max(1, trials/5) {
		r := rand.New(rand.NewPCG(99, uint64(t)))
		cur, curC, plan := g, oldC, old
		for step := range 20 {
			cur = cur.update(r, kinds[step%6], 1000*(t+1)+step)
			c := cur.closure()
			p, err := layers.NewPlan(c, layers.PlanOptions{MaxLayers: b, From: plan})
			if err != nil {
				panic(err)
			}
			e, _ := excess(list(plan), curC, list(p), c)
			along += e
			plan, curC = p, c
		}
		m := 0.0
		for k := range 6 {
			for u := range 5 {
				c := cur.update(rand.New(rand.NewPCG(uint64(k), uint64(u))), kinds[k], 77777+u).closure()
				p, _ := layers.NewPlan(c, layers.PlanOptions{MaxLayers: b, From: plan})
				e, _ := excess(list(plan), curC, list(p), c)
				m += e / 30
			}
		}
		after += m
	}
	n := float64(max(1, trials/5))
	fmt.Printf("   along 20: %.2f, after 20: %.2f\n", along/n/20*100, after/n*100)
}
