package application

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// File is a file, a directory or a symlink of the image that somebody asked for,
// with its owner and mode: of Text, Source and Target it has at most one. Without
// any it is a directory.
type File struct {
	Path   string  `json:"path"`             // absolute
	Text   *string `json:"text,omitempty"`   // content of a file
	Source string  `json:"source,omitempty"` // file in the closure whose content it has
	Target string  `json:"target,omitempty"` // of a symlink
	Mode   string  `json:"mode,omitempty"`   // octal; "" is 0644, of a directory 0755
	UID    int64   `json:"uid,omitempty"`
	GID    int64   `json:"gid,omitempty"`
	Setuid bool    `json:"setuid,omitempty"` // the mode may have the bits that change the user or group
}

// Bounds of files. Ids are what a tar header holds.
const (
	maxFiles   = 10_000
	maxContent = 1 << 20 // bytes of one file
	maxOwner   = 1<<21 - 1
)

// Placed is an entry of the files layer.
type Placed struct {
	Name     string // without a leading slash
	Kind     closure.Kind
	Mode     int64
	UID, GID int64
	Target   string // of a symlink
	Content  []byte // of a file
}

var octalMode = regexp.MustCompile(`^0?[0-7]{3,4}$`)

// mode is the file's permission bits.
func (f *File) mode() (int64, error) {
	if f.Mode == "" {
		if f.Text == nil && f.Source == "" {
			return 0o755, nil
		}
		return 0o644, nil
	}
	if !octalMode.MatchString(f.Mode) {
		return 0, fmt.Errorf("file %s: mode %q is not octal, such as 0644", f.Path, f.Mode)
	}
	mode, err := strconv.ParseInt(f.Mode, 8, 64)
	if err == nil && mode&0o6000 != 0 && !f.Setuid {
		return 0, hint.Add(fmt.Errorf("file %s: mode %s lets whoever starts it become somebody else", f.Path, f.Mode), `if that is meant, add "setuid": true`)
	}
	return mode, err
}

func (f *File) check() error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
		return fmt.Errorf("file %q: not an absolute path below the root", f.Path)
	}
	if first := strings.SplitN(f.Path[1:], "/", 2)[0]; slices.Contains(reserved, first) {
		return fmt.Errorf("file %s: an image has files of its own in /%s", f.Path, first)
	}
	kinds := 0
	for _, is := range []bool{f.Text != nil, f.Source != "", f.Target != ""} {
		if is {
			kinds++
		}
	}
	if kinds > 1 {
		return fmt.Errorf("file %s: it has more than one of text, source and target", f.Path)
	}
	if f.Target != "" && f.Mode != "" {
		return fmt.Errorf("file %s: a symlink has no mode", f.Path)
	}
	if f.Text != nil && len(*f.Text) > maxContent {
		return fmt.Errorf("file %s: more than %d bytes; name a file of the closure as its source", f.Path, maxContent)
	}
	if f.UID < 0 || f.UID > maxOwner || f.GID < 0 || f.GID > maxOwner {
		return fmt.Errorf("file %s: ids are from 0 to %d", f.Path, maxOwner)
	}
	_, err := f.mode()
	return err
}

// checkFiles refuses files that no closure fits.
func checkFiles(files []File) error {
	if len(files) > maxFiles {
		return fmt.Errorf("%d files, at most %d are taken: put them into a store path, and link that", len(files), maxFiles)
	}
	seen := map[string]bool{}
	for _, f := range files {
		if err := f.check(); err != nil {
			return err
		}
		if seen[f.Path] {
			return fmt.Errorf("file %s: it is there twice", f.Path)
		}
		seen[f.Path] = true
	}
	return nil
}

// HasFiles reports whether the image has a files layer.
func (c *Choices) HasFiles() bool { return len(c.Files) > 0 }

// RootDirectories are the directories that the root layer has in every image.
var RootDirectories = []string{"dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "var/empty", "var/tmp"}

// rootFiles are the files that it has.
var rootFiles = []string{"etc/passwd", "etc/group", "etc/nsswitch.conf"}

// place makes the entries of the files layer: the files, and the directories that
// they are in and no other layer has.
func (r *Reader) place(app *Application) error {
	for _, f := range app.Files {
		name := f.Path[1:]
		if app.has(name) || slices.Contains(RootDirectories, name) || slices.Contains(rootFiles, name) {
			return hint.Add(fmt.Errorf("file %s: the image has it already", f.Path), "choose another place, or link less")
		}
		mode, err := f.mode()
		if err != nil {
			return err
		}
		p := Placed{Name: name, Kind: closure.KindDirectory, Mode: mode, UID: f.UID, GID: f.GID}
		switch {
		case f.Target != "":
			p.Kind, p.Target, p.Mode = closure.KindSymlink, f.Target, 0o777
		case f.Text != nil:
			p.Kind, p.Content = closure.KindFile, []byte(*f.Text)
		case f.Source != "":
			p.Kind = closure.KindFile
			if p.Content, err = r.copied(f); err != nil {
				return err
			}
		}
		app.Placed = append(app.Placed, p)
	}
	return app.placeParents()
}

// copied is the content of a file that is copied from the closure.
func (r *Reader) copied(f File) ([]byte, error) {
	store, name, ok := splitStorePath(f.Source)
	if !ok || r.closure.Info(store) == nil {
		return nil, fmt.Errorf("file %s: its source %s is not in the closure", f.Path, f.Source)
	}
	data, err := r.readFile(store, name)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.Path, err)
	}
	return data, nil
}

// placeParents adds the directories that files are in, and sorts.
func (a *Application) placeParents() error {
	kinds := map[string]closure.Kind{}
	for _, p := range a.Placed {
		kinds[p.Name] = p.Kind
	}
	for _, p := range slices.Clone(a.Placed) {
		for dir := parent(p.Name); dir != ""; dir = parent(dir) {
			if target, ok := a.target("/" + dir); ok {
				return hint.Add(fmt.Errorf("file /%s: /%s leads to %s", p.Name, dir, target), "link less: --link links only what you name")
			}
			switch kind, known := kinds[dir]; {
			case known && kind != closure.KindDirectory || slices.Contains(rootFiles, dir):
				return fmt.Errorf("file /%s: /%s is no directory", p.Name, dir)
			case known || a.has(dir) || slices.Contains(RootDirectories, dir):
				continue
			}
			kinds[dir] = closure.KindDirectory
			a.Placed = append(a.Placed, Placed{Name: dir, Kind: closure.KindDirectory, Mode: 0o755})
		}
	}
	slices.SortFunc(a.Placed, func(x, y Placed) int { return strings.Compare(x.Name, y.Name) })
	return nil
}
