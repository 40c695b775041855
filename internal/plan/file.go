package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// planFileVersion is the version of the plan file format. Decode refuses other versions.
const planFileVersion = 1

// maxPlanFile is the size limit of a plan file: 64 MiB, enough for about 500,000 store paths.
const maxPlanFile = limit.PlanFile // bytes

// File is the content of a plan file. nixoci writes files that list store paths. A user
// may write globs for names instead, and "*" for all other paths.
type File struct {
	Version  int         `json:"nixociPlan"` // planFileVersion
	Strategy Strategy    `json:"strategy,omitempty"`
	Layers   []FileLayer `json:"layers"` // from the lowest
}

// FileLayer is a layer in a plan file.
type FileLayer struct {
	Name   string   `json:"name,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Size   int64    `json:"size,omitempty"`   // bytes of the NARs, for information
	Chance float64  `json:"chance,omitempty"` // relative chance that an update changes the layer, for information
	Paths  []string `json:"paths"`            // store paths, or globs for names
}

// File returns the plan as the content of a plan file.
func (p *Plan) File() *File {
	f := &File{Version: planFileVersion, Strategy: p.Strategy}
	for _, g := range p.Groups {
		l := FileLayer{Name: g.Name, Reason: g.Reason, Size: g.Size, Chance: g.Chance}
		for _, path := range g.Paths {
			l.Paths = append(l.Paths, string(path))
		}
		f.Layers = append(f.Layers, l)
	}
	return f
}

// Encode writes p as a plan file.
func Encode(w io.Writer, p *Plan) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(p.File())
}

// Decode reads a plan file.
func Decode(r io.Reader) (*File, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPlanFile+1))
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if len(data) > maxPlanFile {
		return nil, fmt.Errorf("read plan: more than %d bytes", maxPlanFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	f := &File{}
	if err := dec.Decode(f); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if dec.More() {
		return nil, errors.New("read plan: trailing data after the plan")
	}
	if f.Version != planFileVersion {
		return nil, fmt.Errorf("read plan: version %d; this nixoci reads version %d", f.Version, planFileVersion)
	}
	for i, l := range f.Layers {
		if len(l.Paths) == 0 {
			return nil, fmt.Errorf("read plan: layer %d has no paths", i)
		}
		for _, p := range l.Paths {
			if strings.HasPrefix(p, closure.StoreDir+"/") {
				if _, err := closure.ParseStorePath(p); err != nil {
					return nil, fmt.Errorf("read plan: layer %d: %w", i, err)
				}
			} else if _, err := path.Match(p, ""); err != nil || strings.Contains(p, "/") {
				return nil, fmt.Errorf("read plan: layer %d: %q: neither a store path nor a glob for names", i, p)
			}
		}
	}
	return f, nil
}

// Plan returns the store paths that f lists as a plan for [Options.From]. It leaves out
// globs.
func (f *File) Plan() *Plan {
	p := &Plan{Strategy: f.Strategy}
	for _, l := range f.Layers {
		g := Group{Name: l.Name, Reason: l.Reason}
		for _, s := range l.Paths {
			if strings.HasPrefix(s, closure.StoreDir+"/") {
				g.Paths = append(g.Paths, closure.StorePath(s))
			}
		}
		slices.Sort(g.Paths)
		p.Groups = append(p.Groups, g)
	}
	return p
}

// ErrMismatch is wrapped by the errors that Follow returns if a plan does not fit the
// closure.
var ErrMismatch = errors.New("the plan belongs to another closure")

const followHint = "use --plan-from to keep the layers of the plan for paths that still exist, and to plan the others"

// Follow groups the paths of c exactly as f prescribes. A path goes into the layer that lists
// the path. If no layer lists it, the path goes into the first layer with a glob that matches
// its name. Every path of c must have a layer, and every store path in f must be in c.
func Follow(c *closure.Closure, f *File, maxLayers int) (*Plan, error) {
	if maxLayers <= 0 {
		maxLayers = DefaultMaxLayers
	}
	if len(c.Paths) == 0 {
		return nil, errors.New("plan: the closure is empty")
	}
	g := newGraph(c)
	listed := map[closure.StorePath]int{}
	for k, l := range f.Layers {
		for _, s := range l.Paths {
			if !strings.HasPrefix(s, closure.StoreDir+"/") {
				continue
			}
			p := closure.StorePath(s)
			if c.Info(p) == nil {
				return nil, hint.Add(fmt.Errorf("plan: %s is not in the closure: %w", p, ErrMismatch), followHint)
			}
			if other, twice := listed[p]; twice && other != k {
				return nil, fmt.Errorf("plan: %s is in two layers: %w", p, ErrMismatch)
			}
			listed[p] = k
		}
	}
	bins := make([]*bin, len(f.Layers))
	for k := range bins {
		bins[k] = g.newBin()
	}
	for i := range int32(len(g.infos)) {
		k, ok := listed[g.infos[i].Path]
		if !ok {
			k = slices.IndexFunc(f.Layers, func(l FileLayer) bool {
				return slices.ContainsFunc(l.Paths, func(glob string) bool {
					match, _ := path.Match(glob, g.names[i])
					return match
				})
			})
			if k < 0 {
				return nil, hint.Add(fmt.Errorf("plan: %s has no layer: %w", g.infos[i].Path, ErrMismatch), followHint)
			}
		}
		g.put(bins[k], i)
	}
	p := &Plan{Strategy: f.Strategy}
	for k, b := range bins {
		if len(b.members) == 0 {
			continue
		}
		group := g.group(b, f.Layers[k].Name)
		group.Reason = f.Layers[k].Reason
		if group.Reason == "" {
			group.Reason = "as the plan says"
		}
		p.Groups = append(p.Groups, group)
	}
	if len(p.Groups) > maxLayers || len(p.Groups) > LayerLimit {
		return nil, hint.Add(fmt.Errorf("plan: %d layers, at most %d: %w", len(p.Groups), min(maxLayers, LayerLimit), ErrTooManyLayers), "raise --max-layers")
	}
	return p, nil
}
