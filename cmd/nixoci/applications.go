package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/push"
)

// applicationFlags holds the flags for images of applications. They are not allowed for an
// image of a NixOS system.
type applicationFlags struct {
	links                         []string
	shell, certificates, database bool
	users                         []string
	files                         []application.File // files that --spec lists
	noEntrypoint                  bool               // true after --entrypoint ""
}

func (f *applicationFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.links, "link", nil, "directory or file of the closures to show at the same place in the image, such as /bin; can be repeated")
	fl.BoolVar(&f.shell, "sh", false, "link /bin/sh to a shell of the closure")
	fl.BoolVar(&f.certificates, "ca-certificates", false, "link the closure's CA certificates to /etc/ssl/certs")
	fl.BoolVar(&f.database, "nix-database", false, "add a Nix database, so that Nix works in the container")
	fl.StringArrayVar(&f.users, "add-user", nil, "add a user to /etc/passwd: NAME=UID, NAME=UID:GID or NAME=UID:GID:HOME; can be repeated")
}

// given returns the names of the flags that the user set.
func (f *applicationFlags) given() (names []string) {
	for _, flag := range []struct {
		name  string
		given bool
	}{{"--link", len(f.links) > 0}, {"--sh", f.shell}, {"--ca-certificates", f.certificates}, {"--nix-database", f.database}, {"--add-user", len(f.users) > 0}, {`--entrypoint ""`, f.noEntrypoint}, {"files of the specification", len(f.files) > 0}} {
		if flag.given {
			names = append(names, flag.name)
		}
	}
	return names
}

// choices converts the flags to application.Choices. It leaves the field Roots empty; the
// caller sets it.
func (f *applicationFlags) choices() (application.Choices, error) {
	c := application.Choices{Links: f.links, Shell: f.shell, Certificates: f.certificates, Database: f.database, NoEntrypoint: f.noEntrypoint, Files: f.files}
	for _, s := range f.users {
		u, err := application.ParseUser(s)
		if err != nil {
			return c, usageError{fmt.Errorf("--add-user: %w", err)}
		}
		c.Users = append(c.Users, u)
	}
	any := c
	any.Roots = []closure.StorePath{""}
	if err := any.Check(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

// subject describes the content of one image for one platform: the closure of a NixOS system,
// or the closure of one or more applications.
type subject struct {
	input
	roots    []closure.StorePath // the applications, in the order of the arguments; nil for a NixOS system
	platform *ocispec.Platform   // the platform of the applications; nil for a NixOS system
	reader   *application.Reader
}

func (s *subject) isApplication() bool { return s.roots != nil }

// subjects separates applications from NixOS systems, and joins all applications for one
// platform into one subject. The platform of an application can be unknown, for example if
// its files are only data. Such an application goes into the image of every platform.
func (a *app) subjects(ctx context.Context, inputs []input, job *push.Job) ([]subject, error) {
	var all []subject
	var parts, everywhere []subject // parts: applications with a known platform; everywhere: applications without a platform
	for _, in := range inputs {
		if in.toplevel == "" { // a graph with several roots; only the command plan accepts it
			all = append(all, subject{input: in})
			continue
		}
		s := subject{input: in, reader: application.NewReader(ctx, in.source, in.closure)}
		if len(parts)+len(everywhere) > 0 { // reuse the files that an earlier reader has already read
			s.reader = slices.Concat(parts, everywhere)[0].reader.Of(in.source, in.closure)
		}
		is, err := job.IsApplication(ctx, s.reader, in.closure.Info(in.toplevel))
		if err != nil {
			return nil, fmt.Errorf("closure %s: %w", in.arg, err)
		}
		if !is {
			all = append(all, s)
			continue
		}
		s.roots = []closure.StorePath{in.toplevel}
		if s.platform, err = s.platformOf(job); err != nil {
			return nil, fmt.Errorf("closure %s: %w", in.arg, err)
		}
		if s.platform == nil {
			everywhere = append(everywhere, s)
		} else {
			parts = append(parts, s)
		}
	}
	platforms, err := a.applicationPlatforms(parts, everywhere)
	if err != nil {
		return nil, err
	}
	for _, p := range platforms {
		var same []subject
		for _, s := range inOrder(inputs, parts, everywhere) {
			if s.platform == nil || manifest.SamePlatform(*s.platform, p) {
				same = append(same, s)
			}
		}
		joined, err := join(same, p)
		if err != nil {
			return nil, err
		}
		all = append(all, joined)
	}
	return all, nil
}

// inOrder joins lists and sorts the subjects in the order of their arguments.
func inOrder(inputs []input, lists ...[]subject) (all []subject) {
	for _, in := range inputs {
		for _, s := range slices.Concat(lists...) {
			if s.arg == in.arg && s.toplevel == in.toplevel {
				all = append(all, s)
				break
			}
		}
	}
	return all
}

// applicationPlatforms returns each platform of the applications once. If the platforms of
// all applications are unknown, it returns the platforms of --platform.
func (a *app) applicationPlatforms(parts, everywhere []subject) (all []ocispec.Platform, err error) {
	for _, s := range parts {
		if !slices.ContainsFunc(all, func(p ocispec.Platform) bool { return manifest.SamePlatform(p, *s.platform) }) {
			all = append(all, *s.platform)
		}
	}
	if len(all) > 0 || len(everywhere) == 0 {
		return all, nil
	}
	if all, err = a.parsePlatforms(); err != nil || len(all) > 0 {
		return all, err
	}
	return nil, fmt.Errorf("closure %s: %w", everywhere[0].arg, application.ErrNoPlatform(everywhere[0].roots))
}

// join makes one subject of several applications for the same platform.
func join(same []subject, p ocispec.Platform) (subject, error) {
	s := same[0]
	s.platform = &p
	var parts []closure.Part
	var args []string
	s.roots = nil
	for _, other := range same {
		parts = append(parts, closure.Part{Closure: other.closure, Source: other.source})
		args = append(args, other.arg)
		if !slices.Contains(s.roots, other.toplevel) {
			s.roots = append(s.roots, other.toplevel)
		}
		if s.program == "" {
			s.program = other.program
		}
	}
	s.arg = strings.Join(args, " ")
	var err error
	if s.closure, s.source, err = closure.Union(parts...); err != nil {
		return s, err
	}
	s.reader = s.reader.Of(s.source, s.closure)
	return s, nil
}

// platformOf returns the platform of a root. It finds the platform in the argument, the
// derivation or the files. The result is nil if none of these contains a platform.
func (s *subject) platformOf(job *push.Job) (*ocispec.Platform, error) {
	if s.system != "" {
		p, err := manifest.ParsePlatform(s.system)
		return &p, err
	}
	return job.RootPlatform(s.reader, s.closure, s.toplevel)
}

// makeApplication makes the application of s. Its result is the system from which push makes
// an image.
func (s *subject) makeApplication(ctx context.Context, choices application.Choices, job *push.Job) (*manifest.System, error) {
	choices.Roots, choices.Program = s.roots, s.program
	app, err := job.Application(ctx, s.reader, s.closure, choices, s.platform)
	if err != nil {
		return nil, err
	}
	return manifest.NewApplication(s.source, s.closure, app), nil
}

// checkApplicationFlags returns an error for flags that do not apply to the given closures.
func checkApplicationFlags(subjects []subject, f *imageFlags) error {
	var system, application *subject
	for i := range subjects {
		if subjects[i].isApplication() {
			application = &subjects[i]
		} else {
			system = &subjects[i]
		}
	}
	if names := f.application.given(); len(names) > 0 && system != nil {
		return usageError{hint.Add(fmt.Errorf("%s: only for applications, and %s is a NixOS system", strings.Join(names, ", "), system.arg),
			"set it in the configuration, such as users.users and environment.systemPackages")}
	}
	if len(f.init.values) > 0 && application != nil && !slices.Equal(f.init.values, []string{"none"}) {
		return usageError{errors.New("--init: only for NixOS systems, and " + application.arg + " is an application")}
	}
	return nil
}
