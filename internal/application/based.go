package application

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// mergedDirectories lists directories that are symlinks in the images of many
// distributions. For example, /bin links to /usr/bin, and /var/run links to /run.
// If a layer contained such a directory, the directory would replace the link and
// hide the files in the link's target.
var mergedDirectories = []string{
	"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr/sbin", "usr/lib64", "usr/tmp", "var/run", "var/lock", "var/mail",
}

// directoryModes contains the directories that have another mode than 0755 in
// distributions.
var directoryModes = map[string]int64{"root": 0o700, "tmp": 0o1777, "var/empty": 0o555, "var/tmp": 0o1777}

// modeOf returns the mode of a parent directory that the choices do not list.
func modeOf(dir string) int64 { return cmp.Or(directoryModes[dir], 0o755) }

// BaseUsers holds the contents of a base image's /etc/passwd and /etc/group. A file
// that the base image lacks is nil.
type BaseUsers struct {
	Passwd []byte
	Group  []byte
}

// addUsers sets PasswdFile and GroupFile to the files of the base image, and adds the
// users of the choices to these files.
func (a *Application) addUsers(base *BaseUsers) error {
	if base == nil {
		return errors.New("users: the users of the base image are not known")
	}
	passwd, group := base.Passwd, base.Group
	if passwd == nil {
		passwd = (&Application{}).Passwd()
	}
	if group == nil {
		group = (&Application{}).Group()
	}
	known, groups := idsIn(passwd), idsIn(group)
	shell := known.rootShell
	for _, u := range a.Users {
		if _, ok := known.byName[u.Name]; ok {
			return fmt.Errorf("user %s: the base image has a user of this name", u.Name)
		}
		if other, ok := known.byID[u.UID]; ok {
			return fmt.Errorf("user %s: %s of the base image has the id %d already", u.Name, other, u.UID)
		}
		passwd = appendLine(passwd, fmt.Sprintf("%s:x:%d:%d::%s:%s", u.Name, u.UID, u.GID, u.Home, shell))
		if _, ok := groups.byID[u.GID]; ok {
			continue // the base image already has a group with this id
		}
		if id, ok := groups.byName[u.Name]; ok {
			return fmt.Errorf("user %s: the group of this name in the base image has the id %d, not %d", u.Name, id, u.GID)
		}
		group = appendLine(group, fmt.Sprintf("%s:x:%d:", u.Name, u.GID))
	}
	a.PasswdFile, a.GroupFile = passwd, group
	a.add(RootEntry{Name: "etc"})
	return nil
}

// ids holds the names and ids in /etc/passwd or /etc/group.
type ids struct {
	byName    map[string]int64
	byID      map[int64]string
	rootShell string // root's shell in /etc/passwd, or /bin/sh if the file names no shell
}

// idsIn reads the names and ids in file. It ignores lines without an id.
func idsIn(file []byte) ids {
	found := ids{map[string]int64{}, map[int64]string{}, "/" + shellFile}
	for line := range strings.Lines(string(file)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(fields) < 3 {
			continue
		}
		id, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			continue
		}
		found.byName[fields[0]] = id
		if _, ok := found.byID[id]; !ok {
			found.byID[id] = fields[0]
		}
		if fields[0] == "root" && len(fields) == 7 && fields[6] != "" {
			found.rootShell = fields[6]
		}
	}
	return found
}

func appendLine(file []byte, line string) []byte {
	file = slices.Clone(file)
	if len(file) > 0 && file[len(file)-1] != '\n' {
		file = append(file, '\n')
	}
	return append(file, line+"\n"...)
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
				return hint.Add(fmt.Errorf("/%s: in many base images /%s is a symlink; a directory from nixoci would hide its target", name, dir),
					"choose another place, such as /opt or /usr/local. The programs of the closures are in PATH without a link")
			}
		}
	}
	return nil
}
