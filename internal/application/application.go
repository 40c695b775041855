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

// Choices contains what the user decides about the image of an application. The
// settings that every image has are elsewhere. The image records the Choices.
type Choices struct {
	Roots        []closure.StorePath `json:"roots"`                  // the store paths of the applications; the first one gives the image its name
	Program      string              `json:"program,omitempty"`      // name of the program in bin that starts; "" means the only program
	NoEntrypoint bool                `json:"noEntrypoint,omitempty"` // the image has no entrypoint, so the container starts the command
	Links        []string            `json:"links,omitempty"`        // directories or files of the roots that also appear at the root of the image
	Shell        bool                `json:"shell,omitempty"`        // /bin/sh links to a shell of the closure
	Certificates bool                `json:"certificates,omitempty"` // the image has links to the closure's CA certificates, see certificateNames
	Database     bool                `json:"database,omitempty"`     // the image has a Nix database
	Users        []User              `json:"users,omitempty"`        // users in addition to root and nobody
	Files        []File              `json:"files,omitempty"`        // files with owners, in a separate layer
}

// Application is the result of [New] for some choices and a closure.
type Application struct {
	Choices
	Platform              ocispec.Platform
	Start                 string      // path of the program that starts by default; if it is "", a setting must name the entrypoint
	First                 string      // absolute path of the program, if the first word of the entrypoint is a relative path below a root
	Path                  []string    // directories in the store that contain programs
	Entries               []RootEntry // links at the root of the file system, sorted by name
	PasswdFile, GroupFile []byte      `json:",omitempty"` // /etc/passwd and /etc/group with the users of the base image and of the choices; nil without a base image or without such users

	Placed []Placed // files of the files layer, sorted by name
}

// StartSettings contains the settings of an image that New must check against the
// closure.
type StartSettings struct {
	Entrypoint []string // nil means the default program; for an image without an entrypoint, the words of the command
	User       string
	Based      bool `json:",omitempty"` // the image has a base image, whose files this package cannot see

	// BaseUsers contains the users of the base image. New needs it only if the
	// choices add users to a base image.
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

// New is like the function [New], but does not read again what r has already read.
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
	if !s.Based { // with a base image, the user may be one of the base image's users
		if err := r.checkRunAs(app, s.User); err != nil {
			return nil, err
		}
	}
	app.Platform, err = r.platform(app.Roots, starts, platform)
	return app, err
}

// start sets app.Start, and returns the file of the program that the container
// starts. It returns the zero place if only the base image can contain the program.
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
	// app.Start records the program that would run without this setting, because
	// inspect and verify show the difference. If no program would run, that is no
	// error.
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

// fill adds the directories of programs, the links at the root of the file system,
// the users and the files.
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

// platform returns the platform of the image. If the user stated a platform,
// platform returns it, and the program must not contradict it. Otherwise it returns
// the platform of the program, or else of the first root that has one.
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

// ErrNoPlatform returns the error for roots without a file that was built for a
// platform.
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

// IsSystem reports whether a root is meant to be a NixOS system. Such a root has an
// entry "init" or a file "system". Only the toplevel of a NixOS system has this
// file.
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

// keyVersion must change when a new version of nixoci makes another result from the
// same input.
const keyVersion = 2
