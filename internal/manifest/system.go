package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// Names below a toplevel (nixpkgs, nixos/modules/system/activation/top-level.nix).
const (
	systemInit  = "init"            // stage 2, or systemd itself after a systemd stage 1
	guestInit   = "nixoci-init"     // PID 1 of nixoci's container module
	prepareRoot = "prepare-root"    // stage 2, for a systemd stage 1 to run
	initConfig  = "nixos-init.json" // written for containers only, by the NixOS whose init reads it
)

// Kinds of init, as Facts.Init has them.
const (
	initScript = "script" // starts with #!
	initBinary = "binary"
)

// Facts are what a toplevel's files say of the system: all that nixoci ever
// reads of them to describe an image. They follow from the toplevel's narHash,
// so whoever keeps them by that hash need not open the store again.
type Facts struct {
	System        string `json:"system"`                  // the file system: "x86_64-linux"
	Version       string `json:"version,omitempty"`       // the file nixos-version
	Init          string `json:"init"`                    // "script" or "binary"
	Guest         bool   `json:"guest,omitempty"`         // has nixoci-init
	Systemd       bool   `json:"systemd,omitempty"`       // has the link systemd
	PrepareRoot   bool   `json:"prepareRoot,omitempty"`   // has prepare-root
	ContainerInit bool   `json:"containerInit,omitempty"` // has nixos-init.json
}

// Bounds of what is read of a toplevel, in bytes.
const (
	maxFactFile = 256
	maxInit     = 64 << 20
	maxLinks    = 40 // as the kernel's
)

const toplevelHint = "give config.system.build.toplevel of a NixOS configuration, for instance the result of: nix build .#nixosConfigurations.NAME.config.system.build.toplevel"

// ReadSystem is [ReadFacts] and [NewSystem] in one.
func ReadSystem(ctx context.Context, src closure.Source, c *closure.Closure, toplevel closure.StorePath, stated string) (*System, error) {
	facts, err := ReadFacts(ctx, src, c, toplevel)
	if err != nil {
		return nil, err
	}
	return NewSystem(src, c, toplevel, stated, facts)
}

// ReadFacts walks the toplevel once, and checks its narHash on the way. It
// fails where there is no NixOS system: no init or no system file.
func ReadFacts(ctx context.Context, src closure.Source, c *closure.Closure, toplevel closure.StorePath) (Facts, error) {
	info := c.Info(toplevel)
	if info == nil {
		return Facts{}, fmt.Errorf("read system %s: not in the closure", toplevel)
	}
	v := topVisitor{entries: map[string]topEntry{}}
	if err := closure.Walk(ctx, src, info, &v); err != nil {
		return Facts{}, fmt.Errorf("read system: %w", err)
	}
	notNixOS := func(why string) (Facts, error) {
		return Facts{}, hint.Add(fmt.Errorf("read system %s: not a NixOS system: %s", toplevel, why), toplevelHint)
	}
	system, ok := v.entries["system"]
	if !ok {
		return notNixOS("it has no file system")
	}
	if system.Kind != closure.KindFile || !isSystem(string(system.head)) {
		return notNixOS("its file system does not name one")
	}
	start, ok := v.entries[systemInit]
	if !ok {
		return notNixOS("it has no init")
	}
	if start.Kind == closure.KindSymlink {
		var err error
		if start, err = follow(ctx, src, c, toplevel, systemInit); err != nil {
			return Facts{}, fmt.Errorf("read system %s: init: %w", toplevel, err)
		}
	}
	if start.Kind != closure.KindFile || !start.Executable {
		return notNixOS("its init is not a program")
	}
	f := Facts{System: strings.TrimSpace(string(system.head)), Init: initBinary}
	if bytes.HasPrefix(start.head, []byte("#!")) {
		f.Init = initScript
	}
	if e := v.entries["nixos-version"]; e.Kind == closure.KindFile {
		if s := strings.TrimSpace(string(e.head)); versionPattern.MatchString(s) {
			f.Version = s
		}
	}
	has := func(name string) bool { _, ok := v.entries[name]; return ok }
	f.Guest, f.Systemd, f.PrepareRoot, f.ContainerInit = has(guestInit), has("systemd"), has(prepareRoot), has(initConfig)
	return f, nil
}

// versionPattern is what a NixOS label may have (system.nixos.label).
var versionPattern = regexp.MustCompile(`^[a-zA-Z0-9:_.+-]+$`)

var systemPattern = regexp.MustCompile(`^[a-z0-9_]+-[a-z0-9_]+$`)

func isSystem(s string) bool { return systemPattern.MatchString(strings.TrimSpace(s)) }

// NewSystem describes the system that facts were read of, without opening a
// store file. stated is the Nix system that the user named, "" where he did
// not; it must be the one that the toplevel was built for. A system that cannot
// boot as PID 1 of a container is refused.
func NewSystem(src closure.Source, c *closure.Closure, toplevel closure.StorePath, stated string, f Facts) (*System, error) {
	fail := func(err error) (*System, error) { return nil, fmt.Errorf("system %s: %w", toplevel, err) }
	if c.Info(toplevel) == nil {
		return fail(errors.New("not in the closure"))
	}
	if i := slices.IndexFunc(c.Roots, func(r closure.StorePath) bool { return r != toplevel }); i >= 0 {
		return fail(fmt.Errorf("the closure has another root, %s", c.Roots[i]))
	}
	if err := f.check(); err != nil {
		return fail(err)
	}
	p, err := PlatformOf(f.System)
	if err != nil {
		return fail(err)
	}
	if stated != "" {
		want, err := ParsePlatform(stated)
		if err != nil {
			return fail(err)
		}
		if !SamePlatform(p, want) {
			return fail(hint.Add(fmt.Errorf("was built for %s, not for %s as stated", f.System, stated),
				"the platform is read from the closure: leave out "+stated+"=, or give the closure that was built for it"))
		}
	}
	if err := f.checkBoot(); err != nil {
		return fail(err)
	}
	sys := &System{Platform: p, Toplevel: toplevel, Closure: c, Source: src, Init: systemInit, Guest: f.Guest, Version: f.Version, Facts: f}
	if f.Guest {
		sys.Init = guestInit
	}
	return sys, nil
}

// check refuses what ReadFacts never returns: facts may come from a cache or a
// registry.
func (f *Facts) check() error {
	switch {
	case f.Init != initScript && f.Init != initBinary:
		return fmt.Errorf("facts: unknown kind of init %q", f.Init)
	case f.Version != "" && (len(f.Version) > maxFactFile || !versionPattern.MatchString(f.Version)):
		return fmt.Errorf("facts: %q is no version", f.Version)
	}
	return nil
}

// checkBoot refuses a toplevel of which the init is systemd itself.
//
// With systemd in stage 1, top-level.nix installs systemd as init and stage 2
// as prepare-root, which only the initrd runs; with system.nixos-init.enable
// not even that. A container has no initrd: systemd would find an empty /etc.
// boot.isContainer turns the initrd off, and since NixOS 25.11 that brings
// stage 2 back as init (nixpkgs pull request 441777); before, the systemd stage
// 1 must be turned off as well (nixpkgs issue 287097). A later NixOS makes
// nixos-init do without an initrd, and marks such a toplevel with
// nixos-init.json. A binary init without a systemd beside it is somebody's own.
func (f *Facts) checkBoot() error {
	if !f.PrepareRoot && (f.Init == initScript || f.ContainerInit || !f.Systemd) {
		return nil
	}
	return hint.Add(errors.New("its init is systemd itself, and only an initrd, which a container has not, would prepare /etc for it"),
		"set boot.isContainer = true in the configuration; up to NixOS 25.05 boot.initrd.systemd.enable = false too")
}

// topEntry is an entry of the toplevel's first level, with the start of a file.
type topEntry struct {
	closure.Entry
	head []byte
}

// topVisitor keeps the first level of a tree.
type topVisitor struct{ entries map[string]topEntry }

func (v *topVisitor) add(name string, e topEntry) {
	if name != "" && !strings.Contains(name, "/") {
		v.entries[name] = e
	}
}

func (v *topVisitor) Directory(name string) error {
	v.add(name, topEntry{Entry: closure.Entry{Kind: closure.KindDirectory}})
	return nil
}

func (v *topVisitor) Symlink(name, target string) error {
	v.add(name, topEntry{Entry: closure.Entry{Kind: closure.KindSymlink, Target: target}})
	return nil
}

func (v *topVisitor) File(name string, executable bool, size int64, content io.Reader) error {
	e := topEntry{Entry: closure.Entry{Kind: closure.KindFile, Executable: executable, Size: size}}
	head := make([]byte, min(size, maxFactFile))
	if _, err := io.ReadFull(content, head); err != nil {
		return err
	}
	e.head = head
	v.add(name, e)
	_, err := io.Copy(io.Discard, content)
	return err
}

// follow resolves name below p through symlinks, its own and those on the way,
// as far as the closure goes.
func follow(ctx context.Context, src closure.Source, c *closure.Closure, p closure.StorePath, name string) (topEntry, error) {
	var done []string // elements below p that are no symlinks
	todo := strings.Split(name, "/")
	for links := 0; ; {
		info := c.Info(p)
		if info == nil {
			return topEntry{}, fmt.Errorf("%s: not in the closure", p)
		}
		at := path.Join(append(slices.Clone(done), todo[:min(1, len(todo))]...)...)
		e, err := closure.Lookup(ctx, src, info, at)
		if err != nil {
			return topEntry{}, err
		}
		if e.Kind != closure.KindSymlink {
			if len(todo) > 1 {
				done, todo = append(done, todo[0]), todo[1:]
				continue
			}
			top := topEntry{Entry: e}
			if e.Kind == closure.KindFile {
				top.head, err = closure.ReadFile(ctx, src, info, at, maxInit)
			}
			return top, err
		}
		if links++; links > maxLinks {
			return topEntry{}, fmt.Errorf("%s/%s: too many symlinks", p, at)
		}
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(path.Join(string(p), at)), target)
		}
		target = path.Join(append([]string{target}, todo[min(1, len(todo)):]...)...)
		base, rest, _ := strings.Cut(strings.TrimPrefix(target, closure.StoreDir+"/"), "/")
		next, err := closure.ParseStorePath(closure.StoreDir + "/" + base)
		if err != nil || !strings.HasPrefix(target, closure.StoreDir+"/") {
			return topEntry{}, fmt.Errorf("%s/%s: links to %s, which is not in the store: %w", p, at, e.Target, fs.ErrNotExist)
		}
		p, done, todo = next, nil, nil
		if rest != "" {
			todo = strings.Split(rest, "/")
		}
	}
}
