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

// DefaultMaxLayers is less than the 127 layers or so that overlay drivers allow. The user can
// add some layers.
const DefaultMaxLayers = 100

// LayerLimit is the largest number of layers with store paths: the limit of overlay drivers,
// minus the init layer and the system layer.
const LayerLimit = 125

// Group describes one layer and lists its paths.
type Group struct {
	Name   string              // given by the user, or ""
	Reason string              // why these paths share a layer, as text for the user
	Paths  []closure.StorePath // sorted
	Size   int64               // sum of the NarSizes in bytes
	Chance float64             // relative chance that an update changes the layer, 0 to 1
}

// Plan assigns each path to a layer. Groups[0] is the lowest layer, which is the least likely
// to change.
type Plan struct {
	Strategy Strategy
	Groups   []Group
}

// Paths returns all store paths of the plan.
func (p *Plan) Paths() (all []closure.StorePath) {
	for _, g := range p.Groups {
		all = append(all, g.Paths...)
	}
	return all
}

// Strategy names a method to group paths.
type Strategy string

// The strategies. StrategyCost is nixoci's own. The others imitate other tools, for
// comparison.
const (
	StrategyCost        Strategy = "cost"
	StrategySize        Strategy = "size"        // each big path has its own layer, the other paths share one
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

// LayerGlob puts paths into the layer Name. Glob is either a pattern in the syntax of
// path.Match or a store path. A pattern is compared with the names of paths, with and without
// the store hash. With a store path, the layer gets the whole closure of that path.
type LayerGlob struct{ Glob, Name string }

// isPath reports whether Glob is a store path.
func (l LayerGlob) isPath() bool { return strings.HasPrefix(l.Glob, closure.StoreDir+"/") }

// ParseLayerGlob parses GLOB=NAME.
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

// Options contains all inputs of a plan except the closure.
type Options struct {
	MaxLayers int         // ≤0 means DefaultMaxLayers; the init layer and the system layer are not counted
	Strategy  Strategy    // "" means StrategyCost
	Layers    []LayerGlob // the first glob that matches a path decides

	// Configuration lists paths that change with every update, like the paths that NixOS
	// generates from a configuration. For an application it lists the application's own path.
	Configuration []closure.StorePath

	// From is the plan of an earlier image. Unchanged paths stay in their layers of From, and
	// New plans the other paths around them. If From is set, New ignores Strategy.
	From *Plan

	// History lists the store paths of the images before From, the latest image first. From
	// these lists, New learns which packages change often, and which packages change together.
	// Without From, History has no effect.
	History [][]closure.StorePath
}

// ErrTooManyLayers is wrapped by two kinds of errors: named layers leave no layer for the
// other paths, or a plan has more layers than the limit.
var ErrTooManyLayers = errors.New("more layers than the limit")

// New groups the paths of c. Without o.From the plan depends only on the graph, the names
// and the sizes. The order of c.Paths does not matter. A store hash decides only between
// paths with the same name and size.
func New(c *closure.Closure, o Options) (*Plan, error) {
	g, budget, named, err := preparePlan(c, &o)
	if err != nil {
		return nil, err
	}
	var bins []*bin
	switch {
	case budget == 0:
	case o.From != nil:
		if o.History != nil {
			g.history = g.learn(append([][]closure.StorePath{o.From.Paths()}, o.History...))
		}
		bins = planKeep(g, budget, o.From)
	default:
		bins = planners[o.Strategy](g, budget)
	}
	return g.plan(o.Strategy, bins, named), nil
}

// namedBin is a layer that the user named.
type namedBin struct {
	name string
	*bin
}

// preparePlan sets defaults, and marks the nodes in named layers as fixed. It returns the
// graph, the number of layers for the other nodes, and the named layers.
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
		return nil, 0, nil, fmt.Errorf("plan: strategy %q is unknown", o.Strategy)
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
		return nil, 0, nil, fmt.Errorf("plan: %d named layers, at most %d layers in all: %w", len(named), o.MaxLayers, ErrTooManyLayers)
	}
	return g, min(budget, left), named, nil
}

// nameLayers makes the layers that the user named, and marks their nodes as fixed.
func (g *graph) nameLayers(asked []LayerGlob) (named []namedBin, err error) {
	reached := make([]map[closure.StorePath]bool, len(asked)) // for each glob that is a store path: its closure
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

// closureOf returns root and all paths to which root refers, directly or indirectly. If g
// does not contain root, the result is empty. This is common with images for several
// platforms: a path is often in the closure of only one platform.
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

// plan turns bins into groups and sorts them by chance of change, the lowest chance first.
func (g *graph) plan(s Strategy, bins []*bin, named []namedBin) *Plan {
	p := &Plan{Strategy: s}
	type row struct {
		Group
		first int32 // first member in canonical order, a unique sort key
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

// Chances returns the relative chance, from 0 to 1, that an update changes each of
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

// group returns b as a Group with paths, size and chance.
func (g *graph) group(b *bin, name string) Group {
	group := Group{Name: name, Chance: g.chance(b)}
	for _, m := range b.members {
		group.Paths = append(group.Paths, g.infos[m].Path)
		group.Size += g.infos[m].NarSize
	}
	slices.Sort(group.Paths)
	return group
}

// chance returns the chance that b changes, relative to the chance of the whole closure.
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
