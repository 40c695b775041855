package application

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// File describes a file, directory or symlink that the user adds to the image, with
// owner and mode. At most one of Text, Source and Target is set. A File with none of
// them describes a directory.
type File struct {
	Path   string  `json:"path"`             // absolute path in the image
	Text   *string `json:"text,omitempty"`   // content of the file
	Source string  `json:"source,omitempty"` // file of the closure to copy, or directory of the closure to copy with its content
	Target string  `json:"target,omitempty"` // target of the symlink
	Mode   string  `json:"mode,omitempty"`   // octal; "" means 0644 for files, and 0755 for directories and programs. In a copied directory, the entries get the modes of copiedMode
	UID    int64   `json:"uid,omitempty"`
	GID    int64   `json:"gid,omitempty"`
	Setuid bool    `json:"setuid,omitempty"` // Mode may contain the bits setuid and setgid
}

// Limits of the added files.
const (
	maxFiles   = 10_000
	maxContent = 1 << 20 // bytes of one file
	maxSum     = 1 << 26 // bytes of all files together, because nixoci holds them in memory
	maxOwner   = 1<<21 - 1
)

// Placed describes an entry of the files layer.
type Placed struct {
	Name     string // without a leading slash
	Kind     closure.Kind
	Mode     int64
	UID, GID int64
	Target   string // target of a symlink
	Content  []byte // content of a file
}

var octalMode = regexp.MustCompile(`^0?[0-7]{3,4}$`)

// mode returns the permission bits of the file.
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
		return 0, hint.Add(fmt.Errorf("file %s: mode %s has the set-user-ID or set-group-ID bit", f.Path, f.Mode), `if you want that, add "setuid": true`)
	}
	return mode, err
}

func (f *File) check() error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
		return fmt.Errorf("file %q: not an absolute path below the root", f.Path)
	}
	if first := strings.SplitN(f.Path[1:], "/", 2)[0]; slices.Contains(reserved, first) {
		return fmt.Errorf("file %s: nothing can be added in /%s, which the image or the runtime uses", f.Path, first)
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

// checkFiles refuses files that are wrong for every closure.
func checkFiles(files []File) error {
	if len(files) > maxFiles {
		return fmt.Errorf("%d files, at most %d are allowed: put them into a store path, and link it", len(files), maxFiles)
	}
	seen := map[string]bool{}
	for _, f := range files {
		if err := f.check(); err != nil {
			return err
		}
		if seen[f.Path] {
			return fmt.Errorf("file %s is given twice", f.Path)
		}
		seen[f.Path] = true
	}
	return nil
}

// HasFiles reports whether the image has a files layer.
func (c *Choices) HasFiles() bool { return len(c.Files) > 0 }

// RootDirectories lists the directories of the root layer in every image without a
// base image.
var RootDirectories = []string{"dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "var/empty", "var/tmp"}

// rootFiles lists the files of the root layer in every image without a base image.
var rootFiles = []string{"etc/passwd", "etc/group", "etc/nsswitch.conf"}

// place makes the entries of the files layer. They are the files of the choices, and
// the parent directories that no other layer contains. In an image with a base
// image, the root layer has none of its usual files and directories.
func (r *Reader) place(app *Application, based bool) error {
	for _, f := range app.Files {
		name := f.Path[1:]
		if app.isRoot(name, based) {
			return hint.Add(fmt.Errorf("file %s: the image has it already", f.Path), "choose another place, or link fewer files with --link")
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
			copied, err := r.copied(f, p)
			if err != nil {
				return err
			}
			app.Placed = append(app.Placed, copied...)
			continue
		}
		app.Placed = append(app.Placed, p)
	}
	if err := app.checkPlaced(based); err != nil {
		return err
	}
	return app.placeParents(based)
}

// checkPlaced refuses too many or too large files, and a file that the image already
// has. Copied directories can contain such files.
func (a *Application) checkPlaced(based bool) error {
	if len(a.Placed) > maxFiles {
		return hint.Add(fmt.Errorf("%d files with owners, at most %d are allowed", len(a.Placed), maxFiles), "copy less, and link the rest")
	}
	seen, sum := map[string]bool{}, 0
	for _, p := range a.Placed {
		if seen[p.Name] {
			return fmt.Errorf("file /%s is given twice", p.Name)
		}
		if a.isRoot(p.Name, based) {
			return hint.Add(fmt.Errorf("file /%s: the image has it already", p.Name), "choose another place, or link fewer files with --link")
		}
		seen[p.Name] = true
		sum += len(p.Content)
	}
	if sum > maxSum {
		return hint.Add(fmt.Errorf("files with owners have %d bytes, at most %d are allowed", sum, maxSum), "copy less, and link the rest")
	}
	return nil
}

// userFiles are the files of the root layer that list users and groups.
var userFiles = []string{"etc/passwd", "etc/group"}

// isRoot reports whether the root layer has an entry called name. based is true for
// an image with a base image.
func (a *Application) isRoot(name string, based bool) bool {
	return a.has(name) || a.PasswdFile != nil && slices.Contains(userFiles, name) || !based && (slices.Contains(RootDirectories, name) || slices.Contains(rootFiles, name))
}

// copied returns the entries for f.Source, a file or directory of the closure. The
// first entry is p with the kind, mode and content of the source.
func (r *Reader) copied(f File, p Placed) ([]Placed, error) {
	store, name, ok := splitStorePath(f.Source)
	if !ok || r.closure.Info(store) == nil {
		return nil, fmt.Errorf("file %s: its source %s is not in the closure", f.Path, f.Source)
	}
	at, err := r.find(store, name)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.Path, err)
	}
	p.Kind = at.Kind
	if f.Mode == "" {
		p.Mode = copiedMode(at.Entry)
	}
	all := []Placed{p}
	switch at.Kind {
	case closure.KindFile:
		all[0].Content, err = r.readFile(store, name)
	case closure.KindDirectory:
		below := &copier{from: at.name, to: p, all: all}
		if err = closure.Walk(r.ctx, r.source, r.closure.Info(at.store), below); err != nil && below.err == nil {
			err = &ReadError{err}
		}
		all = below.all
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", f.Path, err)
	}
	return all, nil
}

// copier is a Visitor that copies the content of a directory in a store path. It
// copies symlinks as symlinks.
type copier struct {
	from string // path of the directory to copy, below the store path
	to   Placed // entry for this directory in the image
	all  []Placed
	sum  int64
	err  error // why the copier refused a file
}

func (c *copier) add(name string, e closure.Entry, content io.Reader) error {
	rest, ok := strings.CutPrefix(name, c.from)
	if c.from != "" {
		rest, ok = strings.CutPrefix(name, c.from+"/")
	}
	if !ok || rest == "" {
		_, err := io.Copy(io.Discard, content)
		return err
	}
	switch c.sum += e.Size; {
	case e.Size > maxContent:
		c.err = fmt.Errorf("%s has %d bytes, at most %d are allowed", name, e.Size, maxContent)
	case c.sum > maxSum:
		c.err = fmt.Errorf("more than %d bytes", maxSum)
	case len(c.all) == maxFiles:
		c.err = fmt.Errorf("more than %d files", maxFiles)
	}
	if c.err != nil {
		return hint.Add(c.err, "link what is large: --link, or copyToRoot in the Nix function")
	}
	data, err := io.ReadAll(content)
	c.all = append(c.all, Placed{Name: path.Join(c.to.Name, rest), Kind: e.Kind, Mode: copiedMode(e), UID: c.to.UID, GID: c.to.GID, Target: e.Target, Content: data})
	return err
}

func (c *copier) Directory(name string) error {
	return c.add(name, closure.Entry{Kind: closure.KindDirectory}, strings.NewReader(""))
}

func (c *copier) Symlink(name, target string) error {
	return c.add(name, closure.Entry{Kind: closure.KindSymlink, Target: target}, strings.NewReader(""))
}

func (c *copier) File(name string, executable bool, size int64, content io.Reader) error {
	return c.add(name, closure.Entry{Kind: closure.KindFile, Executable: executable, Size: size}, content)
}

// copiedMode returns the mode of a copied entry. It is the mode in the store, with
// write permission for the owner.
func copiedMode(e closure.Entry) int64 {
	switch {
	case e.Kind == closure.KindSymlink:
		return 0o777
	case e.Kind == closure.KindDirectory || e.Executable:
		return 0o755
	}
	return 0o644
}

// placeParents adds the parent directories of the files, and sorts all entries.
func (a *Application) placeParents(based bool) error {
	kinds := map[string]closure.Kind{}
	for _, p := range a.Placed {
		kinds[p.Name] = p.Kind
	}
	for _, p := range slices.Clone(a.Placed) {
		for dir := parent(p.Name); dir != ""; dir = parent(dir) {
			if target, ok := a.target("/" + dir); ok {
				return hint.Add(fmt.Errorf("file /%s: /%s is a link to %s", p.Name, dir, target), "link fewer files: --link links only what you name")
			}
			switch kind, known := kinds[dir]; {
			case known && kind != closure.KindDirectory || !based && slices.Contains(rootFiles, dir):
				return fmt.Errorf("file /%s: /%s is a file, not a directory", p.Name, dir)
			case known || a.has(dir) || !based && slices.Contains(RootDirectories, dir):
				continue
			}
			kinds[dir] = closure.KindDirectory
			a.Placed = append(a.Placed, Placed{Name: dir, Kind: closure.KindDirectory, Mode: modeOf(dir)})
		}
	}
	slices.SortFunc(a.Placed, func(x, y Placed) int { return strings.Compare(x.Name, y.Name) })
	return nil
}
