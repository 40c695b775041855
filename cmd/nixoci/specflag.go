package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/spec"
)

// specFlag holds the name of a specification: a file that describes the image and replaces
// arguments and flags.
type specFlag struct{ file string }

func (f *specFlag) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.file, "spec", "", "file with an image specification, instead of CLOSURE; flags override the file")
}

// apply copies values from the specification to the flags that the user did not give. It
// returns the CLOSURE arguments. img is nil for a command that makes no image.
func (f *specFlag) apply(fl *pflag.FlagSet, args []string, img *imageFlags, in *closureFlags) ([]string, error) {
	if f.file == "" {
		return args, nil
	}
	if len(args) > 0 {
		return nil, usagef("--spec %s: the file names the closures, so the argument %q is not allowed", f.file, args[0])
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, fmt.Errorf("--spec: %w", err)
	}
	defer file.Close()
	s, err := spec.Decode(file)
	if err != nil {
		// A specification replaces arguments and flags. So nixoci reports an error in it as
		// wrong usage, too.
		return nil, usageError{fmt.Errorf("--spec %s: %w", f.file, err)}
	}
	in.programs = map[closure.StorePath]string{}
	for p, program := range s.Programs {
		in.programs[closure.StorePath(p)] = program
	}
	given := specified{fl}
	var named []string
	for _, l := range s.Layers.Named {
		named = append(named, l.Glob+"="+l.Name)
	}
	set(given, "layer", &in.layers, named)
	if s.Layers.Max != 0 && !fl.Changed("max-layers") {
		in.maxLayers = s.Layers.Max
	}
	given.text("plan-strategy", &in.strategy, s.Layers.Strategy)
	set(given, "from-image", &in.base.images, bases(s))
	if img != nil {
		given.image(img, s)
	}
	return s.Contents, nil
}

// bases returns the base images of a specification in the form of the flag --from-image.
func bases(s *spec.Specification) (all []string) {
	if s.FromImage != "" {
		all = append(all, s.FromImage)
	}
	for _, p := range slices.Sorted(maps.Keys(s.FromImages)) {
		all = append(all, p+"="+s.FromImages[p])
	}
	return all
}

// specified sets flags to values of a specification, unless the user gave these flags.
type specified struct{ flags *pflag.FlagSet }

func (g specified) text(name string, flag *string, value string) {
	if value != "" && !g.flags.Changed(name) {
		*flag = value
	}
}

func set[T any](g specified, name string, flag *[]T, value []T) {
	if len(value) > 0 && !g.flags.Changed(name) {
		*flag = value
	}
}

func (g specified) switched(name string, flag *bool, value bool) {
	if !g.flags.Changed(name) {
		*flag = value
	}
}

// image sets the flags that describe an image.
func (g specified) image(img *imageFlags, s *spec.Specification) {
	pairs := func(m map[string]string) (all []string) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			all = append(all, k+"="+m[k])
		}
		return all
	}
	set(g, "link", &img.application.links, s.Links)
	g.switched("sh", &img.application.shell, s.Shell)
	g.switched("ca-certificates", &img.application.certificates, s.CACerts)
	g.switched("nix-database", &img.application.database, s.NixDatabase)
	var users []string
	for _, u := range s.Users {
		gid := u.UID
		if u.GID != nil {
			gid = *u.GID
		}
		users = append(users, strings.TrimSuffix(fmt.Sprintf("%s=%d:%d:%s", u.Name, u.UID, gid, u.Home), ":"))
	}
	set(g, "add-user", &img.application.users, users)
	for _, f := range s.Files {
		img.application.files = append(img.application.files, application.File(f))
	}
	set(g, "entrypoint", &img.entrypoint, s.Config.Entrypoint)
	if s.Config.Entrypoint != nil && len(s.Config.Entrypoint) == 0 {
		set(g, "entrypoint", &img.entrypoint, []string{""})
	}
	set(g, "cmd", &img.cmd, s.Config.Cmd)
	set(g, "env", &img.env, pairs(s.Config.Env))
	set(g, "label", &img.labels, pairs(s.Config.Labels))
	g.text("user", &img.user, s.Config.User)
	g.text("workdir", &img.workdir, s.Config.WorkingDir)
	g.text("stop-signal", &img.stopSignal, s.Config.StopSignal)
	img.health.take(g, s.Config.Healthcheck)
	set(g, "port", &img.ports, s.Config.Ports)
	set(g, "volume", &img.volumes, s.Config.Volumes)
	set(g, "annotation", &img.annotations, pairs(s.Annotations))
	set(g, "describe", &img.describe, pairs(s.Describe))
	set(g, "init", &img.init.values, s.Init)
	g.text("created", &img.created, s.Created)
	g.text("compression", &img.compression, s.Compression)
	g.text("format", &img.format, s.Format)
}
