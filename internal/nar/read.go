package nar

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"sync"
)

// readers is a pool of buffered readers with buffers of 64 KiB. No string in a NAR
// is longer than that, except the contents of a file.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

// Read reads one NAR from r to its end and calls v for every entry. It accepts
// only the bytes that Nix would write, so each tree has exactly one NAR. Errors
// about the NAR wrap [ErrMalformed], or io.ErrUnexpectedEOF if r ends early. Read
// returns errors of r and v unchanged. After an error, a part of r may be unread.
func Read(r io.Reader, v Visitor) error {
	br := readers.Get().(*bufio.Reader)
	br.Reset(r)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	n := reader{br: br, v: v}
	n.content.br = br
	if err := n.expect(magic); err != nil {
		return err
	}
	if err := n.node(""); err != nil {
		return err
	}
	switch _, err := br.Peek(1); {
	case err == nil:
		return Errorf("bytes after the end")
	case err != io.EOF:
		return err
	}
	return nil
}

type reader struct {
	br      *bufio.Reader
	v       Visitor
	content content // shared by all files; valid only during Visitor.File
}

// peek returns the next size bytes without consuming them.
func (n *reader) peek(size int) ([]byte, error) {
	b, err := n.br.Peek(size)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// token reads the next string, which may have at most limit bytes. The result is
// valid until the next call. Errors call the string by the name what.
func (n *reader) token(what string, limit int) ([]byte, error) {
	b, err := n.peek(8)
	if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint64(b)
	if size > uint64(limit) {
		return nil, Errorf("%s of %d bytes, more than %d", what, size, limit)
	}
	end := 8 + int(size)
	all := end + pad(int64(size))
	if b, err = n.peek(all); err != nil {
		return nil, err
	}
	for _, c := range b[end:] {
		if c != 0 {
			return nil, Errorf("%s is padded with %#x", what, c)
		}
	}
	if _, err := n.br.Discard(all); err != nil {
		return nil, err
	}
	return b[8:end], nil
}

const maxKeyword = 16 // bytes; "nix-archive-1" has 13

func (n *reader) expect(words ...string) error {
	for _, want := range words {
		got, err := n.token("keyword", maxKeyword)
		if err != nil {
			return err
		}
		if string(got) != want {
			return Errorf("%q instead of %q", got, want)
		}
	}
	return nil
}

// node reads one node with everything below it. maxPath limits the depth of the
// recursion.
func (n *reader) node(name string) error {
	if err := n.expect("(", "type"); err != nil {
		return err
	}
	kind, err := n.token("type", maxKeyword)
	if err != nil {
		return err
	}
	switch string(kind) {
	case "directory":
		return n.directory(name)
	case "regular":
		return n.file(name)
	case "symlink":
		if err := n.expect("target"); err != nil {
			return err
		}
		b, err := n.token("symlink target", MaxTarget)
		if err != nil {
			return err
		}
		target := string(b)
		if err := checkTarget(name, target); err != nil {
			return err
		}
		if err := n.expect(")"); err != nil {
			return err
		}
		return n.v.Symlink(name, target)
	}
	return Errorf("%q is of unknown type %q", name, kind)
}

func (n *reader) directory(name string) error {
	if err := n.v.Directory(name); err != nil {
		return err
	}
	var prev string
	for {
		word, err := n.token("keyword", maxKeyword)
		if err != nil {
			return err
		}
		switch string(word) {
		case ")":
			return nil
		case "entry":
		default:
			return Errorf("directory %q: found %q where an entry should begin", name, word)
		}
		if err := n.expect("(", "name"); err != nil {
			return err
		}
		b, err := n.token("entry name", maxName)
		if err != nil {
			return err
		}
		base := string(b)
		if err := checkName(name, base, prev); err != nil {
			return err
		}
		prev = base
		if err := n.expect("node"); err != nil {
			return err
		}
		if name != "" {
			base = name + "/" + base
		}
		if err := n.node(base); err != nil {
			return err
		}
		if err := n.expect(")"); err != nil {
			return err
		}
	}
}

func (n *reader) file(name string) error {
	word, err := n.token("keyword", maxKeyword)
	if err != nil {
		return err
	}
	executable := false
	if string(word) == "executable" {
		executable = true
		if err := n.expect("", "contents"); err != nil {
			return err
		}
	} else if string(word) != "contents" {
		return Errorf("%q instead of the contents of %q", word, name)
	}
	b, err := n.peek(8)
	if err != nil {
		return err
	}
	size := binary.LittleEndian.Uint64(b)
	if size > math.MaxInt64-8 {
		return Errorf("file %q of %d bytes", name, size)
	}
	if _, err := n.br.Discard(8); err != nil {
		return err
	}
	n.content.left = int64(size)
	if err := n.v.File(name, executable, int64(size), &n.content); err != nil {
		return err
	}
	if n.content.left != 0 {
		return ErrUnread(name, n.content.left)
	}
	pad := pad(int64(size))
	if b, err = n.peek(pad); err != nil {
		return err
	}
	for _, c := range b {
		if c != 0 {
			return Errorf("file %q is padded with %#x", name, c)
		}
	}
	if _, err := n.br.Discard(pad); err != nil {
		return err
	}
	return n.expect(")")
}

// content reads the contents of one file. If the caller's buffer is at least as
// large as the buffer of br, the bytes go directly into the caller's buffer.
type content struct {
	br   *bufio.Reader
	left int64
}

func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	k, err := c.br.Read(p)
	c.left -= int64(k)
	if err == io.EOF {
		if c.left > 0 {
			err = io.ErrUnexpectedEOF
		} else {
			err = nil
		}
	}
	return k, err
}
