package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/terminal"
)

// One line of output lists at most this many names. The flag --all removes these limits.
const (
	maxNames   = 4
	maxRebuilt = 12
	maxPulled  = 20
)

// WriteText writes d for people. If all is true, it lists everything instead of an overview.
func (d *Diff) WriteText(p *terminal.Printer, all bool) error {
	p.Printf("%s → %s\n", d.A, d.B)
	for i := range d.Platforms {
		pd := &d.Platforms[i]
		switch {
		case pd.OnlyIn == "a":
			p.Printf("\n%s is gone\n", pd.Platform)
			continue
		case pd.OnlyIn == "b":
			p.Printf("\n%s is new\n", pd.Platform)
			continue
		case pd.Platform != "":
			p.Printf("\n%s\n", pd.Platform)
		}
		pd.writeText(p, all)
	}
	if d.Same() {
		p.Printf("\nnothing changed\n")
	}
	return p.Err()
}

func (pd *PlatformDiff) writeText(p *terminal.Printer, all bool) {
	if t := pd.Closure; t != nil {
		p.Printf("  closure  %s → %s (%s), %d → %s\n", human.Bytes(t.SizeA), human.Bytes(t.SizeB), deltaText(t.SizeB-t.SizeA),
			t.PathsA, human.Count(t.PathsB, "store path"))
	} else {
		p.Printf("  closure  not known: an image of another tool\n")
	}
	if pull := pd.Pull; pull != nil {
		about := ""
		if pull.Estimated {
			about = ", before compression"
		}
		p.Printf("  pull     %d of %s, %s of %s (%s)%s\n", len(pull.Layers), human.Count(pull.OfLayers, "layer"),
			human.Bytes(pull.Size), human.Bytes(pull.OfSize), percent(pull.Size, pull.OfSize), about)
		if pull.Unchanged != nil && *pull.Unchanged > 0 {
			p.Printf("           %s of it, before compression, is store paths that did not change\n", human.Bytes(*pull.Unchanged))
		}
	}
	pd.writeCauses(p, all)
	for _, kind := range kinds {
		var rows [][]string
		var short []string
		for _, c := range pd.Packages {
			if c.Kind != kind {
				continue
			}
			short = append(short, c.Name)
			rows = append(rows, []string{c.Name, c.versionsText(), deltaText(c.Size)})
		}
		switch {
		case len(rows) == 0:
		case kind == Rebuilt && !all:
			p.Printf("\n  %s (%d)\n    %s\n", kind, len(rows), list(short, maxRebuilt))
		default:
			p.Printf("\n  %s (%d)\n", kind, len(rows))
			p.Table("    ", rows)
		}
	}
	if pd.Pull != nil && len(pd.Pull.Layers) > 0 {
		pd.Pull.writeLayers(p, all)
	}
}

// writeCauses lists the packages where rebuilds start.
func (pd *PlatformDiff) writeCauses(p *terminal.Printer, all bool) {
	causes := pd.Causes
	if k := slices.IndexFunc(causes, func(c Cause) bool { return c.Rebuilt == 0 }); k >= 0 {
		causes = causes[:k] // the list of changed packages contains the remaining causes
	}
	for i, c := range causes {
		if i == 0 {
			p.Printf("\n  cause\n")
		}
		if i == maxNames && !all {
			p.Printf("    %s\n", otherCauses(causes[i:]))
			break
		}
		p.Printf("    %s%s%s\n", c.Name, c.what(versionList), c.effect(i))
	}
}

// versionList formats versions for people.
func versionList(versions []string) string {
	var out []string
	for _, v := range versions {
		if v == "" {
			v = "ε" // nix store diff-closures also prints ε for a name without a version
		}
		out = append(out, v)
	}
	return strings.Join(out, ", ")
}

// writeLayers lists the layers to pull.
func (pull *PullCost) writeLayers(p *terminal.Printer, all bool) {
	p.Printf("\n  layers to pull\n")
	var rows [][]string
	n, limit := maxNames, maxPulled
	if all {
		n, limit = 0, len(pull.Layers)
	}
	// The largest layer comes first, because it matters most for the cost.
	layers := slices.Clone(pull.Layers)
	slices.SortStableFunc(layers, func(a, b PulledLayer) int { return cmp.Compare(b.Size, a.Size) })
	var rest int64
	for i, l := range layers {
		if i >= limit {
			rest += l.Size
			continue
		}
		rows = append(rows, []string{human.Digest(cmp.Or(l.Digest, l.Recipe)), human.Bytes(l.Size), l.why(n)})
	}
	p.Table("    ", rows)
	if len(layers) > limit {
		p.Printf("    and %d more, %s\n", len(layers)-limit, human.Bytes(rest))
	}
}

// why describes what is new in the layer, with at most n names. If n is 0, it lists all
// names.
func (l *PulledLayer) why(n int) string {
	switch {
	case len(l.Because) > 0:
		return names(l.Because, n)
	case l.moved:
		return l.Comment + ", only known store paths: other layers had them"
	}
	return l.Comment
}

func (c *Change) versionsText() string {
	switch c.Kind {
	case Added, Edited, Rebuilt:
		return strings.Trim(versionList(c.After), "ε")
	case Removed:
		return strings.Trim(versionList(c.Before), "ε")
	case Altered:
		return string(c.AddedPaths[0])
	}
	return versionList(c.Before) + " → " + versionList(c.After)
}
