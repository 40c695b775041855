package manifest

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
)

// config is the image config of the image spec, plus Docker's health check. The spec reserves
// the field Healthcheck (config.md), and runtimes read it from OCI and Docker images.
type config struct {
	Created *time.Time `json:"created,omitempty"`
	ocispec.Platform
	Config  runtimeConfig     `json:"config"`
	RootFS  ocispec.RootFS    `json:"rootfs"`
	History []ocispec.History `json:"history"`
}

type runtimeConfig struct {
	ocispec.ImageConfig
	Healthcheck *Healthcheck `json:"Healthcheck,omitempty"`
	Shell       []string     `json:"Shell,omitempty"`
}

// guestHealthcheck runs nixoci-init health. This command does not answer until the container
// has started and built the user's configuration. Until then the engine shows the container
// as starting. A build may take long, so the timeout must be long. There is no start period,
// because engines ignore failures during it: a failed build would stay hidden.
var guestHealthcheck = Healthcheck{
	Interval: 10 * time.Second,
	Timeout:  2 * time.Hour,
	Retries:  2,
}

// newConfig returns the config of sys. The diffIDs of the layers are still missing.
func newConfig(sys *System, ls []*layers.Layer, s *Settings) (c *config, err error) {
	c = &config{
		Created:  created(s),
		Platform: sys.Platform,
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	rc := &c.Config
	rc.Env = mergeEnv(sys.defaultEnv(), s.Env)
	if err := rc.setStart(sys, s); err != nil {
		return nil, err
	}
	rc.User = s.User
	rc.WorkingDir = s.WorkingDir
	if signal := cmp.Or(s.StopSignal, sys.defaultStopSignal()); signal != "" {
		if rc.StopSignal, err = parseSignal(signal); err != nil {
			return nil, err
		}
	}
	for _, p := range s.Ports {
		port, err := parsePort(p)
		if err != nil {
			return nil, err
		}
		rc.ExposedPorts = add(rc.ExposedPorts, port)
	}
	for _, v := range s.Volumes {
		rc.Volumes = add(rc.Volumes, v)
	}
	rc.Labels = sys.described()
	rc.Labels[AnnotationToplevel] = string(sys.Toplevel)
	maps.Copy(rc.Labels, s.Labels)
	if program := sys.healthProgram(); program != "" && slices.Equal(rc.Entrypoint, []string{defaultInit}) {
		h := guestHealthcheck
		h.Test = []string{"CMD", program, "health"}
		rc.Healthcheck = &h
	}
	if s.Healthcheck != nil {
		if err := s.Healthcheck.runsIn(sys); err != nil {
			return nil, err
		}
		rc.Healthcheck = s.Healthcheck
	}
	if sys.Base != nil {
		rc.Shell = slices.Clone(s.Shell)
		c.History = slices.Clone(sys.Base.History)
	}
	for _, l := range ls {
		c.History = append(c.History, ocispec.History{Created: c.Created, CreatedBy: createdBy(l), Comment: historyComment})
	}
	return c, nil
}

// setStart sets the entrypoint and the command. If an application has no entrypoint, the user
// must set a command, which the runtime then starts.
func (rc *runtimeConfig) setStart(sys *System, s *Settings) (err error) {
	rc.Entrypoint, rc.Cmd = slices.Clone(s.Entrypoint), slices.Clone(s.Cmd)
	starts := &rc.Entrypoint
	switch {
	case sys.App != nil && sys.App.NoEntrypoint:
		starts = &rc.Cmd
		if len(rc.Cmd) == 0 {
			return errors.New("no entrypoint and no command: nothing starts")
		}
	case sys.Base != nil && sys.App.Start == "" && rc.Entrypoint == nil && len(rc.Cmd) > 0:
		// Here the base's command starts, and the base has no entrypoint.
	case rc.Entrypoint == nil:
		if rc.Entrypoint, err = sys.defaultEntrypoint(); err != nil {
			return err
		}
	}
	if sys.App != nil && sys.App.First != "" {
		(*starts)[0] = sys.App.First
	}
	return nil
}

// defaultEnv returns the default environment, to which the settings add variables. For an
// application, PATH begins with the directories of its programs.
func (sys *System) defaultEnv() []string {
	if sys.App == nil {
		return defaultEnv
	}
	return []string{"PATH=" + strings.Join(append(slices.Clone(sys.App.Path), "/usr/bin", "/bin"), ":")}
}

func (sys *System) defaultEntrypoint() ([]string, error) {
	switch {
	case sys.App == nil:
		return []string{defaultInit}, nil
	case sys.App.Start == "":
		return nil, errors.New("no program to start")
	}
	return []string{sys.App.Start}, nil
}

// defaultStopSignal returns the stop signal of the format. It returns "" for an application:
// each runtime then uses its own default.
func (sys *System) defaultStopSignal() string {
	if sys.App != nil {
		return ""
	}
	return defaultStopSignal
}

// healthProgram returns the path of the nixoci-init that answers the health check. It returns
// "" if the image contains none.
func (sys *System) healthProgram() string {
	switch {
	case sys.Init != nil:
		return defaultInit
	case sys.Guest:
		return string(sys.Toplevel) + "/" + guestInit
	}
	return ""
}

func add(set map[string]struct{}, key string) map[string]struct{} {
	if set == nil {
		set = map[string]struct{}{}
	}
	set[key] = struct{}{}
	return set
}

// created returns the time for the config, in UTC and whole seconds. nil means that the
// config contains no time.
func created(s *Settings) *time.Time {
	if s.Created == nil {
		return nil
	}
	t := s.Created.UTC().Truncate(time.Second)
	return &t
}

// mergeEnv returns base with the variables of more. A variable of more replaces the variable
// of base with the same name. The others are appended in order. If more sets a name several
// times, the last value wins.
func mergeEnv(base, more []string) []string {
	env := slices.Clone(base)
	for _, e := range more {
		name, _, _ := strings.Cut(e, "=")
		i := slices.IndexFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		if i < 0 {
			env = append(env, e)
		} else {
			env[i] = e
		}
	}
	return env
}

// described returns the annotations org.opencontainers.image.* that follow from the closure
// and the base.
func (sys *System) described() map[string]string {
	m := map[string]string{}
	if sys.Base != nil {
		sys.Base.describe(m)
	}
	name, version := sys.Toplevel.Name(), sys.Version
	if sys.App != nil {
		name, version = closure.SplitName(name)
		if version != "" {
			m[ocispec.AnnotationVersion] = version
		}
		m[ocispec.AnnotationTitle] = name
		return m
	}
	if version != "" {
		m[ocispec.AnnotationVersion] = version
		name = strings.TrimSuffix(name, "-"+version)
	}
	// The name of a toplevel is nixos-system-<host name>-<label>.
	if title := strings.TrimPrefix(name, "nixos-system-"); title != "" {
		m[ocispec.AnnotationTitle] = title
	}
	return m
}

const historyComment = "nixoci" // comment of each history entry: the tool that made the layer

// historyLength is the size limit for the text of a history entry in bytes. The text may come
// from a plan that a user wrote.
const historyLength = 400

// createdBy returns the text of a layer's history entry.
func createdBy(l *layers.Layer) string {
	return clip(cmp.Or(l.Comment, "layer "+l.Recipe.String()), historyLength)
}

// clip shortens s to at most n bytes. It cuts only between characters.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	end := 0
	for i := range s {
		if i > n-len("…") {
			break
		}
		end = i
	}
	return s[:end] + "…"
}
