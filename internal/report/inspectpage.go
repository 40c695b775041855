package report

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/plan"
)

// Page shows the inspection of img as a page.
func (in *Inspection) Page(img *Image) (*page.Page, error) {
	p := &page.Page{Kind: "What is in the image", Heading: in.Name, Lines: []string{in.Name, kindOf(in.MediaType) + " " + in.Digest}}
	for _, ip := range img.Platforms {
		if ip.Closure != nil {
			p.Heading = titleOf(ip.Closure, in.Name)
			break
		}
	}
	p.Title = p.Heading + ": image " + in.Name
	if len(in.Platforms) == 1 {
		p.Lines = slices.Insert(p.Lines, 1, in.Platforms[0].Platform)
		p.Title = p.Heading + " (" + in.Platforms[0].Platform + "): image " + in.Name
	}
	for i := range in.Platforms {
		t, err := in.Platforms[i].page(in, img.Platforms[i].Closure)
		if err != nil {
			return nil, err
		}
		p.Platforms = append(p.Platforms, t)
	}
	return p, nil
}

func (pi *PlatformInspection) page(in *Inspection, c *closure.Closure) (page.Platform, error) {
	t := page.Platform{Name: pi.Platform, Facts: []page.Fact{{Label: "compressed", Value: human.Bytes(pi.Size)}}}
	if pi.TarSize > 0 {
		t.Facts = append(t.Facts, page.Fact{Label: "unpacked", Value: human.Bytes(pi.TarSize)}, page.Fact{Label: "ratio", Value: percent(pi.Size, pi.TarSize)})
	}
	t.Facts = append(t.Facts, page.Fact{Label: "layers", Value: strconv.Itoa(len(pi.Layers))})
	if c != nil {
		t.Facts = append(t.Facts, page.Fact{Label: "store paths", Value: strconv.Itoa(pi.StorePaths)})
		var err error
		if t.Map, err = pi.treemap(c); err != nil {
			return page.Platform{}, err
		}
	} else {
		t.Verdict = "No map: the image has no Nix database that says what is in it."
	}
	t.Sections = []page.Section{pi.layerSection(c), attachedSection(in, pi), pi.settingsSection()}
	if s := pi.annotationSection(in); len(s.Tables) > 0 {
		t.Sections = append(t.Sections, s)
	}
	return t, nil
}

func (pi *PlatformInspection) treemap(c *closure.Closure) (*page.Map, error) {
	of := plan.Chances(c)
	var layers []mapLayer
	for i := range pi.Layers {
		l := &pi.Layers[i]
		ml := mapLayer{Layer: page.Layer{Name: specialLayer(l.System, l.Init, l.Base), Holds: specialHolds(l.System, l.Init, l.Base), Pull: l.Size, Size: cmp.Or(l.NarSize, l.TarSize, l.Size)}, states: []int{0}}
		if l.System {
			ml.states[0] = chanceState(1) // every change also changes the Nix database in this layer
		}
		for _, p := range l.Paths {
			if _, ok := c.Index(p.Path); ok {
				ml.paths = append(ml.paths, p.Path)
			}
		}
		layers = append(layers, ml)
	}
	m, err := newMap(c, []page.Colouring{{Name: "Colour: updates change it", States: chanceStates}}, "", layers,
		func(i int) []int { return []int{chanceState(of[i])} })
	if err == nil {
		m.Note = chanceNote
	}
	return m, err
}

func (pi *PlatformInspection) layerSection(c *closure.Closure) page.Section {
	head := []page.Column{{Name: "Layer", Number: true}, {Name: "Compressed", Number: true}, {Name: "Unpacked", Number: true, Minor: true},
		{Name: "Ratio", Number: true, Minor: true}, {Name: "Paths", Number: true, Minor: true}, {Name: "What is in it"}, {Name: "Digest", Minor: true, Whole: true}}
	var several, single []page.Row
	var singleSize int64
	for i := range pi.Layers {
		l := &pi.Layers[i]
		row := page.Row{Layer: i + 1, Cells: []page.Cell{{Text: strconv.Itoa(i + 1), Value: int64(i + 1)}, {Text: human.Bytes(l.Size), Value: l.Size},
			{Text: "-"}, {Text: "-"}, {Text: "?"}, {Text: cmp.Or(l.Comment, "not said")}, {Text: human.Digest(l.Digest)}}}
		if l.TarSize > 0 {
			row.Cells[2] = page.Cell{Text: human.Bytes(l.TarSize), Value: l.TarSize}
			row.Cells[3] = page.Cell{Text: percent(l.Size, l.TarSize), Value: 1000 * l.Size / l.TarSize}
		}
		if l.Paths != nil {
			row.Cells[4] = page.Cell{Text: strconv.Itoa(len(l.Paths)), Value: int64(len(l.Paths))}
			var paths []closure.StorePath
			for _, p := range l.Paths {
				paths = append(paths, p.Path)
			}
			row.Cells[5].More = pathLines(c, paths)
			if !l.System && len(paths) > 0 {
				row.Cells[5].Text = biggestNames(c, paths)
			}
		}
		if holds := specialHolds(l.System, l.Init, false); holds != "" {
			row.Cells[5].Text = specialLayer(l.System, l.Init, false) + ": " + holds
		}
		if len(l.Paths) == 1 && !l.System && !l.Init {
			single, singleSize = append(single, row), singleSize+l.Size
		} else {
			several = append(several, row)
		}
	}
	return page.Section{Title: "Layers", Intro: "The lowest comes first. Open a row to see its store paths, with their sizes unpacked. A client pulls the compressed layer; unpacked is its tar.", Tables: layerTables(head, several, single, singleSize)}
}

// attachedSection lists the documents that are attached to the index and to the platform's
// manifest. Signatures come first.
func attachedSection(in *Inspection, pi *PlatformInspection) page.Section {
	s := page.Section{Title: "Signatures and documents", Intro: "What is attached to the image. Nothing of it was checked here: nixoci verify does that."}
	t := page.Table{Head: []page.Column{{Name: "What"}, {Name: "Of"}, {Name: "What it says"}, {Name: "Digest", Minor: true, Whole: true}}}
	add := func(of string, all []AttachedDocument) {
		for i := range all {
			what, says := all[i].describe()
			t.Rows = append(t.Rows, page.Row{Cells: []page.Cell{{Text: what}, {Text: of}, {Text: says}, {Text: human.Digest(all[i].Digest)}}})
		}
	}
	for _, c := range in.Signatures {
		t.Rows = append(t.Rows, page.Row{Cells: []page.Cell{{Text: "signature"}, {Text: "all platforms"}, {Text: "by " + signerText(c)}, {Text: human.Digest(in.Digest)}}})
	}
	add("all platforms", in.Attached)
	add(pi.Platform, pi.Attached)
	if t.Rows == nil {
		s.Intro = "None: nothing is attached to the image."
		return s
	}
	s.Tables = []page.Table{t}
	return s
}

// known describes a document in one line, if its type is known. For other documents it
// returns "".
func (a *AttachedDocument) known() string {
	what, says := a.describe()
	switch what {
	case "document", "statement", "provenance", "signed statement":
		return ""
	}
	return what + ": " + says
}

// describe returns the kind of a document, and a summary of what the document states.
func (a *AttachedDocument) describe() (what, says string) {
	switch {
	case a.Summary != nil:
		return "verification summary", a.Summary.String() + ", signed by " + a.Signer
	case a.Predicate != "":
		return "signed statement", a.Predicate + ", signed by " + a.Signer
	case a.ArtifactType == attest.ClosureType:
		return "closure", "derivers and signatures of the store paths"
	case strings.HasPrefix(a.ArtifactType, "application/spdx"):
		return "bill of materials", "SPDX"
	case strings.HasPrefix(a.ArtifactType, "application/vnd.cyclonedx"):
		return "bill of materials", "CycloneDX"
	case strings.HasPrefix(a.ArtifactType, "application/vnd.dev.sigstore.bundle"), strings.HasPrefix(a.ArtifactType, "application/vnd.dev.cosign"):
		return "signed statement", a.ArtifactType
	case a.ArtifactType == attest.StatementType:
		what, says = "statement", a.statementText()
		if strings.Contains(says, "slsa.dev/provenance") {
			what = "provenance"
		}
		return what, says
	}
	return "document", a.ArtifactType
}

// settingsSection shows the runtime configuration.
func (pi *PlatformInspection) settingsSection() page.Section {
	t := page.Table{Head: []page.Column{{Name: "Setting"}, {Name: "Value"}}}
	add := func(name, value string) {
		if value != "" {
			t.Rows = append(t.Rows, page.Row{Cells: []page.Cell{{Text: name}, {Text: value}}})
		}
	}
	add("platform", pi.Platform)
	add("manifest", pi.Digest)
	add("toplevel", string(pi.Toplevel))
	if pi.Base != nil {
		add("base image", pi.Base.String())
	}
	if pi.Init != "" {
		add("init", initText(pi.Init))
	}
	add("created", pi.Created)
	var fields map[string]json.RawMessage
	if json.Unmarshal(pi.Config, &fields) == nil {
		for _, k := range sortedKeys(fields) {
			for _, row := range settingRows(k, fields[k]) {
				add(row[0], row[1])
			}
		}
	}
	return page.Section{Title: "Settings", Tables: []page.Table{t}}
}

// settingRows converts a field of the configuration to rows. For a list or map, there is one
// row for each element.
func settingRows(name string, value json.RawMessage) (rows [][2]string) {
	var text string
	var words []string
	var set map[string]struct{}
	var pairs map[string]string
	switch {
	case json.Unmarshal(value, &text) == nil:
		rows = append(rows, [2]string{name, text})
	case json.Unmarshal(value, &words) == nil:
		if name == "Env" {
			for _, w := range words {
				rows = append(rows, [2]string{name, w})
			}
			break
		}
		var quoted []string
		for _, w := range words {
			if w == "" || strings.ContainsAny(w, " \t\n\"'") {
				w = strconv.Quote(w)
			}
			quoted = append(quoted, w)
		}
		rows = append(rows, [2]string{name, strings.Join(quoted, " ")})
	case json.Unmarshal(value, &pairs) == nil:
		for _, k := range sortedKeys(pairs) {
			rows = append(rows, [2]string{name, k + "=" + pairs[k]})
		}
	case json.Unmarshal(value, &set) == nil:
		for _, k := range sortedKeys(set) {
			rows = append(rows, [2]string{name, k})
		}
	default:
		rows = append(rows, [2]string{name, string(value)})
	}
	return rows
}

func (pi *PlatformInspection) annotationSection(in *Inspection) page.Section {
	t := page.Table{Head: []page.Column{{Name: "Of"}, {Name: "Annotation"}, {Name: "Value"}}}
	add := func(of string, all map[string]string) {
		for _, k := range sortedKeys(all) {
			t.Rows = append(t.Rows, page.Row{Cells: []page.Cell{{Text: of}, {Text: k}, {Text: all[k]}}})
		}
	}
	add("all platforms", in.Annotations)
	add(pi.Platform, pi.Annotations)
	if t.Rows == nil {
		return page.Section{}
	}
	return page.Section{Title: "Annotations", Tables: []page.Table{t}}
}
