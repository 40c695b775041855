package closure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Kind is the type of an entry in a file tree.
type Kind uint8

const (
	KindDirectory Kind = iota + 1
	KindFile
	KindSymlink
)

func (k Kind) String() string {
	switch k {
	case KindDirectory:
		return "directory"
	case KindFile:
		return "file"
	case KindSymlink:
		return "symlink"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Entry describes one entry of a file tree, without its contents.
type Entry struct {
	Kind       Kind
	Executable bool   // for files only
	Size       int64  // for files only, in bytes
	Target     string // for symlinks only
}

// FileSource is a Source that can read one entry of a tree without visiting the
// whole tree. Its methods return the same errors as [Lookup] and [ReadFile].
type FileSource interface {
	Source
	Lookup(ctx context.Context, info *Info, name string) (Entry, error)
	ReadFile(ctx context.Context, info *Info, name string, limit int64) ([]byte, error)
}

// ErrNotRegular is wrapped by ReadFile's error about a directory or symlink.
var ErrNotRegular = errors.New("not a regular file")

// Lookup returns the entry at the path name in info.Path's tree. The name "" means
// the store path itself. Lookup follows no symlinks, not even for a directory in name.
// If there is no such entry, the error wraps fs.ErrNotExist.
func Lookup(ctx context.Context, src Source, info *Info, name string) (Entry, error) {
	if err := checkFileName(info, name); err != nil {
		return Entry{}, err
	}
	if s, ok := src.(FileSource); ok {
		return s.Lookup(ctx, info, name)
	}
	f := finder{name: name, limit: -1}
	if err := Walk(ctx, src, info, &f); err != nil {
		return Entry{}, err
	}
	return f.entry, f.err(info)
}

// ReadFile returns the contents of the file at the path name in info.Path's tree. It
// does not follow symlinks. If there is no such file, the error wraps fs.ErrNotExist
// or [ErrNotRegular]. ReadFile also returns an error for a file of more than limit
// bytes.
//
// If src is not a [FileSource], ReadFile reads the whole tree and checks the
// narHash.
func ReadFile(ctx context.Context, src Source, info *Info, name string, limit int64) ([]byte, error) {
	if err := checkFileName(info, name); err != nil {
		return nil, err
	}
	if s, ok := src.(FileSource); ok {
		return s.ReadFile(ctx, info, name, limit)
	}
	f := finder{name: name, limit: limit}
	if err := Walk(ctx, src, info, &f); err != nil {
		return nil, err
	}
	return f.result(info)
}

func checkFileName(info *Info, name string) error {
	if name != "" && (!fs.ValidPath(name) || name == "." || strings.IndexByte(name, 0) >= 0) {
		return fmt.Errorf("%s: %q is not a name below it", info.Path, name)
	}
	return nil
}

// checkReadable returns an error if ReadFile cannot return the contents of e.
func checkReadable(info *Info, name string, e Entry, limit int64) error {
	switch {
	case e.Kind != KindFile:
		return fmt.Errorf("%s: %w but a %s", joinName(info, name), ErrNotRegular, e.Kind)
	case e.Size > limit:
		return fmt.Errorf("%s: %d bytes, more than the %d expected", joinName(info, name), e.Size, limit)
	}
	return nil
}

func joinName(info *Info, name string) string {
	if name == "" {
		return string(info.Path)
	}
	return string(info.Path) + "/" + name
}

// finder is a Visitor that keeps the entry called name. If the entry is a file of at
// most limit bytes, finder keeps its contents, too.
type finder struct {
	name  string
	limit int64
	entry Entry
	data  []byte
}

func (f *finder) err(info *Info) error {
	if f.entry.Kind == 0 {
		return fmt.Errorf("%s: %w", joinName(info, f.name), fs.ErrNotExist)
	}
	return nil
}

// result returns the contents or the error that [ReadFile] must return.
func (f *finder) result(info *Info) ([]byte, error) {
	if err := f.err(info); err != nil {
		return nil, err
	}
	if err := checkReadable(info, f.name, f.entry, f.limit); err != nil {
		return nil, err
	}
	return f.data, nil
}

func (f *finder) Directory(name string) error {
	if name == f.name {
		f.entry = Entry{Kind: KindDirectory}
	}
	return nil
}

func (f *finder) Symlink(name, target string) error {
	if name == f.name {
		f.entry = Entry{Kind: KindSymlink, Target: target}
	}
	return nil
}

func (f *finder) File(name string, executable bool, size int64, content io.Reader) error {
	if name == f.name {
		f.entry = Entry{Kind: KindFile, Executable: executable, Size: size}
		if size <= f.limit {
			f.data = make([]byte, size)
			_, err := io.ReadFull(content, f.data)
			return err
		}
	}
	_, err := io.Copy(io.Discard, content)
	return err
}
