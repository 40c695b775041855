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

// defaults are the settings of the config, and how to take each back.
var defaults = []struct {
	name  string
	reset func(*manifest.Settings) string // what it was, "" where it was the default
}{
	{"Entrypoint", func(s *manifest.Settings) string { return take(&s.Entrypoint) }},
	{"Cmd", func(s *manifest.Settings) string { return take(&s.Cmd) }},
	{"Env", func(s *manifest.Settings) string { return take(&s.Env) }},
	{"User", func(s *manifest.Settings) string { return take(&s.User) }},
	{"WorkingDir", func(s *manifest.Settings) string { return take(&s.WorkingDir) }},
	{"StopSignal", func(s *manifest.Settings) string { return take(&s.StopSignal) }},
	{"ExposedPorts", func(s *manifest.Settings) string { return take(&s.Ports) }},
	{"Volumes", func(s *manifest.Settings) string { return take(&s.Volumes) }},
	{"Labels", func(s *manifest.Settings) string { return take(&s.Labels) }},
	{"created", func(s *manifest.Settings) string { return take(&s.Created) }},
	{"annotations", func(s *manifest.Settings) string { return take(&s.Annotations) }},
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
