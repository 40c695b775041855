package manifest

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
)

// settings returns s completed with the runtime configuration of the base: docs/format.md,
// 8.5. If there is no base, or its config is not known, settings returns s.
//
// It leaves out settings of the base that belong to the base's program or describe the base
// itself. It also leaves out ONBUILD, because Docker does not pass ONBUILD on either.
func (b *Base) settings(sys *System, s Settings) Settings {
	if b == nil || b.Config == nil {
		return s
	}
	c := b.Config
	if s.Entrypoint == nil && sys.App.Start == "" && !sys.App.NoEntrypoint {
		if len(c.Entrypoint) > 0 {
			s.Entrypoint = slices.Clone(c.Entrypoint)
		}
		if s.Healthcheck == nil {
			s.Healthcheck = c.Healthcheck
		}
		s.StopSignal = cmp.Or(s.StopSignal, c.StopSignal)
		if s.Cmd == nil {
			s.Cmd = slices.Clone(c.Cmd)
		}
	}
	s.Env = mergeEnv(b.env(sys), s.Env)
	s.User = cmp.Or(s.User, c.User)
	s.Shell = c.Shell
	if s.WorkingDir == "" && c.WorkingDir != "" {
		s.WorkingDir = cleanDirectory(c.WorkingDir)
	}
	s.Ports = slices.Concat(s.Ports, slices.Sorted(maps.Keys(c.ExposedPorts)))
	s.Volumes = slices.Clone(s.Volumes)
	for _, v := range slices.Sorted(maps.Keys(c.Volumes)) {
		if dir := cleanDirectory(v); dir != "/" {
			s.Volumes = append(s.Volumes, dir)
		}
	}
	labels := map[string]string{}
	for k, v := range c.Labels {
		if !describesImage(k) && validateKey("label", k, v) == nil {
			labels[k] = v
		}
	}
	maps.Copy(labels, s.Labels)
	s.Labels = labels
	return s
}

// env returns the environment variables of the base. In PATH, the directories of the
// application come before those of the base.
func (b *Base) env(sys *System) []string {
	env := sys.defaultEnv()
	for _, e := range b.Config.Env {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case validateEnv(e) != nil:
		case name == "PATH" && value != "":
			env = mergeEnv(env, []string{"PATH=" + strings.Join(append(slices.Clone(sys.App.Path), value), ":")})
		case name != "PATH":
			env = mergeEnv(env, []string{e})
		}
	}
	return env
}

// describesImage reports whether a label describes the base image itself, such as
// its title or source. Such a label is wrong for the new image.
func describesImage(label string) bool {
	return slices.ContainsFunc([]string{reservedPrefix, "org.opencontainers.image.", "org.label-schema."}, func(p string) bool {
		return strings.HasPrefix(label, p)
	})
}

// cleanDirectory returns dir as an absolute clean path, because Docker also accepts paths in
// other forms.
func cleanDirectory(dir string) string { return path.Clean("/" + dir) }
