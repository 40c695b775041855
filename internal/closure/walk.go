package closure

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/nar"
)

// HashMismatchError is the error about a file tree whose narHash differs from the
// narHash in the database, narinfo or graph file.
type HashMismatchError struct {
	Path              StorePath
	Want, Got         Hash
	WantSize, GotSize int64 // bytes of the NAR
}

func (e *HashMismatchError) Error() string {
	return fmt.Sprintf("%s: narHash is %s, not %s", e.Path, e.Got, e.Want)
}

// SizeMismatchError is the error about a file tree whose narSize differs from the
// announced narSize. Walk returns this error as soon as the tree is too large. So a
// source cannot send more bytes than it announced.
type SizeMismatchError struct {
	Path      StorePath
	Want, Got int64 // bytes of the NAR; if Got > Want, Got is a lower bound
}

func (e *SizeMismatchError) Error() string {
	atLeast := ""
	if e.Got > e.Want {
		atLeast = "at least "
	}
	return fmt.Sprintf("%s: narSize is %s%d, not %d bytes", e.Path, atLeast, e.Got, e.Want)
}

// mismatchHinter is a Source that can advise the user what to do about damaged
// contents.
type mismatchHinter interface{ mismatchHint(StorePath) string }

// Walk calls v for every entry of info.Path in NAR order. Meanwhile it checks that
// the entries form a NAR with info.NarHash and info.NarSize. The entries are valid
// only if Walk returns nil.
//
// The error wraps [*HashMismatchError] or [*SizeMismatchError]. For a tree that no
// NAR can hold, it wraps [nar.ErrMalformed]. If reading failed, it wraps the error
// from reading. Walk returns errors of v unchanged.
//
// Walk copies nothing: it hashes the contents in the buffer into which v reads them.
// Before Read returns, v must not write to this buffer.
func Walk(ctx context.Context, src Source, info *Info, v nar.Visitor) error {
	return WalkInto(ctx, src, info, v, inPlace{sha256.New()})
}

// NARSink receives the bytes of a NAR in order, while WalkInto visits the tree. WalkInto
// calls a sink and does not return the bytes, because a tree can be larger than the memory.
type NARSink interface {
	// Framing receives bytes of the NAR that are not contents of a file, see [nar.Framer].
	// The bytes are valid until Framing returns.
	Framing(b []byte)

	// Content receives contents of a file that the visitor has just read. The bytes
	// are in the visitor's buffer, so the visitor decides how long they are valid.
	Content(b []byte)

	// WalkInto calls End after the last byte. In End or later, the sink must call
	// check with the sha256 of all bytes since the previous End. If the sink calls
	// check in End, End must return check's result. Otherwise the entries are valid
	// only after check has returned nil.
	End(check func(Hash) error) error
}

// WalkInto is like [Walk], for a caller that hashes the NAR itself. For example, the
// caller may hash in another goroutine while WalkInto continues to read. WalkInto
// limits the size to info.NarSize. It compares the hash when the sink calls check.
func WalkInto(ctx context.Context, src Source, info *Info, v nar.Visitor, sink NARSink) error {
	w := &hasher{ctx: ctx, info: info, next: v, sink: sink}
	w.content.w = w
	advise := func(err error) error {
		if h, ok := src.(mismatchHinter); ok && err != nil {
			return hint.Add(err, h.mismatchHint(info.Path))
		}
		return err
	}
	err := src.Tree(ctx, info, w)
	if err == nil {
		err = w.end(advise)
	}
	if w.mismatch {
		err = advise(err)
	}
	return err
}

// inPlace is a NARSink that hashes the bytes as soon as it receives them.
type inPlace struct{ sha hash.Hash }

func (s inPlace) Framing(b []byte) { s.sha.Write(b) }
func (s inPlace) Content(b []byte) { s.sha.Write(b) }

func (s inPlace) End(check func(Hash) error) error {
	var got Hash
	s.sha.Sum(got[:0])
	return check(got)
}

// hasher is a Visitor that makes the NAR of the visited tree and passes the NAR to
// the sink. It also passes every entry to the next visitor.
type hasher struct {
	ctx      context.Context
	info     *Info
	next     nar.Visitor
	f        nar.Framer
	sink     NARSink
	size     int64 // bytes passed to the sink
	content  hashedContent
	mismatch bool // the size is wrong
}

func (w *hasher) flush() {
	w.sink.Framing(w.f.Buf)
	w.size += int64(len(w.f.Buf))
	w.f.Buf = w.f.Buf[:0]
}

// step does what is common to all entries, before the next visitor is called. err is
// the error of the Framer. content is the size of a file's contents, or 0.
func (w *hasher) step(err error, content int64) error {
	if err != nil {
		return fmt.Errorf("%s: %w", w.info.Path, err)
	}
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	w.flush()
	if content > w.info.NarSize-w.size {
		w.mismatch = true
		got := w.size + content
		if got < 0 {
			got = content
		}
		return &SizeMismatchError{w.info.Path, w.info.NarSize, got}
	}
	return nil
}

func (w *hasher) Directory(name string) error {
	if err := w.step(w.f.Directory(name), 0); err != nil {
		return err
	}
	return w.next.Directory(name)
}

func (w *hasher) Symlink(name, target string) error {
	if err := w.step(w.f.Symlink(name, target), 0); err != nil {
		return err
	}
	return w.next.Symlink(name, target)
}

func (w *hasher) File(name string, executable bool, size int64, content io.Reader) error {
	if err := w.step(w.f.File(name, executable, size), size); err != nil {
		return err
	}
	w.content.r, w.content.left = content, size
	err := w.next.File(name, executable, size, &w.content)
	if err != nil {
		return err
	}
	if w.content.left != 0 {
		return nar.ErrUnread(name, w.content.left)
	}
	w.size += size
	w.f.FileEnd(size)
	return nil
}

// end completes the NAR and calls the sink's End with a check of the hash and the
// size. advise adds the source's advice to an error.
func (w *hasher) end(advise func(error) error) error {
	if err := w.f.End(); err != nil {
		return fmt.Errorf("%s: %w", w.info.Path, err)
	}
	w.flush()
	info, size := w.info, w.size
	return w.sink.End(func(got Hash) error {
		switch {
		case got != info.NarHash:
			return advise(&HashMismatchError{info.Path, info.NarHash, got, info.NarSize, size})
		case size != info.NarSize:
			return advise(&SizeMismatchError{info.Path, info.NarSize, size})
		}
		return nil
	})
}

// hashedContent is a reader for the contents of a file. It passes all bytes that it
// reads from r to the sink.
type hashedContent struct {
	w    *hasher
	r    io.Reader
	left int64
}

func (c *hashedContent) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if err := context.Cause(c.w.ctx); err != nil {
		return 0, err
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.w.sink.Content(p[:n])
	c.left -= int64(n)
	if err == io.EOF {
		if err = nil; c.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}
