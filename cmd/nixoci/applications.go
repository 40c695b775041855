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

// applicationFlags are those that only images of applications have.
type applicationFlags struct {
	links                         []string
	shell, certificates, database bool
	users                         []string
	files                         []application.File // of a specification
	noEntrypoint                  bool               // --entrypoint ""
}

func (f *applicationFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.links, "link", nil, "directory or file of the closures to show at the same place in the image, such as /bin; can be repeated")
	fl.BoolVar(&f.shell, "sh", false, "link /bin/sh to a shell of the closure")
	fl.BoolVar(&f.certificates, "ca-certificates", false, "link the closure's CA certificates to /etc/ssl/certs")
	fl.BoolVar(&f.database, "nix-database", false, "add a Nix database, so that Nix works in the container")
	fl.StringArrayVar(&f.users, "add-user", nil, "add a user to /etc/passwd: NAME=UID, NAME=UID:GID or NAME=UID:GID:HOME; can be repeated")
}

// given are the flags that somebody gave.
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

// choices are what the flags say. Roots are still missing.
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

// subject is what one image is made of: the closure of a NixOS system, or of an
// application's roots, for one platform.
type subject struct {
	input
	roots    []closure.StorePath // of an application, in the order given; nil: a NixOS system
	platform *ocispec.Platform   // of an application
	reader   *application.Reader
}

func (s *subject) isApplication() bool { return s.roots != nil }

// subjects tells applications from NixOS systems, and makes one subject of the
// applications for one platform. An application of which nothing says for which
// platform it is, as data does, goes to all of them.
func (a *app) subjects(ctx context.Context, inputs []input, job *push.Job) ([]subject, error) {
	var all []subject
	var parts, everywhere []subject // applications with and without a platform
	for _, in := range inputs {
		if in.toplevel == "" { // a graph of several roots, which only plan takes
			all = append(all, subject{input: in})
			continue
		}
		s := subject{input: in, reader: application.NewReader(ctx, in.source, in.closure)}
		if len(parts)+len(everywhere) > 0 { // what one has read, the others know
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

// inOrder are the subjects in the order of their arguments.
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

// applicationPlatforms are the platforms that applications are for, each once:
// their own, else the ones that were asked for.
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

// join makes one subject of applications for one platform.
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

// platformOf is what the user, the derivation or the files of a root say; nil
// where they say nothing.
func (s *subject) platformOf(job *push.Job) (*ocispec.Platform, error) {
	if s.system != "" {
		p, err := manifest.ParsePlatform(s.system)
		return &p, err
	}
	return job.RootPlatform(s.reader, s.closure, s.toplevel)
}

// makeApplication describes the application of s to whatever makes images.
func (s *subject) makeApplication(choices application.Choices, job *push.Job) (*manifest.System, error) {
	choices.Roots, choices.Program = s.roots, s.program
	app, err := job.Application(s.reader, s.closure, choices, s.platform)
	if err != nil {
		return nil, err
	}
	return manifest.NewApplication(s.source, s.closure, app), nil
}

// checkApplicationFlags refuses flags that the closures have no use for.
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
