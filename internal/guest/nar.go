//go:build linux

package guest

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeNAR writes a file, directory or link as a NAR (Nix manual, "Nix Archive (NAR)
// format").
func writeNAR(w io.Writer, path string) error {
	n := narWriter{w: w}
	n.str("nix-archive-1")
	n.node(path)
	if n.err != nil {
		return fmt.Errorf("serialise %s: %w", path, n.err)
	}
	return nil
}

// narWriter writes nothing more after an error.
type narWriter struct {
	w   io.Writer
	err error
}

func (n *narWriter) length(size int64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(size))
	n.write(b[:])
}

func (n *narWriter) pad(size int64) {
	var zeros [8]byte
	n.write(zeros[:(8-size%8)%8])
}

func (n *narWriter) write(p []byte) {
	if n.err == nil && len(p) > 0 {
		_, n.err = n.w.Write(p)
	}
}

func (n *narWriter) str(s ...string) {
	for _, s := range s {
		n.length(int64(len(s)))
		n.write([]byte(s))
		n.pad(int64(len(s)))
	}
}

func (n *narWriter) node(path string) {
	if n.err != nil {
		return
	}
	info, err := os.Lstat(path)
	if err != nil {
		n.err = err
		return
	}
	n.str("(", "type")
	switch mode := info.Mode(); {
	case mode.IsRegular():
		n.str("regular")
		if mode&0o100 != 0 {
			n.str("executable", "")
		}
		n.str("contents")
		n.contents(path, info.Size())
	case mode.IsDir():
		n.str("directory")
		entries, err := os.ReadDir(path) // sorted by name, byte by byte
		if err != nil {
			n.err = err
			return
		}
		for _, e := range entries {
			n.str("entry", "(", "name", e.Name(), "node")
			n.node(filepath.Join(path, e.Name()))
			n.str(")")
		}
	case mode&os.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			n.err = err
			return
		}
		n.str("symlink", "target", target)
	default:
		n.err = fmt.Errorf("%s: a store path holds no %v", path, mode.Type())
	}
	n.str(")")
}

func (n *narWriter) contents(path string, size int64) {
	n.length(size)
	if n.err != nil {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		n.err = err
		return
	}
	defer f.Close()
	if _, n.err = io.CopyN(n.w, f, size); n.err == nil {
		n.pad(size)
	}
}

// base32 encodes hash in Nix's base 32, which starts with the last bits.
func base32(hash []byte) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz" // without e, o, t and u
	size := (len(hash)*8-1)/5 + 1
	out := make([]byte, 0, size)
	for i := size - 1; i >= 0; i-- {
		at, shift := i*5/8, i*5%8
		c := hash[at] >> shift
		if at+1 < len(hash) {
			c |= hash[at+1] << (8 - shift)
		}
		out = append(out, digits[c&31])
	}
	return string(out)
}
