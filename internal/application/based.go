package application

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/hint"
)

// mergedDirectories are directories that are symlinks in the images of many
// distributions: /bin to /usr/bin, /var/run to /run. If a layer contained such a
// directory, it would replace the link and hide the files behind it.
var mergedDirectories = []string{
	"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr/sbin", "usr/lib64", "usr/tmp", "var/run", "var/lock", "var/mail",
}

// directoryModes are the modes of directories for which distributions do not use
// 0755.
var directoryModes = map[string]int64{"root": 0o700, "tmp": 0o1777, "var/empty": 0o555, "var/tmp": 0o1777}

// modeOf returns the mode of a parent directory of files, if nothing states its
// mode.
func modeOf(dir string) int64 { return cmp.Or(directoryModes[dir], 0o755) }

// checkBased refuses choices that are impossible with a base image.
func (c *Choices) checkBased() error {
	if len(c.Users) > 0 {
		return hint.Add(errors.New("a user cannot be added to a base image, because it has its own /etc/passwd"),
			"run as a number: --user 1000; or as a user of the base image")
	}
	return nil
}

// checkBasedEntries refuses entries in directories that may be symlinks in the base
// image.
func (a *Application) checkBasedEntries() error {
	names := make([]string, 0, len(a.Entries)+len(a.Files))
	for _, e := range a.Entries {
		names = append(names, e.Name)
	}
	for _, f := range a.Files {
		names = append(names, f.Path[1:])
	}
	for _, name := range names {
		for dir := name; dir != ""; dir = parent(dir) {
			if slices.Contains(mergedDirectories, dir) {
				return hint.Add(fmt.Errorf("/%s: in a base image /%s may be a symlink, and a directory of this name would hide what it leads to", name, dir),
					"choose another place, such as /opt or /usr/local. The programs of the closures are in PATH without a link")
			}
		}
	}
	return nil
}
