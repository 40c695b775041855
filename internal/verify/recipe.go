package verify

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// checkRecipe compares the image's recipe, which covers all settings, with the
// one that its config gives. A config that was changed later has another; which
// of its settings it was is found by trying.
func (i *image) checkRecipe(stack []manifest.PackedLayer, s manifest.Settings) error {
	said := digest.Digest(i.m.Annotations[manifest.AnnotationImage])
	if said == i.image.Recipe || said == "" { // where it is missing, the manifest differs
		return nil
	}
	ls := make([]*layers.Layer, len(stack))
	for n, p := range stack {
		ls[n] = p.Layer
	}
	fits := func(ls []*layers.Layer, s manifest.Settings) bool {
		r, err := manifest.ImageRecipe(i.sys, ls, s)
		return err == nil && r == said
	}
	for _, d := range defaults {
		changed := s
		got := d.reset(&changed)
		if got != "" && fits(ls, changed) {
			return i.after.add(Finding{Check: CheckConfig, Digest: i.m.Config.Digest,
				What: fmt.Sprintf("config: %s is %s, and the image was made with the default", d.name, got)})
		}
	}
	// Two layers in each other's place.
	for a := range ls {
		for b := a + 1; b < len(ls)-1; b++ {
			swapped := slices.Clone(ls)
			swapped[a], swapped[b] = swapped[b], swapped[a]
			if fits(swapped, s) {
				return i.after.add(Finding{Check: CheckManifest, Layer: a + 1, Digest: stack[a].Digest,
					What: fmt.Sprintf("is in the place of layer %d, and that one in its", b+1)})
			}
		}
	}
	return i.after.add(Finding{Check: CheckConfig, Digest: i.m.Config.Digest,
		What: fmt.Sprintf("config: the image was made with other settings or in another order: their recipe is %s, these give %s", said, i.image.Recipe)})
}

// Setting is one that whoever pushed the image chose.
type Setting struct {
	Name  string `json:"name"`  // as the config has it
	Value string `json:"value"` // JSON
}

// chosen lists the settings that are not the default: nobody can make them again
// but by believing the image.
func (i *image) chosen(stack []manifest.PackedLayer, s manifest.Settings) error {
	ls := make([]*layers.Layer, len(stack))
	for n, p := range stack {
		ls[n] = p.Layer
	}
	for _, d := range defaults {
		changed := s
		value := d.reset(&changed)
		if value == "" {
			continue
		}
		if r, err := manifest.ImageRecipe(i.sys, ls, changed); err == nil && r == i.image.Recipe {
			continue // it is the default, written down
		}
		i.result.Settings = append(i.result.Settings, Setting{d.name, value})
		if !i.v.o.DefaultSettings || d.describes {
			continue
		}
		if err := i.after.add(Finding{Check: CheckConfig, Digest: i.m.Config.Digest,
			What: fmt.Sprintf("config: %s is %s, not the default", d.name, value)}); err != nil {
			return err
		}
	}
	return nil
}

// defaults are the settings of the config, and how to take each back.
var defaults = []struct {
	name  string
	reset func(*manifest.Settings) string // what it was, "" where it was the default

	describes bool // it says something to people, and nothing to a runtime
}{
	{"Entrypoint", func(s *manifest.Settings) string { return take(&s.Entrypoint) }, false},
	{"Cmd", func(s *manifest.Settings) string { return take(&s.Cmd) }, false},
	{"Env", func(s *manifest.Settings) string { return take(&s.Env) }, false},
	{"User", func(s *manifest.Settings) string { return take(&s.User) }, false},
	{"WorkingDir", func(s *manifest.Settings) string { return take(&s.WorkingDir) }, false},
	{"StopSignal", func(s *manifest.Settings) string { return take(&s.StopSignal) }, false},
	{"ExposedPorts", func(s *manifest.Settings) string { return take(&s.Ports) }, false},
	{"Volumes", func(s *manifest.Settings) string { return take(&s.Volumes) }, false},
	{"Labels", func(s *manifest.Settings) string { return take(&s.Labels) }, true},
	{"created", func(s *manifest.Settings) string { return take(&s.Created) }, true},
	{"annotations", func(s *manifest.Settings) string { return take(&s.Annotations) }, true},
}

// take sets v to its zero value and returns what it was, as JSON.
func take[T any](v *T) string {
	old := jsonText(*v)
	var zero T
	if old == jsonText(zero) || old == "[]" || old == "{}" {
		return ""
	}
	*v = zero
	return old
}
