package report

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/plan"
)

// PlanPage makes a page about plans, one for each platform.
func PlanPage(reports []*PlanReport) (*page.Page, error) {
	first := reports[0]
	p := &page.Page{Kind: "Which store path lands in which layer", Heading: titleOf(first.closure, first.Closure)}
	for _, r := range reports {
		t, err := r.page()
		if err != nil {
			return nil, err
		}
		if len(reports) > 1 && t.Name != "" {
			p.Lines = append(p.Lines, t.Name+": plan of "+r.Closure)
		}
		p.Platforms = append(p.Platforms, t)
	}
	p.Title = p.Heading + ": layer plan"
	if len(reports) == 1 {
		line := "Plan of " + first.Closure
		if first.Platform != "" {
			line = first.Platform + " · " + line
			p.Title = p.Heading + " (" + first.Platform + "): layer plan"
		}
		p.Lines = []string{line}
	}
	return p, nil
}

func (r *PlanReport) page() (page.Platform, error) {
	t := page.Platform{Name: cmp.Or(r.Platform, filepath.Base(r.Closure))}
	t.Facts = []page.Fact{{Label: "unpacked", Value: human.Bytes(r.Size)}, {Label: "store paths", Value: strconv.Itoa(r.Paths)},
		{Label: "layers", Value: fmt.Sprintf("%d of at most %d", len(r.Layers), r.MaxLayers)}, {Label: "planned by", Value: "strategy " + string(r.Strategy)}}
	if b := r.Base; b != nil {
		t.Facts = append(t.Facts, page.Fact{Label: "from the base image", Value: human.Count(b.Count, "layer")})
	}
	ships := map[int]bool{}
	if u := r.Against; u != nil {
		t.Verdict = fmt.Sprintf("A client that has %s pulls %s of %s: %s of %s. Of that, %s changed: no plan can ship less.",
			shortName(u.From), strconv.Itoa(u.this.Pulled), human.Count(u.this.Layers, "layer"), human.Bytes(u.this.Size), human.Bytes(u.Size), human.Bytes(u.Changed))
		if u.this.Pulled == 0 {
			t.Verdict = fmt.Sprintf("A client that has %s pulls no layer: nothing in them changed.", shortName(u.From))
		}
		for _, i := range u.Ships {
			ships[i] = true
		}
		t.Sections = append(t.Sections, r.costSection())
	}
	t.Sections = append(t.Sections, r.layerSection(ships))
	var err error
	t.Map, err = r.treemap(ships)
	return t, err
}

// treemap colours paths by their chance to change. If there is an update, it adds a second
// colouring for what changed, and a frame for each layer that the update ships.
func (r *PlanReport) treemap(ships map[int]bool) (*page.Map, error) {
	colourings := []page.Colouring{{Name: "Colour: updates change it", States: chanceStates}}
	frame := ""
	if r.Against != nil {
		colourings = append(colourings, page.Colouring{Name: "Colour: in this update", States: changeStates})
		frame = "to pull"
	}
	var layers []mapLayer
	for i, l := range r.Layers {
		layers = append(layers, mapLayer{Layer: page.Layer{Name: l.Name, Why: l.Reason, Size: l.Size, Framed: ships[i]}, paths: l.Paths})
	}
	of := plan.Chances(r.closure)
	m, err := newMap(r.closure, colourings, frame, layers, func(i int) []int {
		states := []int{chanceState(of[i])}
		if r.Against != nil {
			states = append(states, changeState(r.Against.changed[r.closure.Paths[i].Path]))
		}
		return states
	})
	if err == nil {
		m.Note = chanceNote
	}
	return m, err
}

// strategyTitles describes each strategy for readers who do not know its name.
var strategyTitles = map[string]string{
	string(plan.StrategyCost):        "nixoci",
	string(plan.StrategySize):        "Each large path alone",
	string(plan.StrategyPopularity):  "nix2container's way",
	string(plan.StrategyDockerTools): "nixpkgs' dockerTools",
	string(plan.StrategyOne):         "A single layer",
}

func (r *PlanReport) costSection() page.Section {
	u := r.Against
	s := page.Section{Title: "What the update costs, and what it would cost otherwise",
		Intro: "Sizes are unpacked, before compression. Blue is what changed, which every plan ships; orange is what a plan ships although it did not change."}
	t := page.Table{Head: []page.Column{{Name: "Plan"}, {Name: "Layers pulled", Number: true, Minor: true}, {Name: "Unpacked", Number: true},
		{Name: "Unchanged in it", Number: true}, {}}}
	for i := range u.Strategies {
		c := &u.Strategies[i]
		title, note := cmp.Or(strategyTitles[c.Strategy], "This plan"), c.Described
		if c.Strategy != "this plan" {
			note = "strategy " + c.Strategy + map[bool]string{true: ", planned anew"}[c.Strategy == string(plan.StrategyCost)]
		}
		t.Rows = append(t.Rows, page.Row{Cells: []page.Cell{
			{Text: title, Note: note},
			{Text: fmt.Sprintf("%d of %d", c.Pulled, c.Layers), Value: int64(c.Pulled)},
			{Text: human.Bytes(c.Size), Value: c.Size},
			{Text: human.Bytes(c.Excess), Note: percent(c.Excess, u.Size) + " of the image", Value: c.Excess},
			{Bar: &page.Bar{First: u.Changed, Second: c.Excess, Whole: u.Size}},
		}})
	}
	s.Tables = []page.Table{t}
	return s
}

func (r *PlanReport) layerSection(ships map[int]bool) page.Section {
	head := []page.Column{{Name: "Layer", Number: true}, {Name: "Unpacked", Number: true}, {Name: "Paths", Number: true, Minor: true}, {Name: "Layer changes", Whole: true},
		{Name: "Store paths"}, {Name: "Why together", Minor: true}}
	if r.Against != nil {
		head = append(head, page.Column{Name: "Update", Minor: true, Whole: true})
	}
	var several, single []page.Row
	var singleSize int64
	for i := range r.Layers {
		l := &r.Layers[i]
		why := l.Reason
		if l.Name != "" {
			why = l.Name + ": " + why
		}
		row := page.Row{Layer: i + 1, Cells: []page.Cell{
			{Text: strconv.Itoa(i + 1), Value: int64(i + 1)}, {Text: human.Bytes(l.Size), Value: l.Size},
			{Text: strconv.Itoa(len(l.Paths)), Value: int64(len(l.Paths))},
			{Text: chanceText(l.Chance), State: chanceOf(l.Chance).Class},
			{Text: r.biggest(*l), More: pathLines(r.closure, l.Paths)}, {Text: why}}}
		if r.Against != nil {
			row.Cells = append(row.Cells, page.Cell{Text: map[bool]string{true: "to pull", false: "kept"}[ships[i]]})
		}
		if len(l.Paths) == 1 {
			single, singleSize = append(single, row), singleSize+l.Size
		} else {
			several = append(several, row)
		}
	}
	return page.Section{Title: "Layers", Intro: "The lowest comes first. Open a row to see its store paths. A layer changes when any of its paths does, so it can change more often than each of them.",
		Tables: layerTables(head, several, single, singleSize)}
}
