package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/plan"
)

// Side describes one of the two sides that [Compare] compares: an image, or a closure that
// could become an image.
type Side struct {
	Name      string
	Platforms []SidePlatform
}

// SidePlatform describes one platform of a side.
type SidePlatform struct {
	Platform string           // such as "linux/amd64"; "" for a closure of unknown platform
	Closure  *closure.Closure // closure of the platform; nil for an image without a Nix database
	Layers   []SideLayer
	Planned  bool // true: the layers come from a plan, and their sizes are NAR sizes
}

// SideLayer describes a layer. Digest and Recipe identify it.
type SideLayer struct {
	Digest  string // digest of the blob; "" if the layer was not made
	Recipe  string // recipe of the layer; "" if another tool made it
	Size    int64  // bytes of the blob; for a planned layer, bytes of its NARs
	TarSize int64  // bytes before compression; 0 if unknown
	Comment string
	Paths   []closure.StorePath
	System  bool
	Init    bool
	Base    bool // true: the layer belongs to a base image
}

// SideOfImage returns the Side of an image.
func SideOfImage(img *Image) Side {
	s := Side{Name: img.Name}
	for _, p := range img.Platforms {
		sp := SidePlatform{Platform: manifest.FormatPlatform(p.Platform), Closure: p.Closure}
		for _, l := range p.Layers {
			sp.Layers = append(sp.Layers, SideLayer{Digest: l.Descriptor.Digest.String(), Recipe: l.Recipe,
				Size: l.Descriptor.Size, TarSize: l.TarSize, Comment: l.Comment, Paths: l.Paths, System: l.System, Init: l.Init, Base: l.Base})
		}
		s.Platforms = append(s.Platforms, sp)
	}
	return s
}

// BaseLayers returns how many layers of the named platform belong to a base image.
func (s *Side) BaseLayers(platform string) (n int) {
	for _, p := range s.Platforms {
		if p.Platform != platform {
			continue
		}
		for _, l := range p.Layers {
			if l.Base {
				n++
			}
		}
	}
	return n
}

// SideOfClosure returns the Side of a closure. Its layers are those of plan, compressed with
// comp. The Side has no layer for nixoci-init and no system layer.
func SideOfClosure(name, platform string, c *closure.Closure, plan *plan.Plan, comp layers.Compression) Side {
	sp := SidePlatform{Platform: platform, Closure: c, Planned: true}
	for _, g := range plan.Groups {
		infos := make([]closure.Info, len(g.Paths))
		for i, p := range g.Paths {
			infos[i] = *c.Info(p)
		}
		comment := cmp.Or(g.Name, fmt.Sprintf("%d store paths", len(g.Paths)))
		if len(g.Paths) == 1 {
			comment = "store path " + g.Paths[0].Name()
		}
		sp.Layers = append(sp.Layers, SideLayer{Recipe: layers.NewRecipe(comp, infos).String(), Size: g.Size, Comment: comment, Paths: g.Paths})
	}
	return Side{Name: name, Platforms: []SidePlatform{sp}}
}

// Diff describes what changed from A to B.
type Diff struct {
	A         string         `json:"a"`
	B         string         `json:"b"`
	Platforms []PlatformDiff `json:"platforms"`
}

// PlatformDiff describes what changed for one platform.
type PlatformDiff struct {
	Platform string    `json:"platform,omitempty"`
	OnlyIn   string    `json:"onlyIn,omitempty"` // "a" or "b" if only that side has the platform
	Image    *Sizes    `json:"image,omitempty"`  // bytes of the layers of both images; nil if a side was only planned
	Closure  *Totals   `json:"closure,omitempty"`
	Packages []Change  `json:"packages"`         // sorted by kind, then by name
	Causes   []Cause   `json:"causes,omitempty"` // packages where the change starts
	Pull     *PullCost `json:"pull,omitempty"`
}

// Sizes holds the sizes of the two images. If an image has the same layer twice, the layer is
// counted once.
type Sizes struct {
	A int64 `json:"sizeA"` // bytes
	B int64 `json:"sizeB"`
}

// Totals holds the sizes of the two closures.
type Totals struct {
	PathsA int   `json:"pathsA"`
	PathsB int   `json:"pathsB"`
	SizeA  int64 `json:"narSizeA"` // bytes
	SizeB  int64 `json:"narSizeB"`
}

// The kinds of a change, in the order of the output.
const (
	Changed = "changed" // the version is another one
	Added   = "added"
	Removed = "removed"
	Edited  = "edited"  // same version but another store path, and none of its references changed
	Rebuilt = "rebuilt" // same version but another store path, and one of its references changed
	Altered = "altered" // same store path but another narHash
)

var kinds = []string{Changed, Added, Removed, Edited, Rebuilt, Altered}

// Change describes the changed store paths of one package name.
type Change struct {
	Kind         string              `json:"kind"`
	Name         string              `json:"name"`
	Before       []string            `json:"before,omitempty"` // versions that are gone; "" for a name without a version
	After        []string            `json:"after,omitempty"`  // versions that are new
	Size         int64               `json:"narSizeDelta"`     // bytes
	RemovedPaths []closure.StorePath `json:"removedPaths,omitempty"`
	AddedPaths   []closure.StorePath `json:"addedPaths,omitempty"`

	// Because names the changes that caused a rebuild. The change with the most rebuilt
	// packages comes first. Because is nil for other kinds of change.
	Because []string `json:"because,omitempty"`
}

// PullCost describes what a client that already has A must pull for B.
type PullCost struct {
	Layers    []PulledLayer `json:"layers"` // layers that A does not have, in the order of the image
	Size      int64         `json:"size"`   // bytes of these layers
	OfLayers  int           `json:"ofLayers"`
	OfSize    int64         `json:"ofSize"`
	Estimated bool          `json:"estimated"` // true: the sizes are NAR sizes, because the layers were not made

	// Unchanged is the size, as NARs, of the store paths in Layers that A already has. It is
	// nil if the content of a layer is unknown.
	Unchanged *int64 `json:"unchangedNarSize,omitempty"`
}

// PulledLayer describes a layer that the client must pull.
type PulledLayer struct {
	Digest  string              `json:"digest,omitempty"`
	Recipe  string              `json:"recipe,omitempty"`
	Size    int64               `json:"size"`
	Comment string              `json:"comment,omitempty"`
	Because []closure.StorePath `json:"because,omitempty"` // store paths of the layer that A does not have

	moved bool // true: the layer's content is known, and A has all of it in other layers
}

// Compare lists what changed from a to b, platform by platform. If each side has exactly one
// platform and the platform of one side is unknown, Compare compares these two.
func Compare(a, b Side) (*Diff, error) {
	d := &Diff{A: a.Name, B: b.Name}
	if len(a.Platforms) == 1 && len(b.Platforms) == 1 && (a.Platforms[0].Platform == "" || b.Platforms[0].Platform == "") {
		p := comparePlatform(&a.Platforms[0], &b.Platforms[0])
		p.Platform = cmp.Or(a.Platforms[0].Platform, b.Platforms[0].Platform)
		d.Platforms = []PlatformDiff{p}
		return d, nil
	}
	find := func(s Side, platform string) *SidePlatform {
		for i := range s.Platforms {
			if s.Platforms[i].Platform == platform {
				return &s.Platforms[i]
			}
		}
		return nil
	}
	names := map[string]bool{}
	for _, s := range []Side{a, b} {
		for _, p := range s.Platforms {
			if p.Platform == "" {
				return nil, hint.Add(fmt.Errorf("compare %s with %s: the platform of %s is unknown", a.Name, b.Name, s.Name), "name an image or a closure with a platform, or choose one platform with --platform")
			}
			names[p.Platform] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch pa, pb := find(a, name), find(b, name); {
		case pa == nil:
			d.Platforms = append(d.Platforms, PlatformDiff{Platform: name, OnlyIn: "b"})
		case pb == nil:
			d.Platforms = append(d.Platforms, PlatformDiff{Platform: name, OnlyIn: "a"})
		default:
			p := comparePlatform(pa, pb)
			p.Platform = name
			d.Platforms = append(d.Platforms, p)
		}
	}
	return d, nil
}

// Same reports whether nothing changed.
func (d *Diff) Same() bool {
	return !slices.ContainsFunc(d.Platforms, func(p PlatformDiff) bool {
		return p.OnlyIn != "" || len(p.Packages) > 0 || p.Pull != nil && len(p.Pull.Layers) > 0
	})
}

func comparePlatform(a, b *SidePlatform) PlatformDiff {
	d := PlatformDiff{Packages: []Change{}, Pull: pullCost(a, b)}
	if a.Closure != nil && b.Closure != nil {
		d.Closure = &Totals{len(a.Closure.Paths), len(b.Closure.Paths), a.Closure.NarSize(), b.Closure.NarSize()}
		d.Packages, d.Causes = compareClosures(a.Closure, b.Closure)
	}
	if !a.Planned && !b.Planned {
		d.Image = &Sizes{sizeOfLayers(a.Layers), sizeOfLayers(b.Layers)}
	}
	return d
}

func sizeOfLayers(all []SideLayer) (size int64) {
	seen := map[string]bool{}
	for _, l := range all {
		if !seen[l.Digest] {
			size += l.Size
		}
		seen[l.Digest] = true
	}
	return size
}

func compareClosures(a, b *closure.Closure) ([]Change, []Cause) {
	byName := map[string]*Change{}
	at := func(p closure.StorePath) *Change {
		name := PackageOf(p).Name
		if byName[name] == nil {
			byName[name] = &Change{Name: name}
		}
		return byName[name]
	}
	out := []Change{}
	for i := range a.Paths {
		p := &a.Paths[i]
		switch q := b.Info(p.Path); {
		case q == nil:
			c := at(p.Path)
			c.RemovedPaths = append(c.RemovedPaths, p.Path)
			c.Size -= p.NarSize
		case q.NarHash != p.NarHash:
			out = append(out, Change{Kind: Altered, Name: PackageOf(p.Path).Name, Size: q.NarSize - p.NarSize,
				RemovedPaths: []closure.StorePath{p.Path}, AddedPaths: []closure.StorePath{p.Path}})
		}
	}
	for i := range b.Paths {
		if p := &b.Paths[i]; a.Info(p.Path) == nil {
			c := at(p.Path)
			c.AddedPaths = append(c.AddedPaths, p.Path)
			c.Size += p.NarSize
		}
	}
	for _, c := range byName {
		c.Before, c.After = versions(c.RemovedPaths), versions(c.AddedPaths)
		switch {
		case len(c.RemovedPaths) == 0:
			c.Kind = Added
		case len(c.AddedPaths) == 0:
			c.Kind = Removed
		case slices.Equal(c.Before, c.After):
			c.Kind = Rebuilt
		default:
			c.Kind = Changed
		}
		out = append(out, *c)
	}
	all := causes(a, b, out)
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			strings.Compare(a.Name, b.Name),
			slices.Compare(a.RemovedPaths, b.RemovedPaths),
		)
	})
	return out, all
}

// versions returns the distinct versions of paths, in the order in which Nix sorts versions.
func versions(paths []closure.StorePath) (vs []string) {
	for _, p := range paths {
		vs = append(vs, PackageOf(p).Version)
	}
	slices.SortFunc(vs, func(a, b string) int { return cmp.Or(compareVersions(a, b), strings.Compare(a, b)) })
	return slices.Compact(vs)
}

// pullCost finds the layers of b that a does not have. If the layers of both sides were made,
// it compares digests. Otherwise it compares recipes.
func pullCost(a, b *SidePlatform) *PullCost {
	has := map[string]bool{}
	for _, l := range a.Layers {
		has[l.Digest], has[l.Recipe] = true, true
	}
	delete(has, "")
	cost := &PullCost{Layers: []PulledLayer{}, Estimated: b.Planned}
	known, unchanged := a.Closure != nil && b.Closure != nil, int64(0)
	seen := map[string]bool{} // a client pulls a blob once, even if the image has it twice
	for _, l := range b.Layers {
		id := l.Digest
		if a.Planned || b.Planned {
			id = cmp.Or(l.Recipe, l.Digest)
			if l.System || l.Init || l.Base {
				continue // a plan has no layers of other tools, so the layer cannot be compared
			}
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		cost.OfLayers++
		cost.OfSize += l.Size
		if has[id] {
			continue
		}
		cost.Size += l.Size
		pl := PulledLayer{Digest: l.Digest, Recipe: l.Recipe, Size: l.Size, Comment: l.Comment}
		if known && len(l.Paths) == 0 && !l.System && !l.Init && !l.Base {
			known = false
		}
		for _, p := range l.Paths {
			if a.Closure == nil || b.Closure == nil {
				break
			}
			if info := b.Closure.Info(p); !sameContent(a.Closure.Info(p), info) {
				pl.Because = append(pl.Because, p)
			} else {
				unchanged += info.NarSize
			}
		}
		pl.moved = known && len(l.Paths) > 0 && len(pl.Because) == 0
		cost.Layers = append(cost.Layers, pl)
	}
	if known {
		cost.Unchanged = &unchanged
	}
	return cost
}

func sameContent(a, b *closure.Info) bool { return a != nil && b != nil && a.NarHash == b.NarHash }
