package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// imageFlags holds the flags that describe the image. Every flag that affects the bytes of
// the image is here or in planFlags.
type imageFlags struct {
	compression string
	format      string
	created     string

	env, labels, annotations []string
	describe                 []string
	entrypoint, cmd          []string
	user, workdir            string
	stopSignal               string
	health                   healthFlags
	ports, volumes           []string
	init                     initFlag
	application              applicationFlags
}

func (i *imageFlags) add(f *pflag.FlagSet) {
	f.StringVar(&i.compression, "compression", layers.DefaultCompression().String(), "compression of the layers: gzip, zstd or none, optionally with a level (zstd:7)")
	f.StringVar(&i.format, "format", "oci", "media types of the image: oci or docker")
	f.StringArrayVarP(&i.env, "env", "e", nil, "environment variable; can be repeated")
	f.StringArrayVarP(&i.labels, "label", "l", nil, "label in the image config; can be repeated")
	f.StringArrayVar(&i.annotations, "annotation", nil, "annotation of the manifests and the index; can be repeated")
	f.StringArrayVar(&i.describe, "describe", nil, "describe the image: sets the label and the annotation org.opencontainers.image.NAME; names: "+strings.Join(describeNames, ", ")+"; can be repeated")
	f.StringArrayVar(&i.entrypoint, "entrypoint", nil, "entrypoint; repeat for each word (default /sbin/init, or the program of an application); with \"\" the image has no entrypoint and starts --cmd")
	f.StringArrayVar(&i.cmd, "cmd", nil, "command; repeat for each word")
	f.StringVar(&i.user, "user", "", "user that the container starts as")
	f.StringVar(&i.workdir, "workdir", "", "working directory in the container")
	f.StringVar(&i.stopSignal, "stop-signal", "", "signal that stops the container (default SIGRTMIN+3, for an application none)")
	i.health.add(f)
	f.StringArrayVarP(&i.ports, "port", "p", nil, "port that the container listens on (80, 53/udp); can be repeated")
	f.StringArrayVar(&i.volumes, "volume", nil, "directory in the container that is a volume; can be repeated")
	i.init.add(f, "file with the program to put at /sbin/init instead of nixoci-init; none makes a link to the system's own init; repeat for other platforms")
	i.application.add(f)
	f.StringVar(&i.created, "created", "", "creation time: RFC 3339, or seconds since 1970 (default $SOURCE_DATE_EPOCH, otherwise none)")
}

// settings checks the flags and returns the compression and the image settings.
func (i *imageFlags) settings() (layers.Compression, manifest.Settings, error) {
	i.takeNoEntrypoint()
	s := manifest.Settings{
		Env: i.env, Entrypoint: i.entrypoint, Cmd: i.cmd, User: i.user, WorkingDir: i.workdir,
		StopSignal: i.stopSignal, Ports: i.ports, Volumes: i.volumes,
	}
	fail := func(err error) (layers.Compression, manifest.Settings, error) {
		return layers.Compression{}, manifest.Settings{}, usageError{err}
	}
	comp, err := layers.ParseCompression(i.compression)
	if err != nil {
		err = fmt.Errorf("--compression: %w", err)
		name, _, _ := strings.Cut(i.compression, ":")
		algorithms := []string{layers.Gzip, layers.Zstd, layers.None}
		if near := didYouMean(name, algorithms...); near != "" && !slices.Contains(algorithms, name) {
			err = hint.Add(err, near)
		}
		return fail(err)
	}
	if i.application.noEntrypoint && len(i.cmd) == 0 {
		return fail(hint.Add(errors.New(`--entrypoint "": nothing starts without a command`), "name the program with --cmd"))
	}
	switch i.format {
	case "oci":
	case "docker":
		s.Docker = true
	default:
		return fail(fmt.Errorf("--format %q: not oci or docker", i.format))
	}
	if s.Labels, err = pairs("--label", i.labels); err != nil {
		return fail(err)
	}
	if s.Annotations, err = pairs("--annotation", i.annotations); err != nil {
		return fail(err)
	}
	if s.Healthcheck, err = i.health.check(); err != nil {
		return fail(err)
	}
	if err := i.addDescription(&s); err != nil {
		return fail(err)
	}
	if s.Created, err = created(i.created); err != nil {
		return fail(err)
	}
	if err := s.Validate(comp); err != nil {
		return fail(err)
	}
	return comp, s, nil
}

// describeNames lists the names for --describe. These are the keys of the OCI image spec
// (annotations.md) for facts that the closure does not contain. Only the flag sets them,
// because an image must not depend on the machine that builds it.
var describeNames = []string{"authors", "description", "documentation", "licenses", "revision", "source", "url", "vendor"}

// addDescription copies the values of --describe to the labels, which GHCR reads, and to the
// annotations, which most other tools read.
func (i *imageFlags) addDescription(s *manifest.Settings) error {
	described, err := pairs("--describe", i.describe)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(described)) {
		if !slices.Contains(describeNames, name) {
			help := didYouMean(name, describeNames...)
			if help == "" {
				help = "names: " + strings.Join(describeNames, ", ")
			}
			return hint.Add(fmt.Errorf("--describe %s: unknown", name), help)
		}
		key := "org.opencontainers.image." + name
		for _, m := range []map[string]string{s.Labels, s.Annotations} {
			if v, ok := m[key]; ok && v != described[name] {
				return fmt.Errorf("--describe %s: a label or an annotation %s has another value", name, key)
			}
			m[key] = described[name]
		}
	}
	return nil
}

// takeNoEntrypoint handles --entrypoint "", which means that the image has no entrypoint.
func (i *imageFlags) takeNoEntrypoint() {
	if len(i.entrypoint) == 1 && i.entrypoint[0] == "" {
		i.application.noEntrypoint, i.entrypoint = true, nil
	}
}

func pairs(flag string, in []string) (map[string]string, error) {
	out := make(map[string]string, len(in))
	for _, kv := range in {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%s %q: not NAME=value", flag, kv)
		}
		if _, twice := out[k]; twice {
			return nil, fmt.Errorf("%s %q: %s is given twice", flag, kv, k)
		}
		out[k] = v
	}
	return out, nil
}

// created returns the time of --created. Without this flag it returns the time of
// SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/), and without
// this variable nil. It never reads the clock. A time that cannot be parsed is an error.
func created(flag string) (*time.Time, error) {
	value, from := flag, "--created"
	if value == "" {
		value, from = os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	}
	if value == "" {
		return nil, nil
	}
	t, err := parseTime(from, value)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// parseTime parses the time in a flag or variable: seconds since 1970 or, for a flag, also
// RFC 3339. from is the name of the flag or variable.
func parseTime(from, value string) (t time.Time, err error) {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		t = time.Unix(seconds, 0)
	} else if t, err = time.Parse(time.RFC3339, value); err != nil || !strings.HasPrefix(from, "--") {
		return t, hint.Add(fmt.Errorf("%s %q: not a time", from, value), "give seconds since 1970, or RFC 3339: 2026-01-31T00:00:00Z")
	}
	t = t.UTC()
	if y := t.Year(); y < 1970 || y > 9999 {
		return t, fmt.Errorf("%s %q: the year %d is out of range", from, value, y)
	}
	return t, nil
}
