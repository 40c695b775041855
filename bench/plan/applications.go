package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
)

// service describes an application. It consists of packages of the large system, and of three
// paths that Nix functions make: an environment, the code and a configuration.
type service struct {
	title    string
	packages []string // the names of the store paths begin with these texts
	runtime  string   // package on which the code depends; the environment refers to all packages
}

var services = []service{
	{"A Python service", []string{"python3-3", "python3-numpy-", "ca-certificates-", "tzdata-"}, "python3-3"},
	{"A Node service", []string{"nodejs-", "node-undici-", "node-busboy-", "node-cjs-module-lexer-", "node-xtend-", "ca-certificates-", "tzdata-"}, "nodejs-"},
	{"A static Go program", []string{"prometheus-node-exporter-1", "ca-certificates-", "tzdata-"}, "prometheus-node-exporter-1"},
	{"PHP behind nginx", []string{"php8.2-fpm-", "php8.2-opcache-", "php8.2-readline-", "nginx-1", "ca-certificates-", "tzdata-"}, "php8.2-fpm-"},
	{"A Python service with ffmpeg", []string{"python3-3", "python3-numpy-", "ffmpeg-", "postgresql-client-15-", "ca-certificates-", "tzdata-"}, "python3-3"},
}

// These are the sizes, in bytes, of the parts that Nix functions make for an application.
const (
	codeSize        = 400_000
	environmentSize = 120_000 // consists of links, as pkgs.buildEnv and withPackages make them
	settingsSize    = 2_000
)

// graph returns the closure of the service. Its last node is the code.
func (s *service) graph(of *graph) *graph {
	wanted := make([]bool, len(of.nodes))
	var roots []int // ids of nodes
	for i, n := range of.nodes {
		if slices.ContainsFunc(s.packages, func(name string) bool { return strings.HasPrefix(n.name, name) }) {
			wanted[i] = true
			roots = append(roots, n.id)
		}
	}
	if len(roots) != len(s.packages) {
		panic(fmt.Sprintf("%s: %d packages, want %d", s.title, len(roots), len(s.packages)))
	}
	var nodes []node
	for i := len(of.nodes) - 1; i >= 0; i-- { // from the last node, because a node comes after its references
		if !wanted[i] {
			continue
		}
		nodes = append(nodes, of.nodes[i])
		for _, r := range of.nodes[i].refs {
			wanted[of.at[r]] = true
		}
	}
	slices.Reverse(nodes)
	const environment, settings, code = 100_001, 100_002, 100_003 // ids of nodes
	nodes = append(nodes,
		node{id: environment, name: "service-env", size: environmentSize, refs: roots},
		node{id: settings, name: "service.conf", size: settingsSize},
		node{id: code, name: "service-1.0", size: codeSize, refs: []int{environment, settings}})
	return newGraph(nodes)
}

// appKinds lists the kinds of updates of an application.
var appKinds = []string{"code only", "configuration", "one dependency", "a low library"}

// appUpdate returns the graph after an update. It also returns the nodes that the update
// itself changed, without the nodes that were rebuilt because of them. Every update also
// changes the code.
func (g *graph) appUpdate(r *rand.Rand, kind string, rev int) (*graph, []int) {
	code := len(g.nodes) - 1
	changed := []int{code}
	var packages, low []int
	for i, d := range g.dependents() {
		if g.nodes[i].id > 100_000 {
			continue
		}
		packages = append(packages, i)
		if share := float64(d) / float64(len(g.nodes)); share > 0.3 {
			low = append(low, i)
		}
	}
	switch kind {
	case "configuration":
		changed = append(changed, g.at[100_002])
	case "one dependency":
		changed = append(changed, pick(r, packages, 1)...)
	case "a low library":
		changed = append(changed, pick(r, low, 1)...)
	}
	return g.rebuild(r, changed, rev), changed
}

// history returns, for each node, the weeks of a year in which it changed. all includes
// rebuilds because of other nodes, own does not. The updates are weekly. Every update changes
// the code, every second one a dependency, and every eighth one a low library.
func (g *graph) history() (all, own []updates) {
	const weeks = 52
	all, own = make([]updates, len(g.nodes)), make([]updates, len(g.nodes))
	for week := range weeks {
		kind := appKinds[0]
		switch {
		case week%8 == 7:
			kind = "a low library"
		case week%2 == 1:
			kind = "one dependency"
		case week%4 == 2:
			kind = "configuration"
		}
		after, changed := g.appUpdate(rand.New(rand.NewPCG(4711, uint64(week))), kind, week+1)
		for i, n := range after.nodes {
			if n.rev == week+1 {
				all[i] |= 1 << week
			}
		}
		for _, i := range changed {
			own[i] |= 1 << week
		}
	}
	return all, own
}

// grouping describes a way to divide the closure of a graph into layers. The nodes of the
// graph are the paths of the closure.
type grouping struct {
	name  string
	group func(g *graph, budget int) ([][]closure.StorePath, error)
}

// planned returns the grouping of a planning strategy. configuration names the store paths
// that change with every update.
func planned(name string, s plan.Strategy, configuration ...string) grouping {
	return grouping{name, func(g *graph, budget int) ([][]closure.StorePath, error) {
		o := plan.Options{MaxLayers: budget, Strategy: s}
		for _, n := range g.nodes {
			if slices.Contains(configuration, n.name) {
				o.Configuration = append(o.Configuration, n.path())
			}
		}
		_, groups, err := planGroups(g.closure(), o)
		return groups, err
	}}
}

// groupings returns all groupings. The groupings of chunkah and rechunk use the history of
// before, the graph before the update.
func groupings(before *graph) []grouping {
	all, own := before.history()
	byHistory := func(name string, f func([]item, int) [][]int) grouping {
		return grouping{name, func(g *graph, budget int) ([][]closure.StorePath, error) {
			items := make([]item, len(g.nodes))
			for i, n := range g.nodes {
				items[i] = item{name: n.name, size: n.size, all: all[i], own: own[i]}
			}
			var groups [][]closure.StorePath
			for _, members := range f(items, budget) {
				var paths []closure.StorePath
				for _, i := range members {
					paths = append(paths, g.nodes[i].path())
				}
				groups = append(groups, paths)
			}
			return groups, nil
		}}
	}
	return []grouping{
		planned("one layer", plan.StrategyOne),
		planned("popularity", plan.StrategyPopularity),
		planned("dockertools", plan.StrategyDockerTools),
		byHistory("chunkah", chunkah),
		byHistory("rechunk", rechunk),
		planned("cost, nothing is configuration", plan.StrategyCost),
		planned("cost, code and what only it uses", plan.StrategyCost, "service-1.0", "service.conf", "service-env"),
		planned("cost", plan.StrategyCost, "service-1.0"),
	}
}

// applicationSection measures one service. For each number of layers it writes a
// table with the megabytes that a client downloads for an update.
func applicationSection(w io.Writer, s service, of *graph, trials int) error {
	g := s.graph(of)
	fmt.Fprintf(w, "\n### %s\n\n%d store paths, %.0f MB.\n", s.title, len(g.nodes), float64(g.bytes())/1e6)
	for _, budget := range []int{5, 10, 20, 60} {
		fmt.Fprintf(w, "\n| %d layers |", budget)
		for _, k := range appKinds {
			fmt.Fprintf(w, " %s |", k)
		}
		fmt.Fprint(w, "\n|---|")
		for range appKinds {
			fmt.Fprint(w, "---|")
		}
		fmt.Fprintln(w)
		for i, how := range groupings(g) {
			row, least, err := shipped(g, how, budget, trials)
			if err != nil {
				return err
			}
			if i == 0 {
				writeMegabytes(w, "*least possible*", least)
			}
			writeMegabytes(w, how.name, row)
		}
	}
	return nil
}

func writeMegabytes(w io.Writer, name string, row []float64) {
	fmt.Fprintf(w, "| %s |", name)
	for _, v := range row {
		fmt.Fprintf(w, " %.2f |", v/1e6)
	}
	fmt.Fprintln(w)
}

// shipped returns two means for each kind of update: the bytes of the layers that the update
// ships, and the bytes of the paths that the update changes.
func shipped(g *graph, how grouping, budget, trials int) (row, least []float64, err error) {
	row, least = make([]float64, len(appKinds)), make([]float64, len(appKinds))
	old, err := how.group(g, budget)
	if err != nil {
		return nil, nil, err
	}
	before := g.closure()
	for k, kind := range appKinds {
		for t := range trials {
			u, _ := g.appUpdate(rand.New(rand.NewPCG(uint64(100+k), uint64(t))), kind, 1000+t)
			now, err := how.group(u, budget)
			if err != nil {
				return nil, nil, err
			}
			after := u.closure()
			e, l := excess(old, before, now, after)
			total := float64(u.bytes())
			row[k] += (e + l) * total / float64(trials)
			least[k] += l * total / float64(trials)
		}
	}
	return row, least, nil
}

const applicationIntro = `
## Applications

Here the numbers are megabytes that a client downloads, before compression. The closures are packages of the real system above, which Nix built from
Debian's packages, with three paths of the kind that Nix functions make: the code of a service (0.4 MB), its environment (links to the packages, 0.1 MB) and
its configuration. Every update changes the code. *One dependency* also changes one package and all that refers to it. *A low library* changes a package on
which 30 % or more of all paths depend. Each number is the mean of twenty seeded updates. Both sides are planned from their closures alone.

More plans are compared:

- *one layer*: nix2container's default (` + "`maxLayers = 1`" + `)
- *chunkah*: each large path has its own layer. Each other path goes into a layer by the hash of its name. All paths of a layer belong to the same of three tiers.
  The tier depends on how often the package itself changed in a year of weekly updates
- *rechunk*: a greedy search with the same year of updates. It knows every path that each update changed. A plan that is made from a closure alone does not know this
- *cost, nothing is configuration*: nixoci's plan, if it did not know which path is the application
- *cost, code and what only it uses*: nixoci's plan, if it treated the environment and the configuration like the code: as paths that change with every update
- *cost*: nixoci's plan. What changes with every update is the first path of the image

With at most ten layers, the plan *cost, code and what only it uses* ships much less than *cost* if the configuration changes, and 0.1 MB more if only the code changes.
With 60 layers the difference is less than 2 MB in each case, and nixoci's default is 100. So only an image with few layers would gain from that plan.
`
