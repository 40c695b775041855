package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/terminal"
)

// PlanReport describes a plan for people and programs.
type PlanReport struct {
	Closure   string        `json:"closure"`
	Platform  string        `json:"platform,omitempty"`
	Strategy  plan.Strategy `json:"strategy"`
	MaxLayers int           `json:"maxLayers"`
	Paths     int           `json:"paths"`
	Size      int64         `json:"size"`           // bytes of the NARs
	Base      *PlanBase     `json:"base,omitempty"` // the base image
	Layers    []PlanLayer   `json:"layers"`
	Against   *UpdateCost   `json:"against,omitempty"`

	closure *closure.Closure
}

// PlanBase describes a base image. The layers of the base image are below those of the plan.
type PlanBase struct {
	manifest.BaseInfo
	Size int64 `json:"size"` // bytes of the base image's layers, as a client pulls them
}

// SetBase records the base image b. If b is nil, there is no base image.
func (r *PlanReport) SetBase(b *manifest.Base) {
	if b == nil {
		return
	}
	r.Base = &PlanBase{BaseInfo: b.BaseInfo}
	for _, l := range b.Layers {
		r.Base.Size += l.Size
	}
}

// PlanLayer describes a layer of a plan. The system layer is not part of a plan.
type PlanLayer struct {
	Name   string              `json:"name,omitempty"` // name that the user gave the layer
	Reason string              `json:"reason"`
	Size   int64               `json:"size"`   // bytes of the NARs
	Chance float64             `json:"chance"` // relative chance that an update changes the layer, from 0 to 1
	Paths  []closure.StorePath `json:"paths"`
}

// UpdateCost describes what clients that have one closure must pull for another closure.
// Sizes are bytes of NARs.
type UpdateCost struct {
	From       string         `json:"from"`
	Changed    int64          `json:"changed"` // size of the changed paths; no plan can ship less
	Size       int64          `json:"size"`    // size of the new closure
	Strategies []StrategyCost `json:"strategies"`

	// Ships holds the indices of the layers of this plan that clients must pull.
	Ships []int `json:"ships"`

	this    StrategyCost
	changed map[closure.StorePath]bool
}

// StrategyCost describes what an update costs with one strategy.
type StrategyCost struct {
	Strategy  string  `json:"strategy"`
	Layers    int     `json:"layers"`
	Pulled    int     `json:"pulledLayers"`
	Size      int64   `json:"pulled"` // size of the layers that clients must pull
	Excess    int64   `json:"excess"` // size of the unchanged paths in these layers
	ExcessOf  float64 `json:"excessOfImage"`
	Described string  `json:"description,omitempty"`
}

// ReportPlan describes p, a plan of c.
func ReportPlan(name, platform string, c *closure.Closure, p *plan.Plan, maxLayers int) *PlanReport {
	r := &PlanReport{Closure: name, Platform: platform, Strategy: p.Strategy, MaxLayers: maxLayers, Paths: len(c.Paths), Size: c.NarSize(), closure: c}
	for _, g := range p.Groups {
		r.Layers = append(r.Layers, PlanLayer{Name: g.Name, Reason: g.Reason, Size: g.Size, Chance: g.Chance, Paths: g.Paths})
	}
	return r
}

// Have describes what clients already have before an update.
type Have struct {
	Name    string
	Closure *closure.Closure
	Layers  [][]closure.StorePath // layers of the image that clients have; nil: plan Closure with the strategy that is measured
}

// CostOfUpdate computes what the update from old to c ships with the plan now and with each
// strategy. For each strategy, it plans both closures anew, without an earlier plan.
func CostOfUpdate(old Have, c *closure.Closure, now *plan.Plan, maxLayers int) (*UpdateCost, error) {
	u := &UpdateCost{From: old.Name, Size: c.NarSize(), Ships: []int{}, changed: map[closure.StorePath]bool{}}
	for i := range c.Paths {
		if !sameContent(old.Closure.Info(c.Paths[i].Path), &c.Paths[i]) {
			u.Changed += c.Paths[i].NarSize
			u.changed[c.Paths[i].Path] = true
		}
	}
	before := old.Layers
	if before == nil {
		p, err := plan.New(old.Closure, plan.Options{MaxLayers: maxLayers, Strategy: now.Strategy})
		if err != nil {
			return nil, err
		}
		before = paths(p)
	}
	this := u.cost("this plan", before, old.Closure, c, now)
	this.Described = string(now.Strategy)
	if old.Layers != nil {
		this.Described += ", from the layers of " + old.Name
	}
	u.this, u.Ships = this, append(u.Ships, pulledLayers(before, old.Closure, c, now)...)
	anew := false // whether one of the strategies below has the same cost as this plan
	for _, s := range plan.Strategies {
		o := plan.Options{MaxLayers: maxLayers, Strategy: s}
		a, err := plan.New(old.Closure, o)
		if err != nil {
			return nil, err
		}
		b, err := plan.New(c, o)
		if err != nil {
			return nil, err
		}
		row := u.cost(string(s), paths(a), old.Closure, c, b)
		row.Described = strategyText[s]
		u.Strategies = append(u.Strategies, row)
		anew = anew || s == now.Strategy && row.Pulled == this.Pulled && row.Size == this.Size && row.Layers == this.Layers
	}
	if !anew {
		u.Strategies = slices.Insert(u.Strategies, 0, this)
	}
	return u, nil
}

var strategyText = map[plan.Strategy]string{
	plan.StrategyCost:        "nixoci, both planned anew",
	plan.StrategySize:        "each big path alone",
	plan.StrategyPopularity:  "nix2container",
	plan.StrategyDockerTools: "nixpkgs since 24.11",
	plan.StrategyOne:         "a single layer",
}

func paths(p *plan.Plan) (groups [][]closure.StorePath) {
	for _, g := range p.Groups {
		groups = append(groups, g.Paths)
	}
	return groups
}

// cost computes what clients must pull for p if they already have the layers before.
func (u *UpdateCost) cost(name string, before [][]closure.StorePath, old, now *closure.Closure, p *plan.Plan) StrategyCost {
	s := StrategyCost{Strategy: name, Layers: len(p.Groups)}
	for _, i := range pulledLayers(before, old, now, p) {
		s.Pulled++
		s.Size += p.Groups[i].Size
	}
	s.Excess = s.Size - u.Changed
	if u.Size > 0 {
		s.ExcessOf = float64(s.Excess) / float64(u.Size)
	}
	return s
}

// pulledLayers lists the groups of p that clients must pull if they already have the layers
// before. A client has a group if one of its layers has the same paths with the same content.
func pulledLayers(before [][]closure.StorePath, old, now *closure.Closure, p *plan.Plan) (pulled []int) {
	have := make(map[string]bool, len(before))
	for _, group := range before {
		have[layerKey(group)] = true
	}
	for i, g := range p.Groups {
		same := have[layerKey(g.Paths)] && !slices.ContainsFunc(g.Paths, func(p closure.StorePath) bool { return !sameContent(old.Info(p), now.Info(p)) })
		if !same {
			pulled = append(pulled, i)
		}
	}
	return pulled
}

func layerKey(paths []closure.StorePath) string {
	all := make([]string, len(paths))
	for i, p := range paths {
		all[i] = p.Base()
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// WriteText writes the table of layers. If all is true, it also lists the paths of every
// layer.
func (r *PlanReport) WriteText(p *terminal.Printer, all bool) error {
	title := r.Closure
	if r.Platform != "" {
		title += " (" + r.Platform + ")"
	}
	p.Printf("%s\n%s in %s, %s, strategy %s\n\n", title, human.Count(r.Paths, "store path"), human.Count(len(r.Layers), "layer"), human.Bytes(r.Size), r.Strategy)
	if b := r.Base; b != nil {
		p.Printf("below them %s from the base image %s, %s compressed\n\n", human.Count(b.Count, "layer"), b.BaseInfo, human.Bytes(b.Size))
	}
	rows := [][]string{{"LAYER", "SIZE", "PATHS", "CHANGES", "WHY", "WHAT"}}
	for i, l := range r.Layers {
		why := l.Reason
		if l.Name != "" {
			why = l.Name + ": " + why
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), human.Bytes(l.Size), strconv.Itoa(len(l.Paths)), chanceText(l.Chance), why, r.biggest(l)})
	}
	p.Table("", rows)
	p.Printf("\nSIZE is before compression. CHANGES says how often an update changes some path of the layer.\n")
	if all {
		for i, l := range r.Layers {
			p.Printf("\nLayer %d:\n", i+1)
			for _, path := range l.Paths {
				p.Printf("  %s\n", path)
			}
		}
	}
	if u := r.Against; u != nil {
		p.Printf("\nUpdate from %s: %s of %s changed, the least that can be pulled\n\n", u.From, human.Bytes(u.Changed), human.Bytes(u.Size))
		rows := [][]string{{"PLAN", "LAYERS", "PULLED", "SIZE", "UNCHANGED IN THEM", "OF THE IMAGE", ""}}
		for _, s := range u.Strategies {
			rows = append(rows, []string{s.Strategy, strconv.Itoa(s.Layers), strconv.Itoa(s.Pulled), human.Bytes(s.Size), human.Bytes(s.Excess), percent(s.Excess, u.Size), s.Described})
		}
		p.Table("", rows)
	}
	return p.Err()
}

// biggest names the two largest paths of a layer.
func (r *PlanReport) biggest(l PlanLayer) string {
	return biggestNames(r.closure, l.Paths)
}

func biggestNames(c *closure.Closure, paths []closure.StorePath) string {
	var all []string
	for _, p := range bySize(c, paths) {
		all = append(all, p.Name())
	}
	return list(all, 2)
}

// bySize sorts paths from the largest to the smallest.
func bySize(c *closure.Closure, paths []closure.StorePath) []closure.StorePath {
	sorted := slices.Clone(paths)
	slices.SortFunc(sorted, func(a, b closure.StorePath) int {
		return cmp.Or(cmp.Compare(sizeOf(c, b), sizeOf(c, a)), cmp.Compare(a, b))
	})
	return sorted
}

// chance is a word for all chances that are at least from.
type chance struct {
	from float64
	word string
}

// chances lists the words for chances, in the table and on the pages. The words are inexact
// on purpose, because the chances are estimates.
var chances = [4]chance{{0, "rarely"}, {0.2, "sometimes"}, {0.45, "often"}, {0.75, "nearly always"}}

// state returns the state for a chance on a page. class is the CSS class of the state.
func (c chance) state(class string) page.Shade {
	return page.Shade{Class: class, Name: c.word, Words: "changes " + c.word}
}

// chanceState returns the index into chances for the chance c.
func chanceState(c float64) int {
	for i := len(chances) - 1; i > 0; i-- {
		if c >= chances[i].from {
			return i
		}
	}
	return 0
}

// chanceText describes a chance in words.
func chanceText(c float64) string { return chances[chanceState(c)].word }
