package application

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
)

// binDir is the directory of programs in a store path.
const binDir = "bin"

// programs returns the names of the programs in a root's bin. It leaves out names
// that begin with a dot, because only wrappers start those programs.
func (r *Reader) programs(root closure.StorePath) (names []string, err error) {
	all, err := r.list(root, binDir)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if strings.HasPrefix(name, ".") {
			continue
		}
		at, err := r.find(root, path.Join(binDir, name))
		if err = ignoreMissing(err); err != nil {
			return nil, err
		}
		if at.isProgram() {
			names = append(names, name)
		}
	}
	return names, nil
}

func (p place) isProgram() bool { return p.Kind == closure.KindFile && p.Executable }

// program returns the program that the image starts by default. If chosen is not "",
// program returns the first program with this name in the roots. Otherwise it returns
// the only program of the first root that has programs.
func (r *Reader) program(roots []closure.StorePath, chosen string) (string, error) {
	for _, root := range roots {
		if chosen != "" {
			at, err := r.find(root, path.Join(binDir, chosen))
			if err = ignoreMissing(err); err != nil {
				return "", err
			}
			if at.isProgram() {
				return path.Join(string(root), binDir, chosen), nil
			}
			continue
		}
		names, err := r.programs(root)
		if err != nil {
			return "", err
		}
		switch len(names) {
		case 0:
		case 1:
			return path.Join(string(root), binDir, names[0]), nil
		default:
			return "", hint.Add(fmt.Errorf("%s has %s in bin, and none is chosen: %s", root, human.Count(len(names), "program"), some(names)),
				"name the one that the image starts: --entrypoint "+likely(root, names))
		}
	}
	if chosen != "" {
		return "", hint.Add(fmt.Errorf("no program bin/%s in %s", chosen, some(texts(roots))), entrypointHint)
	}
	return "", hint.Add(fmt.Errorf("%w: %s has no program in bin", errNoProgram, some(texts(roots))), entrypointHint)
}

// Errors that the method start ignores for an image with a base image.
var (
	errNoProgram  = errors.New("no program to start")
	errNotInImage = errors.New("the image has no such file")
)

const entrypointHint = "name the program that the image starts: --entrypoint NAME, or --entrypoint /nix/store/…/NAME"

func texts(roots []closure.StorePath) (all []string) {
	for _, r := range roots {
		all = append(all, string(r))
	}
	return all
}

// likely returns the program that has the name of the package, or else the first
// program.
func likely(root closure.StorePath, names []string) string {
	for _, n := range names {
		if n == root.Name() || strings.HasPrefix(root.Name(), n+"-") {
			return n
		}
	}
	return names[0]
}

// some returns the first names as a list for an error text, and the number of the
// other names.
func some(names []string) string {
	const most = 12
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// notInImage is errNotInImage with another text.
type notInImage struct{ why string }

func (e notInImage) Error() string      { return e.why }
func (notInImage) Is(target error) bool { return target == errNotInImage }

// starts returns the program that a runtime starts if word is the first word of the
// entrypoint.
func (r *Reader) starts(word string, app *Application) (place, error) {
	missing := func(why error) error {
		return hint.Add(fmt.Errorf("entrypoint %q: %w", word, why), "name a program of the closure; --link /bin puts the programs of its roots into /bin")
	}
	if !strings.Contains(word, "/") {
		for _, dir := range app.Path {
			if p, name, ok := splitStorePath(path.Join(dir, word)); ok {
				at, err := r.find(p, name)
				if err = ignoreMissing(err); err != nil {
					return place{}, err
				}
				if at.isProgram() {
					return at, nil
				}
			}
		}
		return place{}, missing(notInImage{"no root has a program of this name in bin"})
	}
	if !path.IsAbs(word) {
		for _, root := range app.Roots {
			at, err := r.find(root, path.Clean(word))
			if err = ignoreMissing(err); err != nil {
				return place{}, err
			}
			if at.isProgram() {
				app.First = path.Join(string(root), word)
				return at, nil
			}
		}
		return place{}, missing(notInImage{"no root has a program of this name"})
	}
	file, ok := app.target(word)
	if !ok {
		return place{}, missing(errNotInImage)
	}
	p, name, _ := splitStorePath(file)
	at, err := r.find(p, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return place{}, missing(errors.New("the closure has no such file"))
	case err != nil:
		return place{}, err
	case !at.isProgram():
		return place{}, missing(errors.New("it is not a program"))
	}
	return at, nil
}

// target returns the path in the store to which the file of the image leads. If file
// is a path in the store, target returns file. Otherwise it replaces the link at the
// beginning of file by the link's target. It returns false if there is no such link.
func (a *Application) target(file string) (string, bool) {
	file = path.Clean(file)
	if _, _, ok := splitStorePath(file); ok {
		return file, true
	}
	name := strings.TrimPrefix(file, "/")
	for _, l := range a.Entries {
		if rest, ok := strings.CutPrefix(name+"/", l.Name+"/"); ok && l.Target != "" {
			return path.Join(l.Target, rest), true
		}
	}
	return "", false
}
