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

// HashMismatchError reports a file tree with another hash than was registered
// or signed.
type HashMismatchError struct {
	Path              StorePath
	Want, Got         Hash
	WantSize, GotSize int64 // bytes of the NAR
}

func (e *HashMismatchError) Error() string {
	return fmt.Sprintf("%s: narHash is %s, not %s", e.Path, e.Got, e.Want)
}

// SizeMismatchError reports a file tree with another NarSize than was
// registered. The error ends a walk as soon as the tree is too large. So a
// source cannot send more than it announced.
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

// mismatchHinter is a source that can advise what to do about damaged contents.
type mismatchHinter interface{ mismatchHint(StorePath) string }

// Walk calls v for every entry of info.Path in NAR order. Meanwhile it checks
// that the entries form the NAR with info.NarHash and info.NarSize. Only if
// Walk returns nil are the entries valid.
//
// The error wraps [*HashMismatchError] or [*SizeMismatchError],
// [nar.ErrMalformed] for a tree that no NAR can hold, or the reason why reading
// failed. Walk returns errors of v unchanged.
//
// Walk hashes the contents in the buffer into which v reads them. It copies
// nothing. v must not write to that buffer before Read returns.
func Walk(ctx context.Context, src Source, info *Info, v nar.Visitor) error {
	w := &hasher{ctx: ctx, info: info, next: v, sha: sha256.New()}
	w.content.w = w
	err := src.Tree(ctx, info, w)
	if err == nil {
		err = w.end()
	}
	if h, ok := src.(mismatchHinter); ok && err != nil && w.mismatch {
		err = hint.Add(err, h.mismatchHint(info.Path))
	}
	return err
}

// hasher produces the NAR of the visited tree, hashes it, and passes every
// entry to the next visitor.
type hasher struct {
	ctx      context.Context
	info     *Info
	next     nar.Visitor
	f        nar.Framer
	sha      hash.Hash
	size     int64 // bytes hashed
	content  hashedContent
	mismatch bool
}

func (w *hasher) flush() {
	w.sha.Write(w.f.Buf)
	w.size += int64(len(w.f.Buf))
	w.f.Buf = w.f.Buf[:0]
}

// step starts every entry. err is the framer's error.
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

// end compares the hash and the size. A NAR ends together with its tree, so no
// bytes can follow.
func (w *hasher) end() error {
	if err := w.f.End(); err != nil {
		return fmt.Errorf("%s: %w", w.info.Path, err)
	}
	w.flush()
	var got Hash
	w.sha.Sum(got[:0])
	switch {
	case got != w.info.NarHash:
		w.mismatch = true
		return &HashMismatchError{w.info.Path, w.info.NarHash, got, w.info.NarSize, w.size}
	case w.size != w.info.NarSize:
		w.mismatch = true
		return &SizeMismatchError{w.info.Path, w.info.NarSize, w.size}
	}
	return nil
}

// hashedContent hashes the bytes that are read through it.
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
	c.w.sha.Write(p[:n])
	c.left -= int64(n)
	if err == io.EOF {
		if err = nil; c.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}
