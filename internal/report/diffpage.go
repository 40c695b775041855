package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/page"
)

// Page shows the difference between the sides a and b as a page: the layers and store paths
// of b, and what a client that has a must pull.
func (d *Diff) Page(a, b Side) (*page.Page, error) {
	p := &page.Page{Kind: "What changed, and what a client pulls", Heading: d.heading(a, b), Lines: []string{"From " + d.A, "to " + d.B}}
	p.Title = p.Heading + ": what changed"
	if len(d.Platforms) == 1 && d.Platforms[0].Platform != "" {
		p.Lines = append(p.Lines, d.Platforms[0].Platform)
		p.Title = p.Heading + " (" + d.Platforms[0].Platform + "): what changed"
	}
	for i := range d.Platforms {
		pd := &d.Platforms[i]
		var t page.Platform
		var err error
		switch pd.OnlyIn {
		case "a":
			t = page.Platform{Name: pd.Platform, Verdict: fmt.Sprintf("The platform %s is gone: %s has it, %s does not.", pd.Platform, shortName(d.A), shortName(d.B))}
		case "b":
			t = page.Platform{Name: pd.Platform, Verdict: fmt.Sprintf("The platform %s is new: %s has it, %s does not. A client pulls all of it.", pd.Platform, shortName(d.B), shortName(d.A))}
		default:
			t, err = pd.page(d, a.platform(pd.Platform), b.platform(pd.Platform))
		}
		if err != nil {
			return nil, err
		}
		p.Platforms = append(p.Platforms, t)
	}
	return p, nil
}

// heading names both sides, or only one side if the two names are equal.
func (d *Diff) heading(a, b Side) string {
	title := func(s Side) string {
		for i := range s.Platforms {
			if s.Platforms[i].Closure != nil {
				return titleOf(s.Platforms[i].Closure, s.Name)
			}
		}
		return s.Name
	}
	before, after := title(a), title(b)
	if before == after {
		return after
	}
	return before + " → " + after
}

// platform returns the platform of the side with that name. If there is no such platform, it
// returns the first.
func (s Side) platform(name string) *SidePlatform {
	for i := range s.Platforms {
		if s.Platforms[i].Platform == name {
			return &s.Platforms[i]
		}
	}
	return &s.Platforms[0]
}

func (pd *PlatformDiff) page(d *Diff, a, b *SidePlatform) (page.Platform, error) {
	t := page.Platform{Name: cmp.Or(pd.Platform, "closure"), Verdict: pd.verdict(d)}
	if c := pd.Closure; c != nil {
		t.Facts = append(t.Facts,
			page.Fact{Label: "closure, unpacked", Value: human.Bytes(c.SizeA) + " → " + human.Bytes(c.SizeB) + " (" + deltaText(c.SizeB-c.SizeA) + ")"},
			page.Fact{Label: "store paths", Value: fmt.Sprintf("%d → %d", c.PathsA, c.PathsB)})
	}
	if p := pd.Pull; p != nil {
		label := "to pull, compressed"
		if p.Estimated {
			label = "to pull, unpacked"
		}
		t.Facts = append(t.Facts, page.Fact{Label: label, Value: fmt.Sprintf("%s of %s (%s)", human.Bytes(p.Size), human.Bytes(p.OfSize), percent(p.Size, p.OfSize))},
			page.Fact{Label: "layers to pull", Value: fmt.Sprintf("%d of %d", len(p.Layers), p.OfLayers)})
		if p.Unchanged != nil && *p.Unchanged > 0 {
			t.Facts = append(t.Facts, page.Fact{Label: "of it unchanged, unpacked", Value: human.Bytes(*p.Unchanged)})
		}
	}
	if b.Closure != nil && a.Closure != nil {
		var err error
		if t.Map, err = pd.treemap(a, b); err != nil {
			return page.Platform{}, err
		}
	}
	for _, s := range []page.Section{pd.packageSection(), pd.rebuiltSection(), pd.pullSection(b)} {
		if len(s.Tables) > 0 {
			t.Sections = append(t.Sections, s)
		}
	}
	return t, nil
}

// verdict summarizes the difference in two sentences.
func (pd *PlatformDiff) verdict(d *Diff) string {
	pulls := pd.Pull != nil && len(pd.Pull.Layers) > 0
	if len(pd.Packages) == 0 && !pulls {
		return "Nothing changed: a client that has one version has everything of the other."
	}
	var parts []string
	for _, kind := range kinds {
		n := 0
		for i := range pd.Packages {
			if pd.Packages[i].Kind == kind {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+kind)
		}
	}
	s := "Packages: " + strings.Join(parts, ", ") + "."
	switch {
	case pd.Closure == nil:
		s = "It is unknown which packages changed, because one image has no Nix database."
	case parts == nil:
		s = "No package changed."
	}
	if !pulls {
		return s + " A client pulls nothing."
	}
	p := pd.Pull
	return s + fmt.Sprintf(" A client that has %s pulls %s of %s.", shortName(d.A), human.Bytes(p.Size), human.Bytes(p.OfSize))
}

func (pd *PlatformDiff) packageSection() page.Section {
	t := page.Table{Head: []page.Column{{Name: "What"}, {Name: "Package"}, {Name: "Version"}, {Name: "Unpacked", Number: true}}}
	for i := range pd.Packages {
		if c := &pd.Packages[i]; c.Kind != Rebuilt {
			t.Rows = append(t.Rows, c.row(page.Cell{Text: c.Kind}))
		}
	}
	if t.Rows == nil {
		return page.Section{}
	}
	return page.Section{Title: "Packages", Intro: introOf(pd.Packages), Tables: []page.Table{t}}
}

// introOf returns a sentence for the page that explains the kind [Edited], if changes contain
// it.
func introOf(changes []Change) string {
	if slices.ContainsFunc(changes, func(c Change) bool { return c.Kind == Edited }) {
		return "Edited means: the same version with other content, such as a file, a setting, or something that only the build used."
	}
	return ""
}

func (c *Change) row(first page.Cell) page.Row {
	var more []string
	for _, p := range c.RemovedPaths {
		more = append(more, "- "+string(p))
	}
	for _, p := range c.AddedPaths {
		more = append(more, "+ "+string(p))
	}
	return page.Row{Cells: []page.Cell{first, {Text: c.Name, More: more}, {Text: c.versionsText()}, {Text: deltaText(c.Size), Value: c.Size}}}
}

// rebuiltSection lists each rebuilt package once, under its first cause. This is the cause
// with the most rebuilt packages.
func (pd *PlatformDiff) rebuiltSection() page.Section {
	byCause := map[string][]*Change{}
	n := 0
	for i := range pd.Packages {
		if c := &pd.Packages[i]; c.Kind == Rebuilt {
			n++
			byCause[c.Because[0]] = append(byCause[c.Because[0]], c)
		}
	}
	if n == 0 {
		return page.Section{}
	}
	s := page.Section{Title: "Rebuilt",
		Intro: fmt.Sprintf("%s the same version and a new store path. Each stands under the change that it follows from; of several, under the one with the widest effect.", countHave(n, "package"))}
	causes := sortedKeys(byCause)
	slices.SortStableFunc(causes, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byCause[b]), len(byCause[a])), cmp.Compare(a, b))
	})
	for _, cause := range causes {
		var size int64
		t := page.Table{Head: []page.Column{{Name: "Package"}, {Name: "Version"}, {Name: "Unpacked", Number: true}, {Name: "Also because of", Minor: true}}}
		for _, c := range byCause[cause] {
			size += c.Size
			row := c.row(page.Cell{})
			also := ""
			if len(c.Because) > 1 {
				also = list(c.Because[1:], maxNames)
			}
			t.Rows = append(t.Rows, page.Row{Cells: append(slices.Clone(row.Cells[1:]), page.Cell{Text: also})})
		}
		t.Fold = pd.causeText(cause)
		t.Note = human.Count(len(t.Rows), "package") + ", " + deltaText(size)
		s.Tables = append(s.Tables, t)
	}
	return s
}

func countHave(n int, what string) string {
	if n == 1 {
		return "1 " + what + " has"
	}
	return human.Count(n, what) + " have"
}

// causeText names a cause and describes how it changed.
func (pd *PlatformDiff) causeText(name string) string {
	for i := range pd.Packages {
		if c := &pd.Packages[i]; c.Name == name && c.Kind != Altered {
			switch c.Kind {
			case Changed:
				return name + " " + c.versionsText()
			case Added:
				return name + " was added"
			case Edited, Rebuilt:
				return name + ", which has other content in the same version"
			}
		}
	}
	return name
}

func (pd *PlatformDiff) pullSection(b *SidePlatform) page.Section {
	if pd.Pull == nil || len(pd.Pull.Layers) == 0 {
		return page.Section{}
	}
	at := map[string]int{}
	for i := range b.Layers {
		at[b.Layers[i].id()] = i + 1
	}
	t := page.Table{Head: []page.Column{{Name: "Layer", Number: true}, {Name: "Compressed", Number: true}, {Name: "Changed in it"}, {Name: "Digest", Minor: true, Whole: true}}}
	if pd.Pull.Estimated {
		t.Head[1].Name, t.Head[3].Name = "Unpacked", "Recipe"
	}
	ls := slices.Clone(pd.Pull.Layers)
	slices.SortStableFunc(ls, func(x, y PulledLayer) int { return cmp.Compare(y.Size, x.Size) })
	for i := range ls {
		l := &ls[i]
		id := cmp.Or(l.Digest, l.Recipe)
		cell := page.Cell{Text: l.why(maxNames)}
		if len(l.Because) > 0 && b.Closure != nil {
			cell.More = pathLines(b.Closure, l.Because)
		}
		t.Rows = append(t.Rows, page.Row{Layer: at[id], Cells: []page.Cell{
			{Text: strconv.Itoa(at[id]), Value: int64(at[id])}, {Text: human.Bytes(l.Size), Value: l.Size}, cell, {Text: human.Digest(id)}}})
	}
	return page.Section{Title: "Layers to pull", Intro: "The largest comes first. Open a row to see the store paths that are new, with their sizes unpacked.", Tables: []page.Table{t}}
}

// id returns the digest of the layer, or its recipe if there is no digest.
func (l *SideLayer) id() string { return cmp.Or(l.Digest, l.Recipe) }

// treemap draws b. It gives one colour to store paths that a does not have, and another
// colour to the rest. Layers that a client must pull get a frame.
func (pd *PlatformDiff) treemap(a, b *SidePlatform) (*page.Map, error) {
	pulled := map[string]bool{}
	for _, l := range pd.Pull.Layers {
		pulled[cmp.Or(l.Digest, l.Recipe)] = true
	}
	var layers []mapLayer
	for i := range b.Layers {
		l := &b.Layers[i]
		framed := pulled[l.id()]
		ml := mapLayer{Layer: page.Layer{Framed: framed}, states: []int{changeState(framed)}}
		for _, p := range l.Paths {
			if _, ok := b.Closure.Index(p); ok {
				ml.paths = append(ml.paths, p)
				ml.Size += sizeOf(b.Closure, p)
			}
		}
		ml.Size = cmp.Or(ml.Size, l.TarSize, l.Size) // a layer without known paths is drawn with its own size
		ml.Name = specialLayer(l.System, l.Init, l.Base)
		ml.Holds = specialHolds(l.System, l.Init, l.Base)
		if l.Digest != "" {
			ml.Pull = l.Size
		}
		layers = append(layers, ml)
	}
	return newMap(b.Closure, []page.Colouring{{Name: "Colour:", States: changeStates}}, "to pull", layers, func(i int) []int {
		info := &b.Closure.Paths[i]
		return []int{changeState(!sameContent(a.Closure.Info(info.Path), info))}
	})
}

// specialLayer returns the name of a layer that does not contain store paths, or "" for a
// layer of store paths.
func specialLayer(system, init, base bool) string {
	switch {
	case base:
		return "base image"
	case init:
		return "init layer"
	case system:
		return "system layer"
	}
	return ""
}

// specialHolds describes the content of such a special layer.
func specialHolds(system, init, base bool) string {
	switch {
	case base:
		return "a layer of another tool"
	case init:
		return "nixoci-init, the program at /sbin/init"
	case system:
		return "directories, links and the Nix database"
	}
	return ""
}
