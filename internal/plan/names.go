package plan

import (
	"strings"
)

// stem returns the name of a store path without the version: "nginx" for "nginx-1.26.1",
// "perl-dev" for "perl-5.40.0-dev". As in Nix, the version begins after the first dash that
// comes before a digit. If the word after the version is the usual name of an output, such as
// dev, stem keeps this word.
func stem(name string) string {
	for i := 0; i+1 < len(name); i++ {
		if name[i] != '-' || name[i+1] < '0' || name[i+1] > '9' || i == 0 {
			continue
		}
		switch _, output, _ := strings.Cut(name[i+1:], "-"); output {
		case "bin", "dev", "lib", "out", "doc", "man", "info", "static", "debug", "data", "locale", "getent", "devdoc":
			return name[:i] + "-" + output
		}
		return name[:i]
	}
	return name
}

// generatedNames lists the names of paths that NixOS generates from a configuration
// (nixos/modules/system, lib/systemd-lib.nix). These paths are not packages, and they change
// with the configuration.
var generatedNames = []string{
	"etc", "etc-*", "system-path", "nixos-system-*", "toplevel",
	"unit-*", "system-units", "user-units", "system-generators", "system-shutdown", "user-generators",
	"X-Restart-Triggers-*", "X-Reload-Triggers-*",
	"activate", "boot.json", "set-environment", "users-groups.json", "nixos-*.conf", "local-cmds",
	"stage-1-init.sh", "stage-2-init.sh", "extra-utils", "dbus-1", "udev-rules", "tmpfiles.d", "hwdb.bin",
	"*.service", "*.socket", "*.timer", "*.target", "*.mount", "*.path",
}

// isGenerated reports whether name matches one of generatedNames. The only special character of
// these patterns is *, at most once. The planner calls isGenerated for each path, and path.Match
// would take most of the time for small graphs.
func isGenerated(name string) bool {
	for _, glob := range generatedNames {
		before, after, star := strings.Cut(glob, "*")
		if name == glob || star && len(name) >= len(before)+len(after) &&
			strings.HasPrefix(name, before) && strings.HasSuffix(name, after) {
			return true
		}
	}
	return false
}
