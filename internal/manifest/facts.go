package manifest

import (
	"bytes"
	"context"
	"encoding/json"
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
	maxLinks    = 40 // as the kernel's
)

const toplevelHint = "give config.system.build.toplevel of a NixOS configuration, for instance the result of: nix build .#nixosConfigurations.NAME.config.system.build.toplevel"

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

// Facts returns what the index says of a toplevel's files, for the toplevel at
// info's path with info's narHash: a machine that has never seen it need not
// read them. It is a claim of whoever wrote the index.
func (x *Index) Facts(info *closure.Info) (Facts, bool) {
	for _, d := range x.Manifests {
		if d.Annotations[AnnotationToplevel] != string(info.Path) || d.Annotations[AnnotationNarHash] != info.NarHash.SRI() {
			continue
		}
		var f Facts
		if json.Unmarshal([]byte(d.Annotations[AnnotationFacts]), &f) != nil || f.check() != nil || d.Platform == nil {
			continue
		}
		if p, err := closure.ParseSystem(f.System); err == nil && SamePlatform(p, *d.Platform) {
			return f, true
		}
	}
	return Facts{}, false
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
				top.head, err = closure.ReadFile(ctx, src, info, at, MaxInit)
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
