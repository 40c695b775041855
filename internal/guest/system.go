//go:build linux

package guest

import (
	"debug/elf"
	"fmt"
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

// systemAt returns the NixOS system in dir.
func systemAt(dir string) (System, error) { return systemWithInit(dir, "") }

// systemWithInit is systemAt for a system whose init has another name. A NixOS
// toplevel is told by what is in it. /sbin has an init too, and / has init and
// etc, so these two alone would not do.
func systemWithInit(dir, init string) (System, error) {
	if init == "" {
		init = "init"
	}
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return System{}, err
	}
	for _, names := range [][]string{{init}, {"etc"}, {"activate", "prepare-root", "nixos-version"}} {
		var missing error
		for _, name := range names {
			if _, missing = os.Stat(filepath.Join(top, name)); missing == nil {
				break
			}
		}
		if missing != nil {
			return System{}, fmt.Errorf("%s is not a NixOS system: %w", top, missing)
		}
	}
	s := System{Toplevel: top, Init: filepath.Join(top, init)}
	prepare := filepath.Join(top, "prepare-root")
	if _, err := os.Stat(prepare); err == nil && isELF(s.Init) {
		s.Prepare = prepare
	}
	return s, nil
}

// name is what the system calls itself.
func (s System) name() string {
	for _, a := range assignments(filepath.Join(s.Toplevel, "etc/os-release")) {
		if a.key == "PRETTY_NAME" {
			return strings.Trim(a.value, `"'`)
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
		for _, a := range assignments(file) {
			keys = append(keys, a.key)
		}
	}
	return keys
}

type assignment struct{ key, value string }

// assignments are the lines KEY=VALUE of a file, none if it cannot be read.
func assignments(file string) []assignment {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var all []assignment
	for _, line := range strings.Split(string(data), "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") && !strings.HasPrefix(key, ";") {
			all = append(all, assignment{strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return all
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
