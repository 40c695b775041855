package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
)

// Page is the inspection of img as a page.
func (in *Inspection) Page(img *Image) (*Page, error) {
	page := &Page{Title: in.Name, Subtitle: kindOf(in.MediaType) + " " + in.Digest}
	for i := range in.Platforms {
		t, err := in.Platforms[i].tab(in, img.Platforms[i].Closure)
		if err != nil {
			return nil, err
		}
		page.Tabs = append(page.Tabs, t)
	}
	return page, nil
}

func (pi *PlatformInspection) tab(in *Inspection, c *closure.Closure) (Tab, error) {
	t := Tab{Name: pi.Platform, Low: chanceText(0), High: chanceText(1)}
	t.Facts = []Fact{
		{"pulled", bytesText(pi.Size)},
		{"layers", fmt.Sprint(len(pi.Layers))},
	}
	if pi.TarSize > 0 {
		t.Facts = append(t.Facts, Fact{"unpacked", bytesText(pi.TarSize)}, Fact{"compressed to", percent(pi.Size, pi.TarSize)})
	}
	table := PageTable{Title: "Layers", Head: []string{"layer", "pulled", "unpacked", "ratio", "paths", "what"}, Numbers: []int{1, 2, 3, 4}}
	var ls []pageLayer
	var chances []float64
	if c != nil {
		t.Facts = append(t.Facts, Fact{"store paths", fmt.Sprint(pi.StorePaths)}, Fact{"toplevel", pi.Toplevel.Name()})
		chances = plan.Chances(c)
	}
	for i := range pi.Layers {
		l := &pi.Layers[i]
		pl := pageLayer{Reason: bytesText(l.Size) + " compressed", Size: cmp.Or(l.NarSize, l.TarSize, l.Size)}
		for _, p := range l.Paths {
			if c == nil {
				break
			}
			if j, ok := c.Index(p.Path); ok {
				pl.paths = append(pl.paths, p.Path)
				pl.Chance = max(pl.Chance, chances[j])
			}
		}
		if l.Init {
			pl.Name = "init layer"
		}
		if l.System {
			pl.Name, pl.Chance = "system layer", 1 // it has the database: it changes with everything
		}
		ls = append(ls, pl)
		row := []string{shortDigest(l.Digest), bytesText(l.Size), "-", "-", "?", l.Comment}
		if l.TarSize > 0 {
			row[2], row[3] = bytesText(l.TarSize), percent(l.Size, l.TarSize)
		}
		if l.Paths != nil {
			row[4] = fmt.Sprint(len(l.Paths))
		}
		table.Rows, table.Layers = append(table.Rows, row), append(table.Layers, i)
	}
	if c != nil {
		var err error
		if t.Map, err = newPageData(c, ls, chances, chanceWords()); err != nil {
			return Tab{}, err
		}
	}
	t.Tables = []PageTable{table, pi.configTable()}
	attached := PageTable{Title: "Attached", Head: []string{"about", "document"}}
	for i := range in.Attached {
		attached.Rows = append(attached.Rows, []string{"index", in.Attached[i].text()})
	}
	for i := range pi.Attached {
		attached.Rows = append(attached.Rows, []string{pi.Platform, pi.Attached[i].text()})
	}
	if attached.Rows != nil {
		t.Tables = append(t.Tables, attached)
	}
	return t, nil
}

// configTable shows the runtime configuration as it is in the config.
func (pi *PlatformInspection) configTable() PageTable {
	t := PageTable{Title: "Configuration", Head: []string{"field", "value"}, Rows: [][]string{{"manifest", pi.Digest}}}
	if pi.Toplevel != "" {
		t.Rows = append(t.Rows, []string{"toplevel", string(pi.Toplevel)})
	}
	if pi.Created != "" {
		t.Rows = append(t.Rows, []string{"created", pi.Created})
	}
	var fields map[string]any
	if json.Unmarshal(pi.Config, &fields) == nil {
		for _, k := range sortedKeys(fields) {
			v, _ := json.Marshal(fields[k])
			t.Rows = append(t.Rows, []string{k, string(v)})
		}
	}
	for _, k := range sortedKeys(pi.Annotations) {
		t.Rows = append(t.Rows, []string{k, pi.Annotations[k]})
	}
	return t
}

// Page is the difference as a page: b's layers and store paths, with what a
// client that has a pulls. a and b are what was compared.
func (d *Diff) Page(a, b Side) (*Page, error) {
	page := &Page{Title: "What changed", Subtitle: d.A + " → " + d.B}
	for i := range d.Platforms {
		pd := &d.Platforms[i]
		if pd.OnlyIn != "" {
			state := map[string]string{"a": "gone", "b": "new"}[pd.OnlyIn]
			page.Tabs = append(page.Tabs, Tab{Name: pd.Platform, Facts: []Fact{{"platform", state}}})
			continue
		}
		t, err := pd.tab(a.platform(pd.Platform), b.platform(pd.Platform))
		if err != nil {
			return nil, err
		}
		page.Tabs = append(page.Tabs, t)
	}
	return page, nil
}

// platform is the side's platform of that name, or its only one.
func (s Side) platform(name string) *SidePlatform {
	for i := range s.Platforms {
		if s.Platforms[i].Platform == name {
			return &s.Platforms[i]
		}
	}
	return &s.Platforms[0]
}

func (pd *PlatformDiff) tab(a, b *SidePlatform) (Tab, error) {
	t := Tab{Name: cmp.Or(pd.Platform, "closure"), Low: "there before", High: "new", Marked: "to pull"}
	if c := pd.Closure; c != nil {
		t.Facts = append(t.Facts,
			Fact{"closure", bytesText(c.SizeA) + " → " + bytesText(c.SizeB)},
			Fact{"difference", deltaText(c.SizeB - c.SizeA)},
			Fact{"store paths", fmt.Sprintf("%d → %d", c.PathsA, c.PathsB)})
	}
	if p := pd.Pull; p != nil {
		label := "to pull"
		if p.Estimated {
			label = "to pull, before compression"
		}
		t.Facts = append(t.Facts, Fact{label, bytesText(p.Size) + " of " + bytesText(p.OfSize)},
			Fact{"that is", percent(p.Size, p.OfSize)}, Fact{"layers to pull", fmt.Sprintf("%d of %d", len(p.Layers), p.OfLayers)})
	}
	if b.Closure != nil && a.Closure != nil {
		var err error
		if t.Map, err = pd.treemap(a, b); err != nil {
			return Tab{}, err
		}
	}
	changes := PageTable{Title: "Packages", Head: []string{"what", "name", "version", "size"}, Numbers: []int{3}}
	for i := range pd.Packages {
		c := &pd.Packages[i]
		changes.Rows = append(changes.Rows, []string{c.Kind, c.Name, c.versionsText(), deltaText(c.Size)})
	}
	if changes.Rows != nil {
		t.Tables = append(t.Tables, changes)
	}
	if pd.Pull != nil && len(pd.Pull.Layers) > 0 {
		at := map[string]int{}
		for i, l := range b.Layers {
			at[l.id()] = i
		}
		pull := PageTable{Title: "Layers to pull", Head: []string{"layer", "size", "because of"}, Numbers: []int{1}}
		ls := slices.Clone(pd.Pull.Layers)
		slices.SortStableFunc(ls, func(x, y PulledLayer) int { return cmp.Compare(y.Size, x.Size) })
		for i := range ls {
			id := cmp.Or(ls[i].Digest, ls[i].Recipe)
			pull.Rows = append(pull.Rows, []string{shortDigest(id), bytesText(ls[i].Size), ls[i].why(0)})
			pull.Layers = append(pull.Layers, at[id])
		}
		t.Tables = append(t.Tables, pull)
	}
	return t, nil
}

// id is the digest, or else the recipe.
func (l *SideLayer) id() string { return cmp.Or(l.Digest, l.Recipe) }

// treemap draws b: store paths that a has not are hot, layers that are pulled
// have a frame.
func (pd *PlatformDiff) treemap(a, b *SidePlatform) (template.JS, error) {
	fresh := make([]float64, len(b.Closure.Paths))
	for i := range b.Closure.Paths {
		if p := &b.Closure.Paths[i]; !sameContent(a.Closure.Info(p.Path), p) {
			fresh[i] = 1
		}
	}
	pulled := map[string]bool{}
	for _, l := range pd.Pull.Layers {
		pulled[cmp.Or(l.Digest, l.Recipe)] = true
	}
	var ls []pageLayer
	for i := range b.Layers {
		l := &b.Layers[i]
		pl := pageLayer{Size: l.Size, Mark: pulled[l.id()]}
		var nar int64
		for _, p := range l.Paths {
			if j, ok := b.Closure.Index(p); ok {
				pl.paths = append(pl.paths, p)
				pl.Chance = max(pl.Chance, fresh[j])
				nar += b.Closure.Paths[j].NarSize
			}
		}
		if l.Init {
			pl.Name = "init layer"
		}
		if l.System {
			pl.Name = "system layer"
			if pl.Mark {
				pl.Chance = 1
			}
		}
		if pl.Mark {
			pl.Reason = "to pull"
		}
		if l.Digest != "" {
			pl.Reason = strings.Trim(pl.Reason+", "+bytesText(l.Size)+" compressed", ", ")
		}
		pl.Size = cmp.Or(nar, l.Size) // the area, as that of the paths in it
		ls = append(ls, pl)
	}
	return newPageData(b.Closure, ls, fresh, []pageWord{{1, "new"}, {0, "there before"}})
}
