package closure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The NAR format (Nix manual, "Nix Archive (NAR) format"): a tree of nodes made
// of strings, each a little-endian 64-bit length and the bytes, padded with
// zeros to a multiple of eight.
const narMagic = "nix-archive-1"

// Bounds of what a NAR may hold. Linux takes nothing longer, so a NAR beyond
// them is no store path of any system that can run.
const (
	maxNARName   = 255  // bytes, NAME_MAX
	maxNARTarget = 4095 // bytes, PATH_MAX without its NUL
	maxNARPath   = 4095 // bytes of all names down to an entry with their slashes; bounds the depth as well
)

// ErrNAR is wrapped by every error about a file tree that no NAR may hold: in
// [ReadNAR] for what it reads, in [NARWriter] and [Walk] for what they are given.
var ErrNAR = errors.New("malformed NAR")

func narErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNAR, fmt.Sprintf(format, args...))
}

// checkNARName says what is wrong with the name of a directory entry that
// follows prev, "" for the first.
func checkNARName(dir, name, prev string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return narErrorf("entry named %q in %q", name, dir)
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return narErrorf("entry named %q in %q has a slash or NUL", name, dir)
	case len(name) > maxNARName:
		return narErrorf("entry name of %d bytes in %q", len(name), dir)
	case len(dir)+1+len(name) > maxNARPath:
		return narErrorf("path longer than %d bytes below %.80q…", maxNARPath, dir)
	case name == prev:
		return narErrorf("entry %q is twice in %q", name, dir)
	case name < prev:
		return narErrorf("entry %q comes after %q in %q: not sorted", name, prev, dir)
	}
	return nil
}

func checkNARTarget(name, target string) error {
	switch {
	case target == "" || strings.IndexByte(target, 0) >= 0:
		return narErrorf("symlink %q has target %q", name, target)
	case len(target) > maxNARTarget:
		return narErrorf("symlink %q has a target of %d bytes", name, len(target))
	}
	return nil
}

// narFramer turns the calls of a Visitor into what a NAR has around the
// contents of files. It appends to buf, which its owner empties.
type narFramer struct {
	buf  []byte
	open []narDir // the directories that are not closed yet, outermost first
	done bool     // the root was there, and is not an open directory
}

type narDir struct {
	name string // relative to the root, "" for the root itself
	prev string // the last entry that came
}

func (f *narFramer) str(s string) {
	f.buf = binary.LittleEndian.AppendUint64(f.buf, uint64(len(s)))
	f.buf = append(f.buf, s...)
	f.buf = append(f.buf, narZeros[:narPad(int64(len(s)))]...)
}

func (f *narFramer) strs(all ...string) {
	for _, s := range all {
		f.str(s)
	}
}

var narZeros [8]byte

// narPad is how many zeros follow n bytes.
func narPad(n int64) int { return int(-n & 7) }

// entry closes the directories that name is not in and starts its node.
func (f *narFramer) entry(name string) error {
	if name == "" {
		if f.done || len(f.open) > 0 {
			return narErrorf("a second root")
		}
		f.str(narMagic)
		f.str("(")
		return nil
	}
	if len(f.open) == 0 {
		return narErrorf("entry %q without a root directory", name)
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
			if err := checkNARName(d.name, base, d.prev); err != nil {
				return err
			}
			d.prev = base
			f.strs("entry", "(", "name", base, "node", "(")
			return nil
		}
		f.closeDir()
	}
}

func (f *narFramer) closeDir() {
	f.open = f.open[:len(f.open)-1]
	f.str(")") // of the directory
	f.endEntry()
}

// endEntry closes the entry around a node; the root has none.
func (f *narFramer) endEntry() {
	if len(f.open) > 0 {
		f.str(")")
	} else {
		f.done = true
	}
}

func (f *narFramer) directory(name string) error {
	if err := f.entry(name); err != nil {
		return err
	}
	f.strs("type", "directory")
	f.open = append(f.open, narDir{name: name})
	return nil
}

func (f *narFramer) symlink(name, target string) error {
	if err := checkNARTarget(name, target); err != nil {
		return err
	}
	if err := f.entry(name); err != nil {
		return err
	}
	f.strs("type", "symlink", "target", target, ")")
	f.endEntry()
	return nil
}

// file is followed by size bytes of content and then fileEnd.
func (f *narFramer) file(name string, executable bool, size int64) error {
	if size < 0 {
		return narErrorf("file %q of %d bytes", name, size)
	}
	if err := f.entry(name); err != nil {
		return err
	}
	f.strs("type", "regular")
	if executable {
		f.strs("executable", "")
	}
	f.str("contents")
	f.buf = binary.LittleEndian.AppendUint64(f.buf, uint64(size))
	return nil
}

func (f *narFramer) fileEnd(size int64) {
	f.buf = append(f.buf, narZeros[:narPad(size)]...)
	f.str(")")
	f.endEntry()
}

// end closes what is open. Nothing may follow.
func (f *narFramer) end() error {
	for len(f.open) > 0 {
		f.closeDir()
	}
	if !f.done {
		return narErrorf("empty")
	}
	return nil
}

// NARWriter is a Visitor that writes a NAR. It refuses what [ReadNAR] would.
type NARWriter struct {
	w   io.Writer
	f   narFramer
	buf []byte // for contents
}

// What is small is gathered: most files of a store are, and a hash takes each
// write that is no whole block apart.
const (
	narGather = 32 << 10
	narSmall  = 4 << 10
)

// NewNARWriter writes to w. The NAR is whole only after Close.
func NewNARWriter(w io.Writer) *NARWriter { return &NARWriter{w: w} }

func (w *NARWriter) flush() error {
	_, err := w.w.Write(w.f.buf)
	w.f.buf = w.f.buf[:0]
	return err
}

// gathered is flush where enough has come together.
func (w *NARWriter) gathered() error {
	if len(w.f.buf) < narGather {
		return nil
	}
	return w.flush()
}

func (w *NARWriter) Directory(name string) error {
	if err := w.f.directory(name); err != nil {
		return err
	}
	return w.gathered()
}

func (w *NARWriter) Symlink(name, target string) error {
	if err := w.f.symlink(name, target); err != nil {
		return err
	}
	return w.gathered()
}

// File writes a file. Content that has a WriteTo must have size bytes; of any
// other no more are read.
func (w *NARWriter) File(name string, executable bool, size int64, content io.Reader) error {
	if err := w.f.file(name, executable, size); err != nil {
		return err
	}
	n, err := w.contents(size, content)
	switch {
	case err != nil:
		return err
	case n < size:
		return io.ErrUnexpectedEOF
	case n > size:
		return narErrorf("file %q has more than its %d bytes", name, size)
	}
	w.f.fileEnd(size)
	return w.gathered()
}

func (w *NARWriter) contents(size int64, content io.Reader) (int64, error) {
	if from, ok := content.(io.WriterTo); ok {
		return from.WriteTo(narContents{w})
	}
	if w.buf == nil {
		w.buf = make([]byte, 64<<10)
	}
	return io.CopyBuffer(narContents{w}, io.LimitReader(content, size), w.buf)
}

// narContents takes a file's contents.
type narContents struct{ *NARWriter }

func (w narContents) Write(p []byte) (int, error) {
	if len(p) <= narSmall {
		w.f.buf = append(w.f.buf, p...)
		return len(p), w.gathered()
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// Close writes the end of the NAR. It does not close the underlying writer.
func (w *NARWriter) Close() error {
	if err := w.f.end(); err != nil {
		return err
	}
	return w.flush()
}
