package closure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nixoci/nixoci/internal/nar"
)

// storeTree reads file trees from a store directory in NAR order, with names sorted
// bytewise. It reads only the owner's executable bit of a file's mode, and ignores
// all other metadata. It opens each file relative to the file's directory, and does
// not follow symlinks.
type storeTree struct {
	dir      string // the store directory, such as /mnt/nix/store
	caseHack bool   // remove the suffix that Nix adds to names on case-insensitive file systems

	open func() (int, error) // opens dir at the first call and returns its descriptor
}

func newStoreTree(dir string) *storeTree {
	return &storeTree{
		dir: dir,
		// Nix's use-case-hack is on by default only on macOS.
		caseHack: runtime.GOOS == "darwin",
		open: sync.OnceValues(func() (int, error) {
			return ignoreEINTR2(func() (int, error) {
				return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			})
		}),
	}
}

// caseHackSuffix and a number are the suffix that Nix appends to a name that differs
// from another name only in case. Nix does so on case-insensitive file systems
// (archive.cc).
const caseHackSuffix = "~nix~case~hack~"

// treeWalk holds the state of one walk through one store path.
type treeWalk struct {
	*storeTree
	ctx     context.Context
	path    StorePath
	v       nar.Visitor
	content fileContent // shared by all files; valid only during Visitor.File
}

// errorf returns an error that contains the full name of the file.
func (t *storeTree) errorf(p StorePath, name string, format string, args ...any) error {
	return fmt.Errorf("read %s: %w", filepath.Join(t.dir, p.Base(), name), fmt.Errorf(format, args...))
}

func (t *storeTree) walk(ctx context.Context, p StorePath, v nar.Visitor) error {
	w := &treeWalk{storeTree: t, ctx: ctx, path: p, v: v}
	store, err := t.open()
	if err != nil {
		return fmt.Errorf("open store directory %s: %w", t.dir, err)
	}
	var st unix.Stat_t
	if err := fstatat(store, p.Base(), &st); err != nil {
		return w.errorf(p, "", "%w", err)
	}
	return w.entry(store, p.Base(), "", fileMode(&st))
}

// entry visits one entry of the tree. file is the entry's name in the directory dir.
// name is its path in the tree. entry uses only the type bits of mode.
func (w *treeWalk) entry(dir int, file, name string, mode fs.FileMode) error {
	switch mode.Type() {
	case fs.ModeDir:
		return w.directory(dir, file, name)
	case 0:
		return w.file(dir, file, name)
	case fs.ModeSymlink:
		target, err := readlinkat(dir, file)
		if err != nil {
			return w.errorf(w.path, name, "%w", err)
		}
		return w.v.Symlink(name, target)
	}
	return w.errorf(w.path, name, "%w", errKind(mode))
}

func errKind(mode fs.FileMode) error {
	kind := "a special file"
	switch mode.Type() {
	case fs.ModeSocket:
		kind = "a socket"
	case fs.ModeNamedPipe:
		kind = "a named pipe"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		kind = "a device"
	}
	return fmt.Errorf("%w: %s, which a store path cannot hold", nar.ErrMalformed, kind)
}

func (w *treeWalk) directory(dir int, file, name string) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	fd, err := openat(dir, file, unix.O_DIRECTORY)
	if err != nil {
		return w.errorf(w.path, name, "%w", err)
	}
	// On file systems that do not report file types, ReadDir needs this full name.
	f := os.NewFile(uintptr(fd), filepath.Join(w.dir, w.path.Base(), name))
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return w.errorf(w.path, name, "%w", err)
	}
	if err := w.v.Directory(name); err != nil {
		return err
	}
	names, err := w.names(entries)
	if err != nil {
		return w.errorf(w.path, name, "%w", err)
	}
	for _, n := range names {
		child := n.name
		if name != "" {
			child = name + "/" + child
		}
		if err := w.entry(fd, n.file, child, n.mode); err != nil {
			return err
		}
	}
	return nil
}

type treeName struct {
	name string // name in the NAR
	file string // name in the file system
	mode fs.FileMode
}

// names returns the entries of a directory in NAR order.
func (t *storeTree) names(entries []fs.DirEntry) ([]treeName, error) {
	names := make([]treeName, len(entries))
	for i, e := range entries {
		name := e.Name()
		if t.caseHack {
			name, _, _ = strings.Cut(name, caseHackSuffix)
		}
		names[i] = treeName{name, e.Name(), e.Type()}
	}
	slices.SortFunc(names, func(a, b treeName) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.file, b.file))
	})
	for i := 1; i < len(names); i++ {
		if names[i].name == names[i-1].name {
			return nil, fmt.Errorf("%w: %q and %q are the same name", nar.ErrMalformed, names[i-1].file, names[i].file)
		}
	}
	return names, nil
}

// openFile opens a regular file. Another process may have replaced the file by a named
// pipe. So openFile uses O_NONBLOCK, with which opening a pipe does not wait.
func openFile(dir int, file string) (fd int, st unix.Stat_t, err error) {
	if fd, err = openat(dir, file, unix.O_NONBLOCK); err != nil {
		return -1, st, err
	}
	if err = ignoreEINTR(func() error { return unix.Fstat(fd, &st) }); err == nil && !fileMode(&st).IsRegular() {
		err = errKind(fileMode(&st))
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

func (w *treeWalk) file(dir int, file, name string) error {
	fd, st, err := openFile(dir, file)
	if err != nil {
		return w.errorf(w.path, name, "%w", err)
	}
	defer unix.Close(fd)
	w.content = fileContent{w: w, name: name, fd: fd, left: st.Size}
	if err := w.v.File(name, st.Mode&unix.S_IXUSR != 0, st.Size, &w.content); err != nil {
		return err
	}
	if w.content.left != 0 {
		return nar.ErrUnread(name, w.content.left)
	}
	var b [1]byte
	n, err := ignoreEINTR2(func() (int, error) { return unix.Pread(fd, b[:], st.Size) })
	if err != nil {
		return w.errorf(w.path, name, "%w", err)
	}
	if n > 0 {
		return w.errorf(w.path, name, "file grew while it was read")
	}
	return nil
}

// fileContent reads the contents of a file directly into the caller's buffer.
type fileContent struct {
	w    *treeWalk
	name string
	fd   int
	left int64
}

func (c *fileContent) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := ignoreEINTR2(func() (int, error) { return unix.Read(c.fd, p) })
	if err != nil {
		return 0, c.w.errorf(c.w.path, c.name, "%w", err)
	}
	if n == 0 {
		return 0, c.w.errorf(c.w.path, c.name, "file shrank while it was read: %w", io.ErrUnexpectedEOF)
	}
	c.left -= int64(n)
	return n, nil
}

// find opens the directory that contains the file name of the store path p. It does
// not follow symlinks. It calls f with the directory and the last element of name.
func (t *storeTree) find(p StorePath, name string, f func(dir int, file string) error) error {
	dir, err := t.open()
	if err != nil {
		return fmt.Errorf("open store directory %s: %w", t.dir, err)
	}
	elems := []string{p.Base()}
	if name != "" {
		elems = append(elems, strings.Split(name, "/")...)
	}
	for i, elem := range elems[:len(elems)-1] {
		fd, err := openat(dir, elem, unix.O_DIRECTORY)
		if i > 0 {
			unix.Close(dir)
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			err = fs.ErrNotExist
		}
		if err != nil {
			return t.errorf(p, name, "%w", err)
		}
		dir = fd
	}
	if len(elems) > 1 {
		defer unix.Close(dir)
	}
	if err := f(dir, elems[len(elems)-1]); err != nil {
		return t.errorf(p, name, "%w", err)
	}
	return nil
}

func (t *storeTree) lookup(p StorePath, name string) (e Entry, err error) {
	err = t.find(p, name, func(dir int, file string) error {
		var st unix.Stat_t
		if err := fstatat(dir, file, &st); err != nil {
			return err
		}
		switch mode := fileMode(&st); mode.Type() {
		case fs.ModeDir:
			e.Kind = KindDirectory
		case 0:
			e = Entry{Kind: KindFile, Executable: st.Mode&unix.S_IXUSR != 0, Size: st.Size}
		case fs.ModeSymlink:
			e.Kind = KindSymlink
			e.Target, err = readlinkat(dir, file)
			return err
		default:
			return errKind(mode)
		}
		return nil
	})
	return e, err
}

func (t *storeTree) readFile(info *Info, name string, limit int64) ([]byte, error) {
	e, err := t.lookup(info.Path, name)
	if err != nil {
		return nil, err
	}
	if err := checkReadable(info, name, e, limit); err != nil {
		return nil, err
	}
	var data []byte
	err = t.find(info.Path, name, func(dir int, file string) error {
		fd, st, err := openFile(dir, file)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if st.Size != e.Size {
			return errors.New("file changed while it was read")
		}
		w := &treeWalk{storeTree: t, path: info.Path}
		data = make([]byte, st.Size)
		_, err = io.ReadFull(&fileContent{w: w, name: name, fd: fd, left: st.Size}, data)
		return err
	})
	return data, err
}

// Go's scheduler sends signals to the program's threads. On some file systems, such a
// signal makes a system call return EINTR. The following functions repeat the call.

func ignoreEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func ignoreEINTR2[T any](f func() (T, error)) (T, error) {
	for {
		if v, err := f(); err != unix.EINTR {
			return v, err
		}
	}
}

func openat(dir int, file string, flags int) (int, error) {
	return ignoreEINTR2(func() (int, error) {
		return unix.Openat(dir, file, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

func fstatat(dir int, file string, st *unix.Stat_t) error {
	return ignoreEINTR(func() error { return unix.Fstatat(dir, file, st, unix.AT_SYMLINK_NOFOLLOW) })
}

func readlinkat(dir int, file string) (string, error) {
	buf := make([]byte, nar.MaxTarget+1)
	n, err := ignoreEINTR2(func() (int, error) { return unix.Readlinkat(dir, file, buf) })
	if err != nil {
		return "", err
	}
	if n > nar.MaxTarget {
		return "", nar.Errorf("symlink target longer than %d bytes", nar.MaxTarget)
	}
	return string(buf[:n]), nil
}

func fileMode(st *unix.Stat_t) fs.FileMode {
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFBLK, unix.S_IFCHR:
		return fs.ModeDevice
	}
	return fs.ModeIrregular
}
