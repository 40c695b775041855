// Command plan measures the cost of updates for each planning strategy, and writes
// docs/plan-benchmarks.md. All random numbers come from fixed seeds. So two runs give the
// same numbers, except for the times.
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
)

var (
	budgets    = []int{20, 60, 100, 125}
	strategies = []plan.Strategy{plan.StrategyPopularity, plan.StrategySize, plan.StrategyDockerTools, plan.StrategyCost}
)

// keep stands for the strategy cost with --plan-from.
const keep = plan.Strategy("cost, kept")

func main() {
	out := flag.String("o", "docs/plan-benchmarks.md", "file to write, - for stdout")
	trials := flag.Int("n", 20, "updates of each kind")
	yearly := flag.Bool("year", false, "write only the section about a year, to stdout")
	own := flag.String("graph", "", "measure only this closure: a file that nix path-info --json --recursive has printed")
	next := flag.String("rebuilt", "", "with -graph: the closure after a real update")
	flag.Parse()
	var err error
	switch {
	case *yearly:
		var large *graph
		if large, err = load("large-x86_64-linux"); err == nil {
			err = yearSection(os.Stdout, large)
		}
	case *own != "":
		err = runOwn(*own, *next, *trials)
	default:
		err = run(*out, *trials)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/plan:", err)
		os.Exit(1)
	}
}

func run(out string, trials int) error {
	var w io.Writer = os.Stdout
	if out != "-" {
		f, err := os.Create(out)
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	fmt.Fprint(w, intro)
	for _, system := range []string{"x86_64-linux", "aarch64-linux"} {
		g, err := load("large-" + system)
		if err != nil {
			return err
		}
		v2, err := load("large-" + system + "-v2")
		if err != nil {
			return err
		}
		if err := section(w, "A real system, "+system, g, v2, trials); err != nil {
			return err
		}
	}
	for _, size := range []struct{ paths, trials int }{{1000, trials}, {5000, max(1, trials/5)}} {
		if err := section(w, fmt.Sprintf("Generated, %d paths", size.paths), generate(size.paths, 1), nil, size.trials); err != nil {
			return err
		}
	}
	fmt.Fprint(w, applicationIntro)
	large, err := load("large-x86_64-linux")
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := applicationSection(w, s, large, trials); err != nil {
			return err
		}
	}
	return yearSection(w, large)
}

// runOwn measures the closure in a file. rebuilt is a file with the closure after an update,
// or "".
func runOwn(file, rebuilt string, trials int) error {
	g, err := open(file)
	if err != nil {
		return err
	}
	var after *graph
	if rebuilt != "" {
		if after, err = open(rebuilt); err != nil {
			return err
		}
	}
	return section(os.Stdout, file, g, after, trials)
}

// planGroups plans a closure. It returns the plan and the paths of its layers.
func planGroups(c *closure.Closure, o plan.Options) (*plan.Plan, [][]closure.StorePath, error) {
	p, err := plan.New(c, o)
	if err != nil {
		return nil, nil, err
	}
	var groups [][]closure.StorePath
	for _, g := range p.Groups {
		groups = append(groups, g.Paths)
	}
	return p, groups, nil
}

// updated holds a closure after an update, and the kind of the update.
type updated struct {
	kind int
	c    *closure.Closure
}

// section measures one graph and writes a table for each number of layers.
func section(w io.Writer, title string, g, rebuilt *graph, trials int) error {
	now := g.closure()
	refs := 0
	for _, n := range g.nodes {
		refs += len(n.refs)
	}
	fmt.Fprintf(w, "\n## %s\n\n%d store paths, %d references, %.1f GB.\n", title, len(g.nodes), refs, float64(g.bytes())/1e9)
	var all []updated
	for k, kind := range kinds {
		for t := range trials {
			r := rand.New(rand.NewPCG(uint64(k), uint64(t)))
			all = append(all, updated{k, g.update(r, kind, t+1).closure()})
		}
	}
	for _, budget := range budgets {
		start := time.Now()
		if _, _, err := planGroups(now, plan.Options{MaxLayers: budget}); err != nil {
			return err
		}
		took := time.Since(start)
		b, err := newBound(g, now, budget, boundSteps)
		if err != nil {
			return err
		}
		t := table{w, rebuilt != nil, b.excess(trials)}
		t.head(budget)
		for k, s := range append(append([]plan.Strategy{}, strategies...), keep) {
			row, least, err := measure(now, all, s, budget, trials)
			if err != nil {
				return err
			}
			realExcess, realLeast := 0.0, 0.0
			if rebuilt != nil {
				if realExcess, realLeast, err = pair(g.real, rebuilt.real, s, budget); err != nil {
					return err
				}
			}
			if k == 0 {
				t.row("*least possible*", least, "", realLeast)
				t.row("*bound*", t.bound, "", 0)
			}
			t.row(string(s), row, fmt.Sprintf("%.2f", 100*(average(row)-average(t.bound))), realExcess)
		}
		moves, err := movedBy(g, now, budget, trials)
		if err != nil {
			return err
		}
		after, err := twenty(g, now, budget, trials)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "\n%s. Planning takes %s. With --plan-from, the mean of the first six is %.2f after 20 updates in a row.\n", moves, took.Round(time.Millisecond), 100*after)
	}
	return nil
}

// average returns the mean of the first six kinds of updates.
func average(row []float64) (mean float64) {
	for _, v := range row[:6] {
		mean += v / 6
	}
	return mean
}

// table writes the table for one number of layers.
type table struct {
	w       io.Writer
	rebuilt bool      // true: the table also shows a real rebuild
	bound   []float64 // bound for each of the first six kinds of updates
}

func (t *table) head(budget int) {
	fmt.Fprintf(t.w, "\n### %d layers\n\n| plan | mean of the first six | above the bound |", budget)
	columns := kinds
	if t.rebuilt {
		columns = append(slices.Clone(kinds), "the real rebuild")
	}
	for _, name := range columns {
		fmt.Fprintf(t.w, " %s |", name)
	}
	fmt.Fprintf(t.w, "\n|---|---|---|%s\n", strings.Repeat("---|", len(columns)))
}

// row writes the row of one plan. values may contain fewer elements than there are kinds of
// updates.
func (t *table) row(name string, values []float64, above string, last float64) {
	fmt.Fprintf(t.w, "| %s | **%.2f** | %s |", name, 100*average(values), above)
	for _, v := range values {
		fmt.Fprintf(t.w, " %.2f |", 100*v)
	}
	if len(values) < len(kinds) {
		fmt.Fprint(t.w, strings.Repeat(" |", len(kinds)-len(values)))
		if t.rebuilt {
			fmt.Fprint(t.w, " |")
		}
	} else if t.rebuilt {
		fmt.Fprintf(t.w, " %.2f |", 100*last)
	}
	fmt.Fprintln(t.w)
}

// measure returns the mean excess for each kind of update with strategy s, and the least
// possible excess.
func measure(now *closure.Closure, all []updated, s plan.Strategy, budget, trials int) (row, least []float64, err error) {
	row, least = make([]float64, len(kinds)), make([]float64, len(kinds))
	excesses, leasts, errs := make([]float64, len(all)), make([]float64, len(all)), make([]error, len(all))
	before, options := start(s, budget)
	old, oldGroups, err := planGroups(now, before)
	if err != nil {
		return nil, nil, err
	}
	if s == keep {
		options.From = old
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, u := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var groups [][]closure.StorePath
			if _, groups, errs[i] = planGroups(u.c, options); errs[i] == nil {
				excesses[i], leasts[i] = excess(oldGroups, now, groups, u.c)
			}
		})
	}
	wg.Wait()
	for i, u := range all { // added in a fixed order, because the sum of floats depends on the order
		if errs[i] != nil {
			return nil, nil, errs[i]
		}
		row[u.kind] += excesses[i] / float64(trials)
		least[u.kind] += leasts[i] / float64(trials)
	}
	return row, least, nil
}

// start returns the plan options for the plans before and after an update.
func start(s plan.Strategy, budget int) (before, after plan.Options) {
	o := plan.Options{MaxLayers: budget, Strategy: s}
	if s == keep {
		o.Strategy = plan.StrategyCost
	}
	return o, o
}

func pair(a, b *closure.Closure, s plan.Strategy, budget int) (float64, float64, error) {
	before, after := start(s, budget)
	old, groups, err := planGroups(a, before)
	if err != nil {
		return 0, 0, err
	}
	if s == keep {
		after.From = old
	}
	_, now, err := planGroups(b, after)
	if err != nil {
		return 0, 0, err
	}
	e, l := excess(groups, a, now, b)
	return e, l, nil
}

// jitters is the number of changes of all sizes that movedBy tries for each new leaf.
const jitters = 5

// movedBy describes how many layers two small changes move without need. The first change adds a leaf,
// and the second alters all sizes by up to 1 %. For the second change, movedBy also reports how many
// trials moved no layer.
func movedBy(g *graph, now *closure.Closure, budget, trials int) (string, error) {
	o := plan.Options{MaxLayers: budget}
	_, old, err := planGroups(now, o)
	if err != nil {
		return "", err
	}
	count := func(trials int, change func(r *rand.Rand, trial int) *graph) (layers float64, none int, err error) {
		for t := range trials {
			_, groups, err := planGroups(change(rand.New(rand.NewPCG(77, uint64(t))), t).closure(), o)
			if err != nil {
				return 0, 0, err
			}
			n := moved(old, now, groups)
			layers += float64(n) / float64(trials)
			if n == 0 {
				none++
			}
		}
		return layers, none, nil
	}
	leaf, _, err := count(trials, func(r *rand.Rand, t int) *graph { return g.addSized(r, 1, t+1, 200_000) })
	if err != nil {
		return "", err
	}
	sizes, none, err := count(jitters*trials, func(r *rand.Rand, _ int) *graph { return g.jitter(r) })
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("A new leaf of 200 kB moves %.2f unrelated layers. A change of all sizes by up to 1 %% moves %.2f of them. In %d of %d trials, all of them stay",
		leaf, sizes, none, jitters*trials), nil
}

// twenty returns the mean excess for the first six kinds of updates with --plan-from, after
// 20 earlier updates. The plan of each earlier update is based on the plan before it.
func twenty(g *graph, c *closure.Closure, budget, trials int) (float64, error) {
	p, groups, err := planGroups(c, plan.Options{MaxLayers: budget})
	if err != nil {
		return 0, err
	}
	r := rand.New(rand.NewPCG(99, 1))
	for step := range 20 {
		g = g.update(r, kinds[step%6], 1000+step)
		c = g.closure()
		if p, groups, err = planGroups(c, plan.Options{MaxLayers: budget, From: p}); err != nil {
			return 0, err
		}
	}
	sum := 0.0
	rounds := max(1, trials/4)
	for k := range 6 {
		for t := range rounds {
			u := g.update(rand.New(rand.NewPCG(uint64(k), uint64(t))), kinds[k], 2000+t).closure()
			_, now, err := planGroups(u, plan.Options{MaxLayers: budget, From: p})
			if err != nil {
				return 0, err
			}
			e, _ := excess(groups, c, now, u)
			sum += e
		}
	}
	return sum / float64(6*rounds), nil
}

const intro = `# What updates cost, by plan

Written by ` + "`make bench-plan`" + `. An update changes some store paths. Clients download a layer again unless the layer with the same paths and hashes
existed before. The numbers are the *excess*, in per cent of the image: the bytes of the downloaded layers, minus the bytes of the changed store paths.
Both sides of an update are planned from their closures alone. Only *cost, kept* starts from the plan of the first side (` + "`--plan-from`" + `).

The plans are:

- *popularity*: used by nix2container, and by dockerTools before 24.11
- *size*: one layer for each big path, and one layer for all others
- *dockertools*: used by nixpkgs since 24.11
- *cost*: used by nixoci
- *least possible*: not a plan. This row shows the bytes of the changed store paths
- *bound*: an estimate of the best plan with this number of layers. It comes from simulated annealing, which is a long search and no proof. The search knows what
  a planner cannot know: that the first six kinds of updates are equally frequent, and from which packages each kind chooses. It does not know which packages the
  measured updates choose. Its layers stay the same when the closure changes. The bound shows what the number of layers costs. The column *above the bound*
  shows what the plan itself costs

The kinds of updates are:

- *leaf*: a package to which no other package refers
- *low library*: a package on which 15 to 85 % of all paths depend
- *rebuild*: a low library, ten other packages, and three new packages

Each update also changes everything that refers to a changed package. There are twenty seeded updates of each kind, or four for 5,000 paths. Nix built the
real systems from Debian's packages. The real rebuild is a second closure that Nix built.
`
