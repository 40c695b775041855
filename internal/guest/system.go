//go:build linux

package guest

import (
	"debug/elf"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// profile is where a NixOS system that was switched to is recorded. The image
// points it at the system it was made from, so that it always names what is
// to be booted: the image's system, or what was applied to it since.
const profile = "/nix/var/nix/profiles/system"

// System is a NixOS system as PID 1 finds it.
type System struct {
	Toplevel string // store path
	Init     string // what to execute
	// Prepare is the activation script to run before Init, "" when Init runs
	// it itself. NixOS built with systemd in stage 1 leaves activation to the
	// initrd, which a container does not have: its init is systemd itself, and
	// prepare-root beside it is the activation (nixpkgs
	// nixos/modules/system/activation/top-level.nix).
	Prepare string
}

// ErrNoSystem says that nothing in the image can be booted.
var ErrNoSystem = errors.New("no NixOS system found")

// FindSystem returns the system to boot. It is the one that the system profile
// names, unless base is true; else the one whose directory argv0 leads to,
// which for the image's /sbin/init is the system the image was made from.
func FindSystem(argv0 string, base bool) (System, error) {
	var tried []string
	if !base {
		s, err := systemAt(profile)
		if err == nil {
			return s, nil
		}
		tried = append(tried, err.Error())
	}
	for _, link := range linkChain(argv0) {
		s, err := systemAt(filepath.Dir(link))
		if err == nil {
			return s, nil
		}
	}
	tried = append(tried, fmt.Sprintf("%s does not lead to one", argv0))
	return System{}, fmt.Errorf("%w: %s", ErrNoSystem, strings.Join(tried, "; "))
}

// linkChain returns path and what it links to, step by step. The last step is
// nixoci-init's own file; the one before it is $toplevel/nixoci-init.
func linkChain(path string) []string {
	const deepest = 40 // as the kernel's own limit
	var chain []string
	for range deepest {
		chain = append(chain, path)
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return chain
}

// systemAt tells a NixOS toplevel by what is in it. /sbin has an init too, so
// init alone would not do.
func systemAt(dir string) (System, error) {
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return System{}, err
	}
	for _, name := range []string{"init", "activate", "etc"} {
		if _, err := os.Stat(filepath.Join(top, name)); err != nil {
			return System{}, fmt.Errorf("%s is not a NixOS system: %w", top, err)
		}
	}
	s := System{Toplevel: top, Init: filepath.Join(top, "init")}
	prepare := filepath.Join(top, "prepare-root")
	if _, err := os.Stat(prepare); err == nil && isELF(s.Init) {
		s.Prepare = prepare
	}
	return s, nil
}

// name is what the system calls itself.
func (s System) name() string {
	for key, value := range assignments(filepath.Join(s.Toplevel, "etc/os-release")) {
		if key == "PRETTY_NAME" {
			return strings.Trim(value, `"'`)
		}
	}
	return "NixOS"
}

// managerSettings are the keys that the system's own systemd-system.conf(5)
// sets.
func (s System) managerSettings() []string {
	dir := filepath.Join(s.Toplevel, "etc/systemd")
	more, _ := filepath.Glob(filepath.Join(dir, "system.conf.d/*.conf")) // the pattern is right
	var keys []string
	for _, file := range append(more, filepath.Join(dir, "system.conf")) {
		for key := range assignments(file) {
			keys = append(keys, key)
		}
	}
	return keys
}

// assignments are the lines KEY=VALUE of a file, none if it cannot be read.
func assignments(file string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		data, err := os.ReadFile(file)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if ok && !strings.HasPrefix(key, "#") && !strings.HasPrefix(key, ";") && !yield(strings.TrimSpace(key), strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// isELF tells a binary from a script.
func isELF(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [len(elf.ELFMAG)]byte
	_, err = f.ReadAt(magic[:], 0)
	return err == nil && string(magic[:]) == elf.ELFMAG
}
