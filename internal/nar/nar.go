package nar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// magic begins every NAR (Nix manual, "Nix Archive (NAR) format"). A NAR is a
// tree of nodes, written as strings. Each string is a little-endian 64-bit
// length and the bytes, padded with zeros to a multiple of eight.
const magic = "nix-archive-1"

// Limits of names, targets and paths in a NAR. Linux does not allow longer ones, so no
// usable store path exceeds these limits.
const (
	maxName   = 255  // bytes of an entry's name; Linux calls this limit NAME_MAX
	MaxTarget = 4095 // bytes of a symlink's target; PATH_MAX of Linux without the NUL
	maxPath   = 4095 // bytes of an entry's path with its slashes; this also limits the depth
)

// ErrMalformed is wrapped by every error about a file tree that a NAR cannot
// hold. [Read], [Writer] and [closure.Walk] return such errors.
var ErrMalformed = errors.New("malformed NAR")

func Errorf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// checkName checks the name of an entry in the directory dir. prev is the name of
// the previous entry, or "" for the first entry.
func checkName(dir, name, prev string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return Errorf("entry named %q in %q", name, dir)
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return Errorf("entry named %q in %q has a slash or NUL", name, dir)
	case len(name) > maxName:
		return Errorf("entry name of %d bytes in %q", len(name), dir)
	case len(dir)+1+len(name) > maxPath:
		return Errorf("path longer than %d bytes below %.80q…", maxPath, dir)
	case name == prev:
		return Errorf("entry %q is twice in %q", name, dir)
	case name < prev:
		return Errorf("entry %q comes after %q in %q: not sorted", name, prev, dir)
	}
	return nil
}

func checkTarget(name, target string) error {
	switch {
	case target == "" || strings.IndexByte(target, 0) >= 0:
		return Errorf("symlink %q has target %q", name, target)
	case len(target) > MaxTarget:
		return Errorf("symlink %q has a target of %d bytes", name, len(target))
	}
	return nil
}

// Framer converts the calls of a Visitor to all bytes of a NAR except the contents
// of files. It appends these bytes to Buf. The caller empties Buf.
type Framer struct {
	Buf  []byte
	open []openDir // the open directories, outermost first
	done bool      // the root node is complete
}

type openDir struct {
	name string // path relative to the root, "" for the root itself
	prev string // name of the last entry so far, "" before the first entry
}

func (f *Framer) str(s string) {
	f.Buf = binary.LittleEndian.AppendUint64(f.Buf, uint64(len(s)))
	f.Buf = append(f.Buf, s...)
	f.Buf = append(f.Buf, zeros[:pad(int64(len(s)))]...)
}

func (f *Framer) strs(all ...string) {
	for _, s := range all {
		f.str(s)
	}
}

var zeros [8]byte

// pad returns the number of zeros that follow a string of n bytes.
func pad(n int64) int { return int(-n & 7) }

// entry closes the open directories that do not contain name, and then starts the
// node of name.
func (f *Framer) entry(name string) error {
	if name == "" {
		if f.done || len(f.open) > 0 {
			return Errorf("a second root")
		}
		f.str(magic)
		f.str("(")
		return nil
	}
	if len(f.open) == 0 {
		return Errorf("entry %q without a root directory", name)
	}
	for {
		d := &f.open[len(f.open)-1]
		base, ok := name, true
		if d.name != "" {
			if base, ok = strings.CutPrefix(name, d.name); ok {
				base, ok = strings.CutPrefix(base, "/")
			}
		}
		if ok {
			if err := checkName(d.name, base, d.prev); err != nil {
				return err
			}
			d.prev = base
			f.strs("entry", "(", "name", base, "node", "(")
			return nil
		}
		f.closeDir()
	}
}

func (f *Framer) closeDir() {
	f.open = f.open[:len(f.open)-1]
	f.str(")") // end of the directory's node
	f.endEntry()
}

// endEntry closes the entry that surrounds a node. The root node has no entry.
func (f *Framer) endEntry() {
	if len(f.open) > 0 {
		f.str(")")
	} else {
		f.done = true
	}
}

func (f *Framer) Directory(name string) error {
	if err := f.entry(name); err != nil {
		return err
	}
	f.strs("type", "directory")
	f.open = append(f.open, openDir{name: name})
	return nil
}

func (f *Framer) Symlink(name, target string) error {
	if err := checkTarget(name, target); err != nil {
		return err
	}
	if err := f.entry(name); err != nil {
		return err
	}
	f.strs("type", "symlink", "target", target, ")")
	f.endEntry()
	return nil
}

// File writes the bytes before the contents of a file. The caller must write
// size bytes of contents and then call FileEnd.
func (f *Framer) File(name string, executable bool, size int64) error {
	if size < 0 {
		return Errorf("file %q of %d bytes", name, size)
	}
	if err := f.entry(name); err != nil {
		return err
	}
	f.strs("type", "regular")
	if executable {
		f.strs("executable", "")
	}
	f.str("contents")
	f.Buf = binary.LittleEndian.AppendUint64(f.Buf, uint64(size))
	return nil
}

func (f *Framer) FileEnd(size int64) {
	f.Buf = append(f.Buf, zeros[:pad(size)]...)
	f.str(")")
	f.endEntry()
}

// End closes all open directories and completes the NAR. The caller must not add an
// entry after End.
func (f *Framer) End() error {
	for len(f.open) > 0 {
		f.closeDir()
	}
	if !f.done {
		return Errorf("empty")
	}
	return nil
}

// Writer is a Visitor that writes a NAR. It rejects the same trees as [Read].
type Writer struct {
	w   io.Writer
	f   Framer
	buf []byte // for copying contents whose reader has no WriteTo method
}

// The Writer collects contents of up to narSmall bytes and writes them when it has
// narGather bytes. Most files of a store are small, and a hash is faster with large
// writes.
const (
	narGather = 32 << 10
	narSmall  = 4 << 10
)

// NewWriter returns a Writer that writes to w. The NAR is complete only after Close.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

func (w *Writer) flush() error {
	_, err := w.w.Write(w.f.Buf)
	w.f.Buf = w.f.Buf[:0]
	return err
}

// gathered flushes the buffer if it holds at least narGather bytes.
func (w *Writer) gathered() error {
	if len(w.f.Buf) < narGather {
		return nil
	}
	return w.flush()
}

func (w *Writer) Directory(name string) error {
	if err := w.f.Directory(name); err != nil {
		return err
	}
	return w.gathered()
}

func (w *Writer) Symlink(name, target string) error {
	if err := w.f.Symlink(name, target); err != nil {
		return err
	}
	return w.gathered()
}

// File writes a file. If content has a WriteTo method, this method must write
// exactly size bytes. From other readers, File reads at most size bytes.
func (w *Writer) File(name string, executable bool, size int64, content io.Reader) error {
	if err := w.f.File(name, executable, size); err != nil {
		return err
	}
	n, err := w.contents(size, content)
	switch {
	case err != nil:
		return err
	case n < size:
		return io.ErrUnexpectedEOF
	case n > size:
		return Errorf("file %q is longer than the %d bytes that were announced", name, size)
	}
	w.f.FileEnd(size)
	return w.gathered()
}

func (w *Writer) contents(size int64, content io.Reader) (int64, error) {
	if from, ok := content.(io.WriterTo); ok {
		return from.WriteTo(contents{w})
	}
	if w.buf == nil {
		w.buf = make([]byte, 64<<10)
	}
	return io.CopyBuffer(contents{w}, io.LimitReader(content, size), w.buf)
}

// contents is the io.Writer that receives the contents of a file.
type contents struct{ *Writer }

func (w contents) Write(p []byte) (int, error) {
	if len(p) <= narSmall {
		w.f.Buf = append(w.f.Buf, p...)
		return len(p), w.gathered()
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// Close writes the end of the NAR. It does not close the underlying writer.
func (w *Writer) Close() error {
	if err := w.f.End(); err != nil {
		return err
	}
	return w.flush()
}

// ErrUnread returns the error about a Visitor that has not read all contents of the
// file name. A caller that continued would hash or read the wrong bytes.
func ErrUnread(name string, left int64) error {
	return fmt.Errorf("visitor left %d bytes of %q unread", left, name)
}
