package application

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/hint"
)

// mergedDirectories are those that are symlinks in the images of many
// distributions: /bin to /usr/bin, /var/run to /run. A directory of ours would
// take the place of such a link, and hide what it leads to.
var mergedDirectories = []string{
	"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr/sbin", "usr/lib64", "usr/tmp", "var/run", "var/lock", "var/mail",
}

// directoryModes are those of directories that are not 0755 anywhere.
var directoryModes = map[string]int64{"root": 0o700, "tmp": 0o1777, "var/empty": 0o555, "var/tmp": 0o1777}

// modeOf is the mode of a directory that files are in, and that nobody states.
func modeOf(dir string) int64 { return cmp.Or(directoryModes[dir], 0o755) }

// checkBased refuses choices that make no sense above a base image.
func (c *Choices) checkBased() error {
	if len(c.Users) > 0 {
		return hint.Add(errors.New("a user cannot be added above a base image, which has an /etc/passwd of its own"),
			"run as a number: --user 1000; or as a user of the base image")
	}
	return nil
}

// checkBasedEntries refuses entries below directories that may be symlinks in the
// base image.
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
