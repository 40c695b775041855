package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
)

// yearBudgets lists the numbers of layers for which the tables about a year have columns.
var yearBudgets = []int{20, 60, 100}

// groups lists the store paths of each layer of an image.
type groups [][]closure.StorePath

// weekly describes a way to plan the image of each week. make returns a function that plans the image
// of week n. The argument before of this function is the image of the week before.
type weekly struct {
	name string
	make func(budget int) func(weeks []week, n int, before groups) (groups, error)
}

// weeklyAnew plans each week with a strategy, without looking at the week before.
func weeklyAnew(s plan.Strategy) weekly {
	return weekly{string(s), func(budget int) func([]week, int, groups) (groups, error) {
		return func(weeks []week, n int, _ groups) (groups, error) {
			_, made, err := planGroups(weeks[n].c, plan.Options{MaxLayers: budget, Strategy: s})
			return made, err
		}
	}}
}

// weeklyKept plans as --plan-from does. If history is not 0, it plans as --plan-from with --history
// does.
func weeklyKept(name string, history int) weekly {
	return weekly{name, func(budget int) func([]week, int, groups) (groups, error) {
		return func(weeks []week, n int, before groups) (groups, error) {
			o := plan.Options{MaxLayers: budget}
			if before != nil {
				o.From = &plan.Plan{}
			}
			for _, paths := range before {
				o.From.Groups = append(o.From.Groups, plan.Group{Paths: paths})
			}
			for k := n - 2; k >= max(0, n-history); k-- {
				o.History = append(o.History, pathsOf(weeks[k].c))
			}
			_, made, err := planGroups(weeks[n].c, o)
			return made, err
		}
	}}
}

func pathsOf(c *closure.Closure) (paths []closure.StorePath) {
	for _, info := range c.Paths {
		paths = append(paths, info.Path)
	}
	return paths
}

// weeklyChunkah plans each week anew, as chunkah does: from the stability of the packages.
func weeklyChunkah() weekly {
	return weekly{"chunkah", func(budget int) func([]week, int, groups) (groups, error) {
		return func(weeks []week, n int, _ groups) (groups, error) {
			return grouped(weeks[n].g, chunkah(itemsOf(weeks, n), budget)), nil
		}
	}}
}

// weeklyRechunk plans once, after the warm-up, and then keeps the layers. rechunk does the same if it
// reads the manifest of the image before.
func weeklyRechunk() weekly {
	return weekly{"rechunk", func(budget int) func([]week, int, groups) (groups, error) {
		var home map[int]int // the layer of each node, by id
		return func(weeks []week, n int, _ groups) (groups, error) {
			g, items := weeks[n].g, itemsOf(weeks, n)
			layers := rechunk(items, budget)
			if n > warmUp {
				layers = rechunkAgain(g, items, home, budget)
			}
			home = map[int]int{}
			for k, members := range layers {
				for _, i := range members {
					home[g.nodes[i].id] = k
				}
			}
			return grouped(g, layers), nil
		}
	}}
}

// rechunkAgain puts each node into the same layer as in the image before. It puts each new node into
// the layer where the node costs least.
func rechunkAgain(g *graph, items []item, home map[int]int, budget int) [][]int {
	layers, left := make([][]int, budget), map[int]bool{}
	for i, x := range g.nodes {
		if k, ok := home[x.id]; ok {
			layers[k] = append(layers[k], i)
		} else {
			left[i] = true
		}
	}
	return fill(items, layers, left, 1.3*float64(g.bytes())/float64(budget))
}

// itemsOf returns the items of week n, with the updates of at most 52 weeks.
func itemsOf(weeks []week, n int) []item {
	g := weeks[n].g
	items := make([]item, len(g.nodes))
	for i, x := range g.nodes {
		items[i] = item{name: weeks[n].name[x.id], size: x.size}
		for k := max(1, n-weeksOfYear+1); k <= n; k++ {
			if at, ok := weeks[k].g.at[x.id]; ok && weeks[k].g.nodes[at].rev == k {
				items[i].all |= 1 << (n - k)
			}
			if weeks[k].own[x.id] {
				items[i].own |= 1 << (n - k)
			}
		}
	}
	return items
}

// grouped returns the store paths of layers, which list indexes of nodes.
func grouped(g *graph, layers [][]int) (all groups) {
	for _, members := range layers {
		var paths []closure.StorePath
		for _, i := range members {
			paths = append(paths, g.nodes[i].path())
		}
		if paths != nil {
			all = append(all, paths)
		}
	}
	return all
}

// pulls holds the numbers of bytes that two clients download in a year: one pulls every week, the
// other every month.
type pulls struct{ weekly, monthly float64 }

func (p *pulls) add(q pulls, seeds int) {
	p.weekly += q.weekly / float64(seeds)
	p.monthly += q.monthly / float64(seeds)
}

// pull returns the number of bytes that a client with the image old downloads for the image now. c is
// the closure of now.
func pull(old, now groups, c *closure.Closure) (n float64) {
	have := layerKeys(old)
	for _, paths := range now {
		if have[layerKey(paths)] {
			continue
		}
		for _, p := range paths {
			n += float64(c.Info(p).NarSize)
		}
	}
	return n
}

// ofYear adds up the pulls of two clients: one pulls every week, the other every month.
func ofYear(images []groups, weeks []week) (p pulls) {
	for n := warmUp + 1; n < len(weeks); n++ {
		p.weekly += pull(images[n-1], images[n], weeks[n].c)
		if (n-warmUp)%monthWeeks == 0 {
			p.monthly += pull(images[n-monthWeeks], images[n], weeks[n].c)
		}
	}
	return p
}

// leastOfYear returns the pulls for images in which each store path has a layer of its own.
func leastOfYear(weeks []week) pulls {
	var images []groups
	for _, w := range weeks {
		var alone groups
		for _, p := range pathsOf(w.c) {
			alone = append(alone, []closure.StorePath{p})
		}
		images = append(images, alone)
	}
	return ofYear(images, weeks)
}

func (how weekly) measure(weeks []week, budget int) (pulls, error) {
	next := how.make(budget)
	var images []groups
	var before groups
	for n := range weeks {
		image, err := next(weeks, n, before)
		if err != nil {
			return pulls{}, err
		}
		images, before = append(images, image), image
	}
	return ofYear(images, weeks), nil
}

var weeklies = []weekly{
	weeklyAnew(plan.StrategyPopularity), weeklyAnew(plan.StrategyDockerTools), weeklyChunkah(), weeklyRechunk(),
	weeklyAnew(plan.StrategyCost), weeklyKept("cost, kept", 0),
	weeklyKept("cost, history 12", 12), weeklyKept("cost, history 26", 26), weeklyKept("cost, history 52", 52),
}

// yearTable writes the table of one graph and one climate.
func yearTable(w io.Writer, g *graph, in climate, seeds int) error {
	sums := make([]pulls, len(weeklies)*len(yearBudgets))
	var least pulls
	for seed := range seeds {
		weeks := simulate(g, in, uint64(seed+1))
		least.add(leastOfYear(weeks), seeds)
		found, errs := make([]pulls, len(sums)), make([]error, len(sums))
		var wg sync.WaitGroup
		slots := make(chan struct{}, runtime.GOMAXPROCS(0))
		for i := range sums {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				found[i], errs[i] = weeklies[i/len(yearBudgets)].measure(weeks, yearBudgets[i%len(yearBudgets)])
			})
		}
		wg.Wait()
		for i, err := range errs { // added in a fixed order, because the sum of floats depends on the order
			if err != nil {
				return err
			}
			sums[i].add(found[i], seeds)
		}
	}
	fmt.Fprintf(w, "\nIf %s: the least possible is %.2f GB a year weekly, and %.2f GB monthly.\n\n| plan |", in.title, least.weekly/1e9, least.monthly/1e9)
	for _, budget := range yearBudgets {
		fmt.Fprintf(w, " %d layers, weekly | monthly |", budget)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", 2*len(yearBudgets)))
	for k, how := range weeklies {
		fmt.Fprintf(w, "| %s |", how.name)
		for _, p := range sums[k*len(yearBudgets) : (k+1)*len(yearBudgets)] {
			fmt.Fprintf(w, " **%.2f** | %.2f |", (p.weekly-least.weekly)/1e9, (p.monthly-least.monthly)/1e9)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// yearSection measures a year of weekly updates.
func yearSection(w io.Writer, large *graph) error {
	fmt.Fprint(w, yearIntro)
	for _, of := range []struct {
		title    string
		g        *graph
		climates []climate
		seeds    int
	}{
		{"The real system, x86_64-linux", large, climates, 3},
		{"Generated, 1000 paths", generate(1000, 1), climates[1:2], 1},
	} {
		fmt.Fprintf(w, "\n### %s\n\nA client that pulls once downloads %.2f GB with every plan.\n", of.title, float64(of.g.bytes())/1e9)
		for _, in := range of.climates {
			if err := yearTable(w, of.g, in, of.seeds); err != nil {
				return err
			}
		}
	}
	return nil
}

const yearIntro = `
## A year of weekly updates

The tables show how many gigabytes a client downloads in a year, minus the least possible. All sizes are before compression. If each store path had a layer of its own, the
client would download the least possible. The columns *weekly* are for a client that pulls every week, and the columns *monthly* for one that pulls every fourth week.

The updates are simulated, because we found no public sequence of whole closures. The constants come from a public log of 37 updates of one system of about 700 store paths
([gfanton/nixpkgs](https://github.com/gfanton/nixpkgs/blob/master/CHANGELOG.md), 18 months). 23 of these updates changed nearly all paths, with about 45 new versions each. The
other 14 had about 8 new versions each. Only 55 packages had new versions in these 14 updates, one of them in 10 of the updates.

- In a week that rebuilds almost everything, these packages get a new version: the library on which most paths depend, one low library, and a sixteenth of all packages.
- In every other week, an eightieth of all packages gets a new version. On each of these packages, less than 15 % of all paths depend.
- Packages with the same version come from one source, and change together.
- Every fourth week also changes the configuration. Every sixth week also adds a package.
- The simulation begins half a year before the measured year, with weekly pushes. So a history contains images from the start of the measured year.
- In one table, all packages change equally often. From such a history, nixoci can only learn which packages change together.

The plans are:

- *popularity*, *dockertools*, *cost*: planned anew each week
- *chunkah*: planned anew each week, from the number of new versions of each package in the last 52 weeks
- *rechunk*: planned once after half a year, from all changes so far. Later images keep these layers, as rechunk does if it reads the manifest of the image before
- *cost, kept*: ` + "`--plan-from auto`" + `
- *cost, history N*: ` + "`--plan-from auto --history N`" + `
`
