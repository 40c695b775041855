package verify

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// alternatives looks for the image that a recipe is of, among images that differ
// in one thing from the one that was made again.
type alternatives struct {
	doc      *document
	own      int             // number of the first layer of the draft, from 0
	draft    *manifest.Draft // of the image that was made again
	settings manifest.Settings
}

// fits reports whether the image of these layers with these settings has recipe r.
func (a *alternatives) fits(ls []*layers.Layer, s manifest.Settings, r digest.Digest) bool {
	d, err := manifest.NewDraft(a.draft.System, ls, s)
	return err == nil && d.Recipe == r
}

// checkRecipe compares the image's recipe, which covers all settings, with the
// one that its config gives. A config that was changed later has another; which
// of its settings it was is found by trying.
func (a *alternatives) checkRecipe() []Finding {
	said := digest.Digest(a.doc.manifest.Annotations[manifest.AnnotationImage])
	if said == a.draft.Recipe || said == "" { // where it is missing, the manifest differs
		return nil
	}
	ls := a.draft.Layers
	for _, d := range defaults {
		changed := a.settings
		got := d.reset(&changed)
		if got != "" && a.fits(ls, changed, said) {
			return []Finding{a.doc.configPlace().of(CheckConfig, "config: %s is %s, and the image was made with the default", d.name, got)}
		}
	}
	// Two layers in each other's place.
	for n := range ls {
		for m := n + 1; m < len(ls)-1; m++ {
			swapped := slices.Clone(ls)
			swapped[n], swapped[m] = swapped[m], swapped[n]
			if a.fits(swapped, a.settings, said) {
				return []Finding{a.doc.place(a.own+n).of(CheckManifest, "is in the place of layer %d, and that one in its", a.own+m+1)}
			}
		}
	}
	return []Finding{a.doc.configPlace().of(CheckConfig,
		"config: the image was made with other settings or in another order: their recipe is %s, these give %s", said, a.draft.Recipe)}
}

// Setting is one that whoever pushed the image chose.
type Setting struct {
	Name  string `json:"name"`  // as the config has it
	Value string `json:"value"` // JSON
}

// chosen lists the settings that are not the default: nobody can make them again
// but by believing the image. They are findings where the default is asked for.
func (a *alternatives) chosen(defaultOnly bool) (chosen []Setting, found []Finding) {
	if base := a.draft.System.Base; base != nil {
		chosen = append(chosen, Setting{Name: "base image", Value: base.String()})
		if defaultOnly {
			found = append(found, a.doc.configPlace().of(CheckConfig, "it has a base image, %s", base))
		}
	}
	for _, d := range defaults {
		changed := a.settings
		value := d.reset(&changed)
		if value == "" {
			continue
		}
		if a.fits(a.draft.Layers, changed, a.draft.Recipe) {
			continue // it is the default, written down
		}
		chosen = append(chosen, Setting{Name: d.name, Value: value})
		if defaultOnly && !d.describes {
			found = append(found, a.doc.configPlace().of(CheckConfig, "config: %s is %s, not the default", d.name, value))
		}
	}
	return chosen, found
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
