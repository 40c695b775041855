package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// DefaultMaxLayers leaves room for the user: overlay drivers take about 127.
const DefaultMaxLayers = 100

// LayerLimit is the most layers that store paths may have: what overlay drivers
// take, less the init layer and the system layer.
const LayerLimit = 125

// Group is the paths of one layer.
type Group struct {
	Name   string              // given by the user, or ""
	Reason string              // why the paths are together, for people
	Paths  []closure.StorePath // sorted
	Size   int64               // sum of the NarSizes in bytes
	Chance float64             // relative chance that an update changes it, 0 to 1
}

// Plan says which path lands in which layer. Groups[0] is the lowest layer: the
// least likely to change.
type Plan struct {
	Strategy Strategy
	Groups   []Group
}

// Strategy is a way to group paths.
type Strategy string

// The strategies. All but cost are other tools' ways, for comparison.
const (
	StrategyCost        Strategy = "cost"
	StrategySize        Strategy = "size"        // each big path alone, the rest together
	StrategyPopularity  Strategy = "popularity"  // nix2container, dockerTools before 24.11
	StrategyDockerTools Strategy = "dockertools" // nixpkgs' dockerTools since 24.11
	StrategyOne         Strategy = "one"         // a single layer
)

// Strategies lists every strategy, the default first.
var Strategies = []Strategy{StrategyCost, StrategySize, StrategyPopularity, StrategyDockerTools, StrategyOne}

var planners = map[Strategy]func(*graph, int) []*bin{
	StrategyCost:        planCost,
	StrategySize:        planSize,
	StrategyPopularity:  planPopularity,
	StrategyDockerTools: planDockerTools,
	StrategyOne:         planOne,
}

// LayerGlob puts all paths whose name, with or without the store hash, matches
// Glob (the syntax of path.Match) into the layer Name. Where Glob is a store path,
// this is that path and all that it refers to.
type LayerGlob struct{ Glob, Name string }

// isPath reports whether Glob is a store path.
func (l LayerGlob) isPath() bool { return strings.HasPrefix(l.Glob, closure.StoreDir+"/") }

// ParseLayerGlob reads GLOB=NAME.
func ParseLayerGlob(s string) (LayerGlob, error) {
	i := strings.LastIndexByte(s, '=')
	if i <= 0 || i == len(s)-1 {
		return LayerGlob{}, fmt.Errorf("layer %q: not GLOB=NAME", s)
	}
	l := LayerGlob{Glob: s[:i], Name: s[i+1:]}
	_, err := path.Match(l.Glob, "")
	if l.isPath() {
		_, err = closure.ParseStorePath(l.Glob)
	}
	if err != nil {
		return LayerGlob{}, fmt.Errorf("layer %q: %w", s, err)
	}
	return l, nil
}

// Options are what a plan depends on beside the closure.
type Options struct {
	MaxLayers int         // ≤0: DefaultMaxLayers; the init and the system layer are not counted
	Strategy  Strategy    // "": StrategyCost
	Layers    []LayerGlob // the first that matches a path wins

	// Configuration are paths that every update changes, as it does those that
	// NixOS makes of a configuration: an application itself.
	Configuration []closure.StorePath

	// From is the plan of an image that is there. What has not changed stays
	// where it is in From; the rest is planned around it. The strategy is only
	// asked where there is no From.
	From *Plan
}

// ErrTooManyLayers is wrapped when the layers asked for by name do not leave
// one for the rest.
var ErrTooManyLayers = errors.New("more layers than the limit")

// New groups the paths of c. Without o.From it is a function of the graph,
// the names and the sizes alone; the order of c.Paths does not matter, and a store hash only
// decides between paths whose names and sizes are equal.
func New(c *closure.Closure, o Options) (*Plan, error) {
	g, budget, named, err := preparePlan(c, &o)
	if err != nil {
		return nil, err
	}
	var bins []*bin
	switch {
	case budget == 0:
	case o.From != nil:
		bins = planKeep(g, budget, o.From)
	default:
		bins = planners[o.Strategy](g, budget)
	}
	return g.plan(o.Strategy, bins, named), nil
}

// namedBin is a layer that the user asked for.
type namedBin struct {
	name string
	*bin
}

// preparePlan fills in defaults, marks the nodes of named layers as fixed and
// returns how many layers are left for the others.
func preparePlan(c *closure.Closure, o *Options) (*graph, int, []namedBin, error) {
	if o.MaxLayers <= 0 {
		o.MaxLayers = DefaultMaxLayers
	}
	if o.Strategy == "" {
		o.Strategy = StrategyCost
	}
	if len(c.Paths) == 0 {
		return nil, 0, nil, errors.New("plan: the closure is empty")
	}
	if o.MaxLayers > LayerLimit {
		return nil, 0, nil, fmt.Errorf("plan: %d layers, at most %d: %w", o.MaxLayers, LayerLimit, ErrTooManyLayers)
	}
	if planners[o.Strategy] == nil {
		return nil, 0, nil, fmt.Errorf("plan: no strategy %q", o.Strategy)
	}
	g := newGraph(c)
	for i := range g.infos {
		g.generated[i] = g.generated[i] || slices.Contains(o.Configuration, g.infos[i].Path)
	}
	named, err := g.nameLayers(o.Layers)
	if err != nil {
		return nil, 0, nil, err
	}
	left := len(g.infos)
	for _, n := range named {
		left -= len(n.members)
	}
	budget := o.MaxLayers - len(named)
	if budget < 0 || budget == 0 && left > 0 {
		return nil, 0, nil, fmt.Errorf("plan: %d layers by name of %d: %w", len(named), o.MaxLayers, ErrTooManyLayers)
	}
	return g, min(budget, left), named, nil
}

// nameLayers makes the layers that are asked for by name, and marks their nodes
// as fixed.
func (g *graph) nameLayers(asked []LayerGlob) (named []namedBin, err error) {
	reached := make([]map[closure.StorePath]bool, len(asked)) // from those that are store paths
	for k, l := range asked {
		if l.isPath() {
			reached[k] = g.closureOf(closure.StorePath(l.Glob))
		}
	}
	for i := range int32(len(g.infos)) {
		for k, l := range asked {
			is := reached[k][g.infos[i].Path]
			if !l.isPath() {
				if is, err = matches(l.Glob, g.names[i], g.infos[i].Path.Base()); err != nil {
					return nil, fmt.Errorf("plan: layer %q: glob %q: %w", l.Name, l.Glob, err)
				}
			}
			if !is {
				continue
			}
			at := slices.IndexFunc(named, func(n namedBin) bool { return n.name == l.Name })
			if at < 0 {
				at = len(named)
				named = append(named, namedBin{l.Name, g.newBin()})
			}
			g.put(named[at].bin, i)
			g.fixed[i] = true
			break
		}
	}
	return named, nil
}

func matches(glob string, names ...string) (bool, error) {
	for _, name := range names {
		if ok, err := path.Match(glob, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// closureOf is root and all that it refers to; nothing where the closure has no such
// path, as of images for several platforms only one has it.
func (g *graph) closureOf(root closure.StorePath) map[closure.StorePath]bool {
	references := make(map[closure.StorePath][]closure.StorePath, len(g.infos))
	for _, info := range g.infos {
		references[info.Path] = append(slices.Clip(info.References), info.Path)
	}
	found, todo := map[closure.StorePath]bool{}, []closure.StorePath{root}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, r := range references[p] {
			if !found[r] {
				found[r] = true
				todo = append(todo, r)
			}
		}
	}
	return found
}

// plan turns bins into groups: least likely to change first.
func (g *graph) plan(s Strategy, bins []*bin, named []namedBin) *Plan {
	p := &Plan{Strategy: s}
	type row struct {
		Group
		first int32 // its first node in canonical order: unique
	}
	var rows []row
	add := func(b *bin, name string) {
		if len(b.members) == 0 {
			return
		}
		r := row{Group: g.group(b, name), first: slices.Min(b.members)}
		r.Reason = g.reason(s, b, name)
		rows = append(rows, r)
	}
	for _, b := range bins {
		add(b, "")
	}
	for _, n := range named {
		add(n.bin, n.name)
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.Chance, b.Chance), cmp.Compare(a.first, b.first)) })
	for _, r := range rows {
		p.Groups = append(p.Groups, r.Group)
	}
	return p
}

// Chances are the relative chances, 0 to 1, that an update changes each of
// c.Paths.
func Chances(c *closure.Closure) []float64 {
	g := newGraph(c)
	chances := make([]float64, len(c.Paths))
	for i, info := range g.infos {
		at, _ := c.Index(info.Path)
		chances[at] = 1
		if !g.generated[i] {
			chances[at] = math.Sqrt(float64(g.counts[i]) / float64(len(g.infos)))
		}
	}
	return chances
}

// group is b with its paths and sums.
func (g *graph) group(b *bin, name string) Group {
	group := Group{Name: name, Chance: g.chance(b)}
	for _, m := range b.members {
		group.Paths = append(group.Paths, g.infos[m].Path)
		group.Size += g.infos[m].NarSize
	}
	slices.Sort(group.Paths)
	return group
}

// chance is b's chance of change as a part of that of the whole closure.
func (g *graph) chance(b *bin) float64 {
	for _, m := range b.members {
		if g.generated[m] {
			return 1
		}
	}
	return math.Sqrt(float64(b.below.count()) / float64(len(g.infos)))
}

func (g *graph) reason(s Strategy, b *bin, name string) string {
	generated := 0
	biggest := b.members[0]
	for _, m := range b.members {
		if g.generated[m] {
			generated++
		}
		if cmp.Or(cmp.Compare(g.sizes[m], g.sizes[biggest]), cmp.Compare(biggest, m)) > 0 {
			biggest = m
		}
	}
	switch {
	case name != "":
		return "asked for by name"
	case len(b.members) == 1:
		return "alone"
	case generated == len(b.members):
		return "made of the configuration"
	case s == StrategyCost:
		return "change much as " + stem(g.names[biggest]) + " does"
	}
	return "together by " + string(s)
}
