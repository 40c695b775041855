// Package nartest contains helpers for tests. They make NARs, also malformed
// NARs, and record the calls of a Visitor.
package nartest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Recorder is a Visitor that records each entry as one line.
type Recorder struct{ Lines []string }

func (r *Recorder) Directory(name string) error {
	r.Lines = append(r.Lines, fmt.Sprintf("d %q", name))
	return nil
}

func (r *Recorder) Symlink(name, target string) error {
	r.Lines = append(r.Lines, fmt.Sprintf("l %q %q", name, target))
	return nil
}

func (r *Recorder) File(name string, executable bool, size int64, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if int64(len(b)) != size {
		return fmt.Errorf("%q has %d bytes, not %d", name, len(b), size)
	}
	kind := "f"
	if executable {
		kind = "x"
	}
	if len(b) > 64 {
		b = fmt.Appendf(nil, "%d bytes %x", len(b), sha256.Sum256(b))
	}
	r.Lines = append(r.Lines, fmt.Sprintf("%s %q %q", kind, name, b))
	return nil
}

// NAR returns the NAR that consists of the given parts. It writes a string as a
// NAR string, an int as a 64-bit number, and bytes unchanged. A list is a
// sequence of parts.
func NAR(parts ...any) string {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = binary.LittleEndian.AppendUint64(b, uint64(len(p)))
			b = append(b, p...)
			b = append(b, make([]byte, -len(p)&7)...)
		case int:
			b = binary.LittleEndian.AppendUint64(b, uint64(p))
		case []byte:
			b = append(b, p...)
		case []any:
			b = append(b, NAR(p...)...)
		}
	}
	return string(b)
}

func Words(s string) []any {
	var all []any
	for w := range strings.FieldsSeq(s) {
		if w == "''" {
			w = ""
		}
		all = append(all, w)
	}
	return all
}

func Entry(name string, node ...any) []any {
	return slices.Concat([]any{"entry", "(", "name", name, "node"}, node, []any{")"})
}

var EmptyFile = Words("( type regular contents '' )")

func Directory(entries ...[]any) []any {
	return slices.Concat([]any{"nix-archive-1", "(", "type", "directory"}, slices.Concat(entries...), []any{")"})
}
