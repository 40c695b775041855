package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/systems"
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

// checkContents returns an error for flags that do not apply to the content of the image.
func (f *applicationFlags) checkContents(contents []systems.Content, init *initFlag) error {
	var system, application *systems.Content
	for i := range contents {
		if contents[i].IsApplication() {
			application = &contents[i]
		} else {
			system = &contents[i]
		}
	}
	if names := f.given(); len(names) > 0 && system != nil {
		return usageError{hint.Add(fmt.Errorf("%s: only for applications, and %s is a NixOS system", strings.Join(names, ", "), system.Arg),
			"set it in the configuration, such as users.users and environment.systemPackages")}
	}
	if len(init.values) > 0 && application != nil && !slices.Equal(init.values, []string{initNone}) {
		return usageError{errors.New("--init: only for NixOS systems, and " + application.Arg + " is an application")}
	}
	return nil
}
