//go:build linux

package guest

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// profile is the system profile of NixOS: it names the last system that was switched to.
// In the image it names the image's own system. So it always names the system to boot:
// the image's own one, or the one that was applied last.
const profile = "/nix/var/nix/profiles/system"

// System is a NixOS system that PID 1 can start.
type System struct {
	Toplevel string // store path
	Init     string // the program to execute
	// Prepare is the activation script to run before Init, "" if Init runs it
	// itself. NixOS with systemd in stage 1 leaves activation to the initrd, and a
	// container has no initrd. The init of such a system is systemd, and
	// prepare-root beside it does the activation (nixpkgs
	// nixos/modules/system/activation/top-level.nix).
	Prepare string
}

// systemAt returns the NixOS system in dir.
func systemAt(dir string) (System, error) { return systemWithInit(dir, "") }

// systemWithInit is systemAt for a system whose init has another name. It recognises a
// NixOS toplevel by its files. init and etc alone do not prove one: /sbin has an init
// too, and / has both.
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

// name returns the system's name from os-release.
func (s System) name() string {
	for _, a := range assignments(filepath.Join(s.Toplevel, "etc/os-release")) {
		if a.key == "PRETTY_NAME" {
			return strings.Trim(a.value, `"'`)
		}
	}
	return "NixOS"
}

// managerSettings returns the keys that the system's own systemd-system.conf(5)
// sets.
func (s System) managerSettings() []string {
	dir := filepath.Join(s.Toplevel, "etc/systemd")
	more, _ := filepath.Glob(filepath.Join(dir, "system.conf.d/*.conf")) // the pattern is valid
	var keys []string
	for _, file := range append(more, filepath.Join(dir, "system.conf")) {
		for _, a := range assignments(file) {
			keys = append(keys, a.key)
		}
	}
	return keys
}

type assignment struct{ key, value string }

// assignments returns the lines KEY=VALUE of a file, none if it cannot be read.
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

// isELF reports whether file is an ELF binary, not a script.
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
