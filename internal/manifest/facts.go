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

// Names of files in a toplevel (nixpkgs, nixos/modules/system/activation/top-level.nix).
const (
	systemInit  = "init"            // the script stage 2; or systemd itself, if NixOS uses systemd in stage 1
	guestInit   = "nixoci-init"     // PID 1 of a system with nixoci's container module
	prepareRoot = "prepare-root"    // the script stage 2, if NixOS uses systemd in stage 1
	initConfig  = "nixos-init.json" // exists only in NixOS for containers, if its init reads this file
)

// Kinds of init: the values of Facts.Init.
const (
	initScript = "script" // starts with #!
	initBinary = "binary"
)

// Facts contains properties of a system, read from files in its toplevel. To describe an
// image, nixoci needs nothing else from these files. The toplevel's narHash determines the
// facts. So a caller that stores the facts under this hash does not have to open the store
// again.
type Facts struct {
	System        string `json:"system"`                  // content of the file system: "x86_64-linux"
	Version       string `json:"version,omitempty"`       // content of the file nixos-version
	Init          string `json:"init"`                    // "script" or "binary"
	Guest         bool   `json:"guest,omitempty"`         // the toplevel contains nixoci-init
	Systemd       bool   `json:"systemd,omitempty"`       // the toplevel contains the link systemd
	PrepareRoot   bool   `json:"prepareRoot,omitempty"`   // the toplevel contains prepare-root
	ContainerInit bool   `json:"containerInit,omitempty"` // the toplevel contains nixos-init.json
}

// Limits for reading a toplevel. maxFactFile is a number of bytes.
const (
	maxFactFile = 256
	maxLinks    = 40 // the limit of the Linux kernel
)

const toplevelHint = "give config.system.build.toplevel of a NixOS configuration, for instance the result of: nix build .#nixosConfigurations.NAME.config.system.build.toplevel"

// ReadFacts reads the tree of the toplevel once, and checks its narHash. It returns an error
// if the toplevel is not a NixOS system: if there is no init, or no file named system.
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
		return notNixOS("its toplevel has no file named \"system\"")
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

// versionPattern matches the labels that NixOS allows (system.nixos.label).
var versionPattern = regexp.MustCompile(`^[a-zA-Z0-9:_.+-]+$`)

var systemPattern = regexp.MustCompile(`^[a-z0-9_]+-[a-z0-9_]+$`)

func isSystem(s string) bool { return systemPattern.MatchString(strings.TrimSpace(s)) }

// check returns an error for facts that ReadFacts never returns. Facts may come from a cache
// or a registry, where somebody may have changed them.
func (f *Facts) check() error {
	switch {
	case f.Init != initScript && f.Init != initBinary:
		return fmt.Errorf("facts: unknown kind of init %q", f.Init)
	case f.Version != "" && (len(f.Version) > maxFactFile || !versionPattern.MatchString(f.Version)):
		return fmt.Errorf("facts: %q is not a NixOS version", f.Version)
	}
	return nil
}

// Facts returns the facts that the index records for a toplevel with the same path and
// narHash as info. So a machine without the toplevel can use them. The author of the index
// claims these facts, and nothing proves them.
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

// topEntry is an entry in the toplevel's directory. For a file, it includes the start of the
// content.
type topEntry struct {
	closure.Entry
	head []byte
}

// topVisitor collects the entries of the first level of a tree.
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

// follow looks up name below p. It follows symlinks at the end and on the way, as long as
// they stay in the closure.
func follow(ctx context.Context, src closure.Source, c *closure.Closure, p closure.StorePath, name string) (topEntry, error) {
	var done []string // path elements below p, without symlinks
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
		next, rest, ok := closure.SplitFile(target)
		if !ok {
			return topEntry{}, fmt.Errorf("%s/%s: links to %s, which is not in the store: %w", p, at, e.Target, fs.ErrNotExist)
		}
		p, done, todo = next, nil, nil
		if rest != "" {
			todo = strings.Split(rest, "/")
		}
	}
}
