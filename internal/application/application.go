package application

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// Choices are what the user decides about the image of an application, in addition
// to the settings of every image. The image records them.
type Choices struct {
	Roots        []closure.StorePath `json:"roots"`                  // the applications; the first one names the image
	Program      string              `json:"program,omitempty"`      // name of the program to start, in bin; "" if there is only one
	NoEntrypoint bool                `json:"noEntrypoint,omitempty"` // the image has no entrypoint: it starts the command
	Links        []string            `json:"links,omitempty"`        // directories or files of the roots that also appear at the root of the image
	Shell        bool                `json:"shell,omitempty"`        // /bin/sh links to a shell of the closure
	Certificates bool                `json:"certificates,omitempty"` // the CA certificates of the closure are linked to where programs look for them
	Database     bool                `json:"database,omitempty"`     // the image has a Nix database
	Users        []User              `json:"users,omitempty"`        // in addition to root and nobody
	Files        []File              `json:"files,omitempty"`        // files with owners, in a separate layer
}

// Application is the result of [New] for some choices and a closure.
type Application struct {
	Choices
	Platform              ocispec.Platform
	Start                 string      // the program that starts by default; "" if there is none, and then a setting must name the entrypoint
	First                 string      // absolute path of the first word of the entrypoint, if that word is a path below a root
	Path                  []string    // directories with programs, in the store
	Entries               []RootEntry // links at the root of the file system, sorted by name
	PasswdFile, GroupFile []byte      `json:",omitempty"` // with a base image and users: the files of both

	Placed []Placed // files of the files layer, sorted by name
}

// StartSettings are the settings of an image that must fit the closure.
type StartSettings struct {
	Entrypoint []string // nil: the default program; if the image has no entrypoint, the command
	User       string
	Based      bool `json:",omitempty"` // the image has a base image; its files are not known here

	// BaseUsers are the users of the base image, if there are users to add.
	BaseUsers *BaseUsers `json:",omitempty"`
}

// Check refuses choices that are wrong for every closure. It reads no files.
func (c *Choices) Check() error {
	if len(c.Roots) == 0 {
		return errors.New("application: no root")
	}
	for i, r := range c.Roots {
		if slices.Contains(c.Roots[:i], r) {
			return fmt.Errorf("application: %s is given twice", r)
		}
	}
	for i, l := range c.Links {
		if err := checkLink(l); err != nil {
			return err
		}
		if slices.Contains(c.Links[:i], l) {
			return fmt.Errorf("link %q is given twice", l)
		}
	}
	if err := checkFiles(c.Files); err != nil {
		return err
	}
	return checkUsers(c.Users)
}

// New makes an application from choices. platform is the platform that the user
// states, or nil. The result depends only on the arguments and on the files of the
// closure.
func New(ctx context.Context, src closure.Source, c *closure.Closure, choices Choices, s StartSettings, platform *ocispec.Platform) (*Application, error) {
	return NewReader(ctx, src, c).New(choices, s, platform)
}

// New is like the function [New], and uses the files that r has read already.
func (r *Reader) New(choices Choices, s StartSettings, platform *ocispec.Platform) (*Application, error) {
	if err := choices.Check(); err != nil {
		return nil, err
	}
	for _, root := range choices.Roots {
		if r.closure.Info(root) == nil {
			return nil, fmt.Errorf("application: root %s is not in the closure", root)
		}
	}
	app := &Application{Choices: choices}
	if err := r.fill(app, s); err != nil {
		return nil, err
	}
	starts, err := r.start(app, s)
	if err != nil {
		return nil, err
	}
	if !s.Based { // with a base image, the users of the base image count
		if err := r.checkRunAs(app, s.User); err != nil {
			return nil, err
		}
	}
	app.Platform, err = r.platform(app.Roots, starts, platform)
	return app, err
}

// start sets what app starts, and returns the file of the program. It returns no
// file if only the base image can contain the program.
func (r *Reader) start(app *Application, s StartSettings) (starts place, err error) {
	app.Start, err = r.program(app.Roots, app.Program)
	if s.Entrypoint == nil {
		if s.Based && errors.Is(err, errNoProgram) {
			return place{}, nil // the base image may have its own program
		}
		if err != nil {
			return place{}, err
		}
		p, name, _ := splitStorePath(app.Start)
		return r.find(p, name)
	}
	// Start records what would run without this setting, because inspect and verify
	// show the difference. It is no error if nothing would run.
	if err != nil {
		if errors.As(err, new(*ReadError)) {
			return place{}, err
		}
		app.Start = ""
	}
	starts, err = r.starts(s.Entrypoint[0], app)
	if s.Based && errors.Is(err, errNotInImage) {
		return place{}, nil
	}
	return starts, err
}

// fill adds the links at the root of the file system.
func (r *Reader) fill(app *Application, s StartSettings) error {
	for _, root := range app.Roots {
		dir, err := r.find(root, binDir)
		if err = ignoreMissing(err); err != nil {
			return err
		}
		if dir.Kind == closure.KindDirectory {
			app.Path = append(app.Path, path.Join(string(root), binDir))
		}
	}
	for _, dir := range app.Links {
		if err := r.link(app, dir); err != nil {
			return err
		}
	}
	if app.Shell && !app.has(shellFile) {
		target, err := r.provider(app.Roots, shellFile, shellPackages, "shell")
		if err != nil {
			return err
		}
		app.add(RootEntry{shellFile, target})
	}
	if app.Certificates {
		target, err := r.provider(app.Roots, certificatesFile, certificatePackages, "bundle of CA certificates")
		if err != nil {
			return err
		}
		for _, name := range certificateNames {
			app.add(RootEntry{name, target})
		}
	}
	if s.Based && len(app.Users) > 0 {
		if err := app.addUsers(s.BaseUsers); err != nil {
			return err
		}
	}
	if err := app.checkEntries(); err != nil {
		return err
	}
	if s.Based {
		if err := app.checkBasedEntries(); err != nil {
			return err
		}
	}
	return r.place(app, s.Based)
}

// platform returns the platform of the image. The stated platform comes first, and
// must not contradict the program. Then come the platform of the program, and those
// of the roots.
func (r *Reader) platform(roots []closure.StorePath, starts place, stated *ocispec.Platform) (ocispec.Platform, error) {
	p, ok, err := r.runsOn(starts)
	if err != nil {
		return ocispec.Platform{}, err
	}
	if stated != nil {
		if ok && p.Architecture != stated.Architecture {
			return ocispec.Platform{}, hint.Add(fmt.Errorf("%s is a program for %s/%s, not for %s/%s as stated", starts, p.OS, p.Architecture, stated.OS, stated.Architecture),
				"name the store path without a system, and nixoci reads the platform from its programs")
		}
		return *stated, nil
	}
	for _, root := range roots {
		if ok {
			break
		}
		if p, ok, err = r.Platform(root); err != nil {
			return ocispec.Platform{}, err
		}
	}
	if !ok {
		return ocispec.Platform{}, ErrNoPlatform(roots)
	}
	return p, nil
}

// ErrNoPlatform returns the error for roots whose files do not tell a platform.
func ErrNoPlatform(roots []closure.StorePath) error {
	return hint.Add(fmt.Errorf("%s: no file says for which platform it is", some(texts(roots))),
		"state it: --platform linux/amd64, or x86_64-linux="+string(roots[0]))
}

// readFile reads a small file of the closure and follows symlinks.
func (r *Reader) readFile(p closure.StorePath, name string) ([]byte, error) {
	at, err := r.find(p, name)
	if err != nil {
		return nil, err
	}
	const most = 1 << 20 // bytes
	return closure.ReadFile(r.ctx, r.source, r.closure.Info(at.store), at.name, most)
}

// IsSystem reports whether a root is meant to be a NixOS system: it has an init, or
// the file "system", which only a toplevel has.
func (r *Reader) IsSystem(root closure.StorePath) (bool, error) {
	t, err := r.tree(root)
	if err != nil {
		return false, err
	}
	_, init := t.entries["init"]
	return init || t.entries["system"].Kind == closure.KindFile, nil
}

// Key identifies all input of [New]. A cache can store the result under this key.
func Key(c *closure.Closure, choices Choices, s StartSettings, platform *ocispec.Platform) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{keyVersion, choices, s, platform}); err != nil {
		return "", err
	}
	for i := range c.Paths {
		fmt.Fprintf(h, "%s %s\n", c.Paths[i].Path, c.Paths[i].NarHash.Hex())
	}
	return "application " + hex.EncodeToString(h.Sum(nil)), nil
}

// keyVersion must change if New makes a different result from the same input.
const keyVersion = 2
