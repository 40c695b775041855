package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// Page is the inspection of img as a page.
func (in *Inspection) Page(img *Image) *Page {
	page := &Page{Title: in.Name, Subtitle: kindOf(in.MediaType) + " " + in.Digest}
	for i := range in.Platforms {
		page.Tabs = append(page.Tabs, in.Platforms[i].tab(in, img.Platforms[i].Closure))
	}
	return page
}

func (pi *PlatformInspection) tab(in *Inspection, c *closure.Closure) Tab {
	t := Tab{Name: pi.Platform, Low: "seldom changes", High: "changes with most updates"}
	t.Facts = []Fact{
		{"pulled", bytesText(pi.Size)},
		{"layers", fmt.Sprint(len(pi.Layers))},
	}
	if pi.TarSize > 0 {
		t.Facts = append(t.Facts, Fact{"unpacked", bytesText(pi.TarSize)}, Fact{"compressed to", percent(pi.Size, pi.TarSize)})
	}
	if c != nil {
		t.Facts = append(t.Facts, Fact{"store paths", fmt.Sprint(pi.StorePaths)}, Fact{"toplevel", pi.Toplevel.Name()})
		t.Paths = PagePaths(c)
	}
	table := PageTable{Title: "Layers", Head: []string{"layer", "pulled", "unpacked", "ratio", "paths", "what"}, Numbers: []bool{false, true, true, true, true, false}}
	for i := range pi.Layers {
		l := &pi.Layers[i]
		pl := PageLayer{Note: l.Comment, ID: l.Digest, Size: cmp.Or(l.NarSize, l.TarSize, l.Size), Blob: l.Size, Paths: []int{}}
		var paths []closure.StorePath
		for _, p := range l.Paths {
			if c == nil {
				break
			}
			if j, ok := c.Index(p.Path); ok {
				pl.Paths = append(pl.Paths, j)
				paths = append(paths, p.Path)
			}
		}
		pl.Name = layerName(l.Digest, l.System, t.Paths, pl.Paths)
		switch {
		case l.System:
			pl.Heat = 1 // it has the database: it changes with everything
		case len(paths) > 0:
			pl.Heat = Chance(c, paths...)
		}
		t.Layers = append(t.Layers, pl)
		row := []string{shortDigest(l.Digest), bytesText(l.Size), "-", "-", "?", l.Comment}
		if l.TarSize > 0 {
			row[2], row[3] = bytesText(l.TarSize), percent(l.Size, l.TarSize)
		}
		if l.Paths != nil {
			row[4] = fmt.Sprint(len(l.Paths))
		}
		table.Rows = append(table.Rows, row)
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
	return t
}

// layerName is what a person calls a layer: its largest package, and how many
// more paths there are.
func layerName(id string, system bool, paths []PagePath, members []int) string {
	switch {
	case system:
		return "system"
	case len(members) == 0:
		return strings.TrimPrefix(shortDigest(id), "sha256:")
	}
	largest := slices.MaxFunc(members, func(a, b int) int {
		return cmp.Or(cmp.Compare(paths[a].Size, paths[b].Size), cmp.Compare(b, a))
	})
	name := PackageOf(paths[largest].Path).Name
	if len(members) > 1 {
		name += fmt.Sprintf(" +%d", len(members)-1)
	}
	return name
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
func (d *Diff) Page(a, b Side) *Page {
	page := &Page{Title: "What changed", Subtitle: d.A + " → " + d.B}
	for i := range d.Platforms {
		pd := &d.Platforms[i]
		if pd.OnlyIn != "" {
			state := map[string]string{"a": "gone", "b": "new"}[pd.OnlyIn]
			page.Tabs = append(page.Tabs, Tab{Name: pd.Platform, Facts: []Fact{{"platform", state}}})
			continue
		}
		page.Tabs = append(page.Tabs, pd.tab(a.platform(pd.Platform), b.platform(pd.Platform)))
	}
	return page
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

func (pd *PlatformDiff) tab(a, b *SidePlatform) Tab {
	t := Tab{Name: cmp.Or(pd.Platform, "closure"), Low: "there before", High: "new"}
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
		t.Layers, t.Paths = pd.treemap(a, b)
	}
	changes := PageTable{Title: "Packages", Head: []string{"what", "name", "version", "size"}, Numbers: []bool{false, false, false, true}}
	for i := range pd.Packages {
		c := &pd.Packages[i]
		changes.Rows = append(changes.Rows, []string{c.Kind, c.Name, c.versionsText(), deltaText(c.Size)})
	}
	if changes.Rows != nil {
		t.Tables = append(t.Tables, changes)
	}
	if pd.Pull != nil && len(pd.Pull.Layers) > 0 {
		pull := PageTable{Title: "Layers to pull", Head: []string{"layer", "size", "because of"}, Numbers: []bool{false, true, false}}
		ls := slices.Clone(pd.Pull.Layers)
		slices.SortStableFunc(ls, func(x, y PulledLayer) int { return cmp.Compare(y.Size, x.Size) })
		for i := range ls {
			pull.Rows = append(pull.Rows, []string{shortDigest(cmp.Or(ls[i].Digest, ls[i].Recipe)), bytesText(ls[i].Size), ls[i].why(0)})
		}
		t.Tables = append(t.Tables, pull)
	}
	return t
}

// treemap draws b: paths that a has not are hot, layers that are pulled have an
// outline.
func (pd *PlatformDiff) treemap(a, b *SidePlatform) ([]PageLayer, []PagePath) {
	paths := PagePaths(b.Closure)
	for i := range paths {
		p := &b.Closure.Paths[i]
		paths[i].Heat = 0
		if !sameContent(a.Closure.Info(p.Path), p) {
			paths[i].Heat, paths[i].Note = 1, "new"
		}
	}
	pulled := map[string]bool{}
	for _, l := range pd.Pull.Layers {
		pulled[cmp.Or(l.Digest, l.Recipe)] = true
	}
	var ls []PageLayer
	for _, l := range b.Layers {
		id := cmp.Or(l.Digest, l.Recipe)
		pl := PageLayer{Note: l.Comment, ID: id, Size: l.Size, Mark: pulled[id], Paths: []int{}}
		if pl.Mark {
			pl.Note, pl.Heat = l.Comment+", to pull", 1
		}
		var nar int64
		for _, p := range l.Paths {
			if i, ok := b.Closure.Index(p); ok {
				pl.Paths = append(pl.Paths, i)
				nar += paths[i].Size
			}
		}
		pl.Name = layerName(id, l.System, paths, pl.Paths)
		if nar > 0 {
			if l.Digest != "" {
				pl.Blob = l.Size
			}
			pl.Size = nar
		}
		ls = append(ls, pl)
	}
	return ls, paths
}
