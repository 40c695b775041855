package application

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// RootEntry describes an entry that nixoci adds outside of /nix. The entry is a link
// into the store, or a directory that contains such links. A directory has no Target.
type RootEntry struct {
	Name   string // without a leading slash
	Target string
}

// reserved lists the names at the root of the image that a user cannot use. They are
// the store, the directories that the runtime mounts, and the file in which nixoci
// describes the image.
var reserved = []string{"nix", "proc", "sys", "dev", ".nixoci.json"}

// checkLink refuses a wrong value of --link before any file is read.
func checkLink(dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir {
		return hint.Add(fmt.Errorf("link %q: not the absolute path of a directory or file", dir), "write for instance --link /bin")
	}
	first := strings.SplitN(dir[1:], "/", 2)[0]
	if slices.Contains(reserved, first) {
		return fmt.Errorf("link %q: nothing can be added in /%s, which the image or the runtime uses", dir, first)
	}
	return nil
}

// link links the file or directory dir of the roots to the same place in the image.
// If dir is a directory, link makes a link for each entry, and merges the
// directories of several roots.
func (r *Reader) link(app *Application, dir string) error {
	if dir == "/" {
		return r.linkAll(app)
	}
	name := strings.TrimPrefix(dir, "/")
	var have []closure.StorePath
	for _, root := range app.Roots {
		switch _, err := r.find(root, name); {
		case err == nil:
			have = append(have, root)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if len(have) == 0 {
		return hint.Add(fmt.Errorf("link %s: %s has no %s", dir, some(texts(app.Roots)), name), "leave it out, or name the closure that has it")
	}
	return r.merge(app, have, name, true)
}

// linkAll links everything at the top of the roots, except files that only Nix
// reads.
func (r *Reader) linkAll(app *Application) error {
	owners, names, err := r.owners(app.Roots, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == "nix-support" || slices.Contains(reserved, name) {
			continue
		}
		if err := r.merge(app, owners[name], name, true); err != nil {
			return err
		}
	}
	return nil
}

// merge links name, which all of roots contain. whole is true if the user named a
// directory. If so, merge links the directory's entries one by one, even if only one
// root has the directory.
func (r *Reader) merge(app *Application, roots []closure.StorePath, name string, whole bool) error {
	places := make([]place, len(roots))
	directories := 0
	for i, root := range roots {
		var err error
		if places[i], err = r.find(root, name); err != nil {
			return err
		}
		if places[i].Kind == closure.KindDirectory {
			directories++
		}
	}
	same := func(p place) bool { return p.store == places[0].store && p.name == places[0].name }
	switch {
	case whole && directories == len(roots) || directories == len(roots) && !allSame(places, same):
		app.add(RootEntry{Name: name})
		return r.mergeEntries(app, roots, name)
	case allSame(places, same):
		app.add(RootEntry{Name: name, Target: path.Join(string(roots[0]), name)})
		return nil
	}
	i := slices.IndexFunc(places, func(p place) bool { return !same(p) })
	return hint.Add(fmt.Errorf("link /%s: two closures have different files of this name: %s and %s", name, places[0], places[i]),
		"leave out one of them, or link fewer files: --link links only what you name")
}

func allSame(places []place, same func(place) bool) bool {
	return !slices.ContainsFunc(places, func(p place) bool { return !same(p) })
}

// mergeEntries merges one directory of several roots. If only one root has an entry,
// mergeEntries links the entry and does not follow it, even if it is a symlink.
func (r *Reader) mergeEntries(app *Application, roots []closure.StorePath, dir string) error {
	owners, names, err := r.owners(roots, dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		name := path.Join(dir, e)
		if len(owners[e]) == 1 {
			app.add(RootEntry{Name: name, Target: path.Join(string(owners[e][0]), name)})
			continue
		}
		err := r.merge(app, owners[e], name, false)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("link /%s: several closures have it, and one is a link that leads nowhere: %w", name, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// owners returns the names in a directory of roots, sorted, and the roots that have
// each name.
func (r *Reader) owners(roots []closure.StorePath, dir string) (owners map[string][]closure.StorePath, names []string, err error) {
	owners = map[string][]closure.StorePath{}
	for _, root := range roots {
		entries, err := r.list(root, dir)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			if owners[e] == nil {
				names = append(names, e)
			}
			owners[e] = append(owners[e], root)
		}
	}
	slices.Sort(names)
	return owners, names, nil
}

// add adds an entry and its parent directories. If there is already an entry of the
// same name, add keeps the earlier entry.
func (a *Application) add(e RootEntry) {
	for dir := parent(e.Name); dir != ""; dir = parent(dir) {
		if !a.has(dir) {
			a.Entries = append(a.Entries, RootEntry{Name: dir})
		}
	}
	if !a.has(e.Name) {
		a.Entries = append(a.Entries, e)
	}
}

func (a *Application) has(name string) bool {
	return slices.ContainsFunc(a.Entries, func(e RootEntry) bool { return e.Name == name })
}

// MaxEntries limits the links of an application, because verify holds them in
// memory.
const MaxEntries = 100_000

// checkEntries sorts the entries. It refuses too many entries, and an entry below a
// link.
func (a *Application) checkEntries() error {
	if len(a.Entries) > MaxEntries {
		return hint.Add(fmt.Errorf("%d links at the root of the image, at most %d are allowed", len(a.Entries), MaxEntries), "link fewer files: --link links only what you name")
	}
	slices.SortFunc(a.Entries, func(x, y RootEntry) int { return strings.Compare(x.Name, y.Name) })
	links := map[string]string{}
	for _, e := range a.Entries {
		if e.Target != "" {
			links[e.Name] = e.Target
		}
	}
	for _, e := range a.Entries {
		for dir := parent(e.Name); dir != ""; dir = parent(dir) {
			if target, ok := links[dir]; ok {
				return hint.Add(fmt.Errorf("/%s: /%s is a link to %s", e.Name, dir, target), "link fewer files: --link links only what you name")
			}
		}
	}
	return nil
}

// Files that the image links to files of the closure if the user asks for a shell or
// for certificates.
const (
	shellFile        = "bin/sh"
	certificatesFile = "etc/ssl/certs/ca-bundle.crt"
)

// certificateNames lists the places where programs look for certificates. In nixpkgs
// and Debian, OpenSSL and Go use the first two places. In Fedora and its relatives,
// programs use the last.
var certificateNames = []string{certificatesFile, "etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt"}

// Names, without versions, of the packages that contain a shell or certificates.
var (
	shellPackages       = []string{"bash", "bash-interactive", "dash", "busybox", "busybox-static", "busybox-applets", "toybox", "mksh", "oksh", "yash"}
	certificatePackages = []string{"cacert", "nss-cacert", "ca-certificates"}
)

// provider returns the path of file in the first root that has this file. If no root
// has it, provider uses the only store path of the closure that has the file and
// belongs to one of packages. Errors call the file by the name what.
func (r *Reader) provider(roots []closure.StorePath, file string, packages []string, what string) (string, error) {
	has := func(p closure.StorePath) (bool, error) {
		at, err := r.find(p, file)
		return err == nil && at.Kind == closure.KindFile, ignoreMissing(err)
	}
	for _, root := range roots {
		if ok, err := has(root); err != nil || ok {
			return path.Join(string(root), file), err
		}
	}
	var all []string
	for i := range r.closure.Paths {
		p := r.closure.Paths[i].Path
		if name, _ := closure.SplitName(p.Name()); !slices.Contains(packages, name) {
			continue
		}
		ok, err := has(p)
		if err != nil {
			return "", err
		}
		if ok {
			all = append(all, path.Join(string(p), file))
		}
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return "", hint.Add(fmt.Errorf("the closure has no %s (no package with %s)", what, file), "name a closure that has it too, such as nixpkgs#"+packages[0])
	}
	return "", hint.Add(fmt.Errorf("the closure has more than one %s: %s", what, some(all)), "name the one to take as a closure too")
}
