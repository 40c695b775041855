package verify

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// alternatives searches for the image that has a given recipe. It tries images that differ in one
// thing from the image that was made again.
type alternatives struct {
	doc      *document
	own      int             // number of the draft's first layer in the image, counted from 0
	draft    *manifest.Draft // the image that was made again
	settings manifest.Settings
}

// fits reports whether an image of the layers ls with the settings s has the recipe r.
func (a *alternatives) fits(ls []*layers.Layer, s manifest.Settings, r digest.Digest) bool {
	d, err := manifest.NewDraft(a.draft.System, ls, s)
	return err == nil && d.Recipe == r
}

// checkRecipe compares two recipes: the recipe that the manifest records, and the recipe computed
// from the config. A recipe covers all settings, so the two differ if somebody changed the config
// later. checkRecipe then tries the settings one by one to find the changed setting.
func (a *alternatives) checkRecipe() []Finding {
	recorded := digest.Digest(a.doc.manifest.Annotations[manifest.AnnotationImage])
	if recorded == a.draft.Recipe || recorded == "" { // if the recipe is missing, the check of the manifest reports that
		return nil
	}
	ls := a.draft.Layers
	for _, d := range defaults {
		changed := a.settings
		got := d.reset(&changed)
		if got != "" && a.fits(ls, changed, recorded) {
			return []Finding{a.doc.configPlace().of(CheckConfig, "config: %s is %s, but the image was made with the default", d.name, got)}
		}
	}
	// Perhaps two layers were swapped, so try all pairs.
	for n := range ls {
		for m := n + 1; m < len(ls)-1; m++ {
			swapped := slices.Clone(ls)
			swapped[n], swapped[m] = swapped[m], swapped[n]
			if a.fits(swapped, a.settings, recorded) {
				return []Finding{a.doc.place(a.own+n).of(CheckManifest, "it was swapped with layer %d", a.own+m+1)}
			}
		}
	}
	return []Finding{a.doc.configPlace().of(CheckConfig,
		"config: the image was made with other settings or another order of layers: its recipe is %s, but this config gives %s", recorded, a.draft.Recipe)}
}

// Setting describes a setting that the person who pushed the image chose.
type Setting struct {
	Name  string `json:"name"`  // name in the config
	Value string `json:"value"` // value in JSON
}

// settingBase is the name under which the base image appears among the settings.
const settingBase = "base image"

// chosen returns the settings that differ from the default. They cannot be derived from the layers,
// so only the image itself records them. If defaultOnly is true, these settings are also returned
// as findings.
func (a *alternatives) chosen(defaultOnly bool) (chosen []Setting, found []Finding) {
	if base := a.draft.System.Base; base != nil {
		chosen = append(chosen, Setting{Name: settingBase, Value: base.String()})
		if defaultOnly {
			found = append(found, a.doc.configPlace().of(CheckConfig, "the image has a base image, which is not the default: %s", base))
		}
	}
	for _, d := range defaults {
		changed := a.settings
		value := d.reset(&changed)
		if value == "" {
			continue
		}
		if a.fits(a.draft.Layers, changed, a.draft.Recipe) {
			continue // the setting has its default value
		}
		chosen = append(chosen, Setting{Name: d.name, Value: value})
		if defaultOnly && !d.describes {
			found = append(found, a.doc.configPlace().of(CheckConfig, "config: %s is %s, not the default", d.name, value))
		}
	}
	return chosen, found
}

// defaults lists the settings in the config, and how to reset each of them.
var defaults = []struct {
	name  string
	reset func(*manifest.Settings) string // returns the old value, or "" if the setting had its default value

	describes bool // whether the setting only describes the image and does not affect the container
}{
	{"Entrypoint", func(s *manifest.Settings) string { return take(&s.Entrypoint) }, false},
	{"Cmd", func(s *manifest.Settings) string { return take(&s.Cmd) }, false},
	{"Env", func(s *manifest.Settings) string { return take(&s.Env) }, false},
	{"User", func(s *manifest.Settings) string { return take(&s.User) }, false},
	{"WorkingDir", func(s *manifest.Settings) string { return take(&s.WorkingDir) }, false},
	{"StopSignal", func(s *manifest.Settings) string { return take(&s.StopSignal) }, false},
	{"Healthcheck", func(s *manifest.Settings) string { return take(&s.Healthcheck) }, false},
	{"ExposedPorts", func(s *manifest.Settings) string { return take(&s.Ports) }, false},
	{"Volumes", func(s *manifest.Settings) string { return take(&s.Volumes) }, false},
	{"Labels", func(s *manifest.Settings) string { return take(&s.Labels) }, true},
	{"created", func(s *manifest.Settings) string { return take(&s.Created) }, true},
	{"annotations", func(s *manifest.Settings) string { return take(&s.Annotations) }, true},
}

// take sets *v to its zero value and returns the old value in JSON. If the old value was empty,
// take returns "".
func take[T any](v *T) string {
	old := jsonText(*v)
	var zero T
	if old == jsonText(zero) || old == "[]" || old == "{}" {
		return ""
	}
	*v = zero
	return old
}
