package application

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// Reader reads the files of a closure. It reads each store path completely and only
// once, and checks the narHash.
type Reader struct {
	ctx     context.Context
	source  closure.Source
	closure *closure.Closure
	trees   map[treeKey]*tree
}

// treeKey identifies the content of a store path.
type treeKey struct {
	path    closure.StorePath
	narHash closure.Hash
}

// NewReader returns a Reader for the files of c in src.
func NewReader(ctx context.Context, src closure.Source, c *closure.Closure) *Reader {
	return &Reader{ctx: ctx, source: src, closure: c, trees: map[treeKey]*tree{}}
}

// Of returns a Reader for another closure. The new Reader and r share the store paths
// that either of them has read.
func (r *Reader) Of(src closure.Source, c *closure.Closure) *Reader {
	return &Reader{ctx: r.ctx, source: src, closure: c, trees: r.trees}
}

// tree holds the content of one store path. The keys of its maps are paths relative
// to the store path.
type tree struct {
	entries  map[string]entry
	children map[string][]string // names in each directory, sorted
}

// entry describes an entry of a tree. head holds the first bytes of an ELF file or a
// script, and is nil for all others.
type entry struct {
	closure.Entry
	head []byte
}

// maxHead is the largest number of bytes in head. This is enough for an ELF header,
// or for the first line of a script.
const maxHead = 256

// maxLinks is the maximum number of symlinks that find follows for one name. The
// kernel has the same limit.
const maxLinks = 40

func (t *tree) add(name string, e entry) {
	t.entries[name] = e
	if name != "" {
		dir := parent(name)
		t.children[dir] = append(t.children[dir], path.Base(name))
	}
}

// parent returns the directory that contains name. If this is the store path itself,
// parent returns "".
func parent(name string) string {
	if dir := path.Dir(name); dir != "." {
		return dir
	}
	return ""
}

func (t *tree) Directory(name string) error {
	t.add(name, entry{Entry: closure.Entry{Kind: closure.KindDirectory}})
	return nil
}

func (t *tree) Symlink(name, target string) error {
	t.add(name, entry{Entry: closure.Entry{Kind: closure.KindSymlink, Target: target}})
	return nil
}

func (t *tree) File(name string, executable bool, size int64, content io.Reader) error {
	e := entry{Entry: closure.Entry{Kind: closure.KindFile, Executable: executable, Size: size}}
	head := make([]byte, min(size, maxHead))
	if _, err := io.ReadFull(content, head); err != nil {
		return err
	}
	if _, elf := closure.ELFPlatform(head); elf {
		e.head = slices.Clone(head[:closure.ELFHead])
	} else if strings.HasPrefix(string(head), "#!") {
		e.head = head
	}
	t.add(name, e)
	_, err := io.Copy(io.Discard, content)
	return err
}

// tree reads one store path, unless the Reader has already read it.
func (r *Reader) tree(p closure.StorePath) (*tree, error) {
	info := r.closure.Info(p)
	if info == nil {
		return nil, fmt.Errorf("%s: not in the closure: %w", p, fs.ErrNotExist)
	}
	key := treeKey{p, info.NarHash}
	if t := r.trees[key]; t != nil {
		return t, nil
	}
	t := &tree{entries: map[string]entry{}, children: map[string][]string{}}
	if err := closure.Walk(r.ctx, r.source, info, t); err != nil {
		return nil, &ReadError{err}
	}
	r.trees[key] = t
	return t, nil
}

// ReadError means that a store path could not be read. All other errors of this
// package concern the content of the closure.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// place describes an entry that is not a symlink, and where it is in the store.
type place struct {
	store closure.StorePath
	name  string // path below store, "" for the store path itself
	entry
}

func (p place) String() string { return path.Join(string(p.store), p.name) }

// find returns the entry at name in a store path. It follows symlinks within the
// closure. The error wraps fs.ErrNotExist if there is no such entry, or if a symlink
// leads out of the closure.
func (r *Reader) find(p closure.StorePath, name string) (place, error) {
	asked := path.Join(string(p), name)
	var done []string // leading elements of the path below p; none of them is a symlink
	todo := elements(name)
	for links := 0; ; {
		t, err := r.tree(p)
		if err != nil {
			return place{}, err
		}
		at := path.Join(append(slices.Clone(done), todo[:min(1, len(todo))]...)...)
		e, ok := t.entries[at]
		switch {
		case !ok:
			return place{}, fmt.Errorf("%s: %w", asked, fs.ErrNotExist)
		case e.Kind != closure.KindSymlink && len(todo) > 1:
			done, todo = append(done, todo[0]), todo[1:]
			continue
		case e.Kind != closure.KindSymlink:
			return place{p, at, e}, nil
		}
		if links++; links > maxLinks {
			return place{}, fmt.Errorf("%s: too many symlinks: %w", asked, fs.ErrNotExist)
		}
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(path.Join(string(p), at)), target)
		}
		target = path.Join(append([]string{target}, todo[min(1, len(todo)):]...)...)
		next, rest, ok := splitStorePath(target)
		if !ok {
			return place{}, fmt.Errorf("%s: it leads to %s, which is not in the closure: %w", asked, target, fs.ErrNotExist)
		}
		p, done, todo = next, nil, elements(rest)
	}
}

func elements(name string) []string {
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

// splitStorePath does the same as [closure.SplitFile] for an absolute name, which it cleans
// first.
func splitStorePath(file string) (p closure.StorePath, name string, ok bool) {
	if !path.IsAbs(file) {
		return "", "", false
	}
	return closure.SplitFile(path.Clean(file))
}

// list returns the sorted names in a directory. It returns none if the directory
// does not exist.
func (r *Reader) list(p closure.StorePath, name string) ([]string, error) {
	dir, err := r.find(p, name)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	t, err := r.tree(dir.store)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(t.children[dir.name])
	slices.Sort(names)
	return names, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
