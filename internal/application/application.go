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

// Choices are what a person decides of an application's image, beside the
// settings that every image has. They are recorded in the image.
type Choices struct {
	Roots        []closure.StorePath `json:"roots"`                  // the first names the image
	Program      string              `json:"program,omitempty"`      // name in bin of what starts; "": the only one
	NoEntrypoint bool                `json:"noEntrypoint,omitempty"` // the command starts, and whoever gives another starts that
	Links        []string            `json:"links,omitempty"`        // directories or files of the roots that the image shows at the same place
	Shell        bool                `json:"shell,omitempty"`        // /bin/sh is the closure's shell
	Certificates bool                `json:"certificates,omitempty"` // the closure's certificates are where programs look
	Database     bool                `json:"database,omitempty"`     // the image has a Nix database
	Users        []User              `json:"users,omitempty"`        // beside root and nobody
	Files        []File              `json:"files,omitempty"`        // with owners, in a layer of their own
}

// Application is what [New] made of choices and a closure.
type Application struct {
	Choices
	Platform ocispec.Platform
	Start    string      // the program that starts by default; "" where there is none, and the entrypoint is a setting
	First    string      // what the first word of the entrypoint means, where that is a name below a root
	Path     []string    // directories of programs, in the store
	Entries  []RootEntry // at the root of the file system, sorted by name
	Placed   []Placed    // of the files layer, sorted by name
}

// StartSettings are the parts of an image's settings that must fit the closure.
type StartSettings struct {
	Entrypoint []string // nil: the program; without an entrypoint the command
	User       string
	Based      bool `json:",omitempty"` // a base image is below, of which no file is known
}

// Check refuses choices that no closure fits. It reads nothing.
func (c *Choices) Check() error {
	if len(c.Roots) == 0 {
		return errors.New("application: no root")
	}
	for i, r := range c.Roots {
		if slices.Contains(c.Roots[:i], r) {
			return fmt.Errorf("application: %s is there twice", r)
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

// New makes an application of c. platform is the one that is stated, nil where
// nobody states one. Nothing but c, s, platform and the closure's files is
// asked: it is a function of these.
func New(ctx context.Context, src closure.Source, c *closure.Closure, choices Choices, s StartSettings, platform *ocispec.Platform) (*Application, error) {
	return NewReader(ctx, src, c).New(choices, s, platform)
}

// New is the function of the same name.
func (r *Reader) New(choices Choices, s StartSettings, platform *ocispec.Platform) (*Application, error) {
	if err := choices.Check(); err != nil {
		return nil, err
	}
	if s.Based {
		if err := choices.checkBased(); err != nil {
			return nil, err
		}
	}
	for _, root := range choices.Roots {
		if r.closure.Info(root) == nil {
			return nil, fmt.Errorf("application: root %s is not in the closure", root)
		}
	}
	app := &Application{Choices: choices}
	if err := r.fill(app, s.Based); err != nil {
		return nil, err
	}
	starts, err := r.start(app, s)
	if err != nil {
		return nil, err
	}
	if !s.Based { // else its users count
		if err := r.checkRunAs(app, s.User); err != nil {
			return nil, err
		}
	}
	app.Platform, err = r.platform(app.Roots, starts, platform)
	return app, err
}

// start finds out what app starts, and returns the file behind it; no file where
// only the base can have it.
func (r *Reader) start(app *Application, s StartSettings) (starts place, err error) {
	app.Start, err = r.program(app.Roots, app.Program)
	if s.Entrypoint == nil {
		if s.Based && errors.Is(err, errNoProgram) {
			return place{}, nil // the base's own, if it has one
		}
		if err != nil {
			return place{}, err
		}
		p, name, _ := splitStorePath(app.Start)
		return r.find(p, name)
	}
	// What would start without the setting is of interest to whoever compares;
	// that nothing would is not.
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

// fill adds what is at the root of the file system.
func (r *Reader) fill(app *Application, based bool) error {
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
	if err := app.checkEntries(); err != nil {
		return err
	}
	if based {
		if err := app.checkBasedEntries(); err != nil {
			return err
		}
	}
	return r.place(app, based)
}

// platform is the one that is stated, which must not contradict the program,
// else the program's, else the roots'.
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

// ErrNoPlatform is the error about roots of which nothing says for which
// platform they are.
func ErrNoPlatform(roots []closure.StorePath) error {
	return hint.Add(fmt.Errorf("%s: no file says for which platform it is", some(texts(roots))),
		"state it: --platform linux/amd64, or x86_64-linux="+string(roots[0]))
}

// readFile reads a small file of the closure, through links.
func (r *Reader) readFile(p closure.StorePath, name string) ([]byte, error) {
	at, err := r.find(p, name)
	if err != nil {
		return nil, err
	}
	const most = 1 << 20 // bytes
	return closure.ReadFile(r.ctx, r.source, r.closure.Info(at.store), at.name, most)
}

// IsSystem reports whether a root means to be a NixOS system: it has an init, or
// the file system that only a toplevel has.
func (r *Reader) IsSystem(root closure.StorePath) (bool, error) {
	t, err := r.tree(root)
	if err != nil {
		return false, err
	}
	_, init := t.entries["init"]
	return init || t.entries["system"].Kind == closure.KindFile, nil
}

// Key identifies all that [New] depends on: what it made can be kept by it.
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

// keyVersion changes with what New makes of the same input.
const keyVersion = 2
