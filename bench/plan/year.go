package main

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// A simulation consists of warmUp weeks, which are not measured, and a year, which is measured.
const (
	warmUp      = 26 // weeks
	weeksOfYear = 52
	monthWeeks  = 4 // weeks between two pulls of a client that pulls every month
)

// climate describes how packages change in the course of a year. The constants come from a
// public log of 37 updates of one system of about 700 store paths in 18 months
// (github.com/gfanton/nixpkgs, CHANGELOG.md). 23 of the updates changed nearly all paths. Such
// an update had about 45 new versions. The other 14 updates had about 8 new versions each. Only
// 55 packages had new versions in these 14 updates: one package in 10 of them, the next packages
// in 8, 7 and 6, and 33 packages in one. If the rates have a log-normal distribution with the
// deviation unevenRates, the simulation gives 11, 8, 6 and 5 updates, and 59 packages.
type climate struct {
	title string
	mass  int  // an update rebuilds almost everything if its number is divisible by mass
	even  bool // all packages change equally often
}

const (
	unevenRates = 2.2
	smallPart   = 1.0 / 80 // in a small update, this share of the packages gets a new version
	massPart    = 1.0 / 16 // in an update that rebuilds almost everything, this share gets a new version
	lowPart     = 0.15     // a small update changes no package on which a larger share of all paths depends
)

var climates = []climate{
	{title: "almost everything is rebuilt every second week", mass: 2},
	{title: "almost everything is rebuilt every seventh week", mass: 7},
	{title: "almost everything is rebuilt every seventh week, and all packages change equally often", mass: 7, even: true},
}

// year simulates weekly updates of a graph.
type year struct {
	climate
	r     *rand.Rand
	names map[int]string     // names of the nodes at the start, by id
	rates map[string]float64 // how often the packages of a source change, relative to other sources
	mates map[string][]int   // ids of the packages of a source, which change together
}

// week describes a graph in one week.
type week struct {
	g    *graph
	c    *closure.Closure
	own  map[int]bool   // ids of the nodes that the update itself changed
	name map[int]string // names of the nodes at the start, by id
}

// simulate returns g in each week of a simulation.
func simulate(g *graph, in climate, seed uint64) []week {
	y := &year{climate: in, r: rand.New(rand.NewPCG(seed, uint64(in.mass))), names: map[int]string{}, rates: map[string]float64{}, mates: map[string][]int{}}
	for _, n := range g.nodes {
		y.names[n.id] = n.name
		source := y.source(n)
		y.mates[source] = append(y.mates[source], n.id)
		if y.rates[source] == 0 {
			y.rates[source] = 1
			if !in.even {
				y.rates[source] = math.Exp(unevenRates * y.r.NormFloat64())
			}
		}
	}
	weeks := []week{{g: g, c: g.closure(), name: y.names}}
	for n := 1; n <= warmUp+weeksOfYear; n++ {
		var own map[int]bool
		g, own = y.update(g, n)
		weeks = append(weeks, week{g: g, c: g.closure(), own: own, name: y.names})
	}
	return weeks
}

// source returns the name of the source from which a package is built. The simulation assumes that
// packages with the same version come from one source. A package without version has its own source.
func (y *year) source(n node) string {
	name := cmp.Or(y.names[n.id], n.name)
	if at := versionStart.FindStringIndex(name); at != nil {
		return name[at[0]:]
	}
	return name
}

var versionStart = regexp.MustCompile(`-[0-9]`)

// update returns the graph after the update of week n, and the ids of the nodes that the update
// itself changed.
func (y *year) update(g *graph, n int) (*graph, map[int]bool) {
	changed := y.newVersions(g, n)
	var configuration []int
	for i, x := range g.nodes {
		if strings.HasPrefix(x.name, "nixos-system-") {
			changed = append(changed, i)
		}
		if generated.MatchString(x.name) {
			configuration = append(configuration, i)
		}
	}
	if n%monthWeeks == 1 {
		changed = append(changed, pick(y.r, configuration, 3)...)
	}
	u := g.rebuild(y.r, changed, n)
	own := map[int]bool{}
	for _, i := range changed {
		own[u.nodes[i].id] = true
		if !generated.MatchString(u.nodes[i].name) {
			u.nodes[i].name = y.newVersion(u.nodes[i], n)
		}
	}
	if n%6 == 3 {
		u = u.add(y.r, 1, n)
	}
	return u, own
}

// newVersion returns the name of a node with the version that it gets in week n.
func (y *year) newVersion(x node, n int) string {
	name := cmp.Or(y.names[x.id], x.name)
	y.names[x.id] = name
	if versionStart.MatchString(name) {
		return fmt.Sprintf("%s.%d", name, n)
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// newVersions draws the packages that get a new version in week n. It returns their indexes.
func (y *year) newVersions(g *graph, n int) (changed []int) {
	packages, _, low := g.classes()
	dependents := g.dependents()
	mass := n%y.mass == 0
	part := smallPart
	if mass {
		part = massPart
		lowest := slices.MaxFunc(packages, func(a, b int) int { return cmp.Compare(dependents[a], dependents[b]) })
		changed = append(pick(y.r, low, 1), lowest)
	}
	may := make([]bool, len(g.nodes))
	var from []int
	var rates []float64 // rates[k] is the sum of the rates of the packages from[0] to from[k]
	sum := 0.0
	for _, i := range packages {
		if mass || float64(dependents[i]) < lowPart*float64(len(g.nodes)) {
			may[i] = true
			sum += cmp.Or(y.rates[y.source(g.nodes[i])], 1)
			from, rates = append(from, i), append(rates, sum)
		}
	}
	for range max(1, int(part*float64(len(packages)))) {
		at, _ := slices.BinarySearch(rates, y.r.Float64()*sum)
		first := from[min(at, len(from)-1)]
		may[first] = true
		changed = append(changed, first)
		for _, id := range y.mates[y.source(g.nodes[first])] {
			if i, ok := g.at[id]; ok && may[i] && i != first {
				changed = append(changed, i)
			}
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}
