package closure

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// recorder is a Visitor that writes down what it sees, one line an entry.
type recorder struct{ lines []string }

func (r *recorder) Directory(name string) error {
	r.lines = append(r.lines, fmt.Sprintf("d %q", name))
	return nil
}

func (r *recorder) Symlink(name, target string) error {
	r.lines = append(r.lines, fmt.Sprintf("l %q %q", name, target))
	return nil
}

func (r *recorder) File(name string, executable bool, size int64, content io.Reader) error {
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
	r.lines = append(r.lines, fmt.Sprintf("%s %q %q", kind, name, b))
	return nil
}

// nar writes a NAR by hand: strings, raw numbers and raw bytes.
func nar(parts ...any) string {
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
			b = append(b, nar(p...)...)
		}
	}
	return string(b)
}

func words(s string) []any {
	var all []any
	for w := range strings.FieldsSeq(s) {
		if w == "''" {
			w = ""
		}
		all = append(all, w)
	}
	return all
}

func entry(name string, node ...any) []any {
	return slices.Concat([]any{"entry", "(", "name", name, "node"}, node, []any{")"})
}

var emptyFile = words("( type regular contents '' )")

func directory(entries ...[]any) []any {
	return slices.Concat([]any{narMagic, "(", "type", "directory"}, slices.Concat(entries...), []any{")"})
}

func TestReadNAR(t *testing.T) {
	tests := []struct {
		name string
		nar  string
		want []string
	}{
		{"file", nar(words("nix-archive-1 ( type regular contents hello )")...), []string{`f "" "hello"`}},
		{"executable", nar(words("nix-archive-1 ( type regular executable '' contents hello123 )")...), []string{`x "" "hello123"`}},
		{"empty file", nar(words("nix-archive-1 ( type regular contents '' )")...), []string{`f "" ""`}},
		{"symlink", nar(words("nix-archive-1 ( type symlink target ../x )")...), []string{`l "" "../x"`}},
		{"empty directory", nar(directory()...), []string{`d ""`}},
		{"tree", nar(directory(
			entry("a", words("( type directory")...)[:8:8],
			entry("b", words("( type regular executable '' contents 1 )")...), words(") )"),
			entry("a-b", emptyFile...),
			entry("a.txt", words("( type symlink target a/b )")...),
		)...), []string{`d ""`, `d "a"`, `x "a/b" "1"`, `f "a-b" ""`, `l "a.txt" "a/b"`}},
		{"names of bytes", nar(directory(entry("\x01", emptyFile...), entry("\xff\xfe", emptyFile...))...), []string{`d ""`, `f "\x01" ""`, `f "\xff\xfe" ""`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"whole":    strings.NewReader(tt.nar),
				"one byte": iotest.OneByteReader(strings.NewReader(tt.nar)),
				"data err": iotest.DataErrReader(strings.NewReader(tt.nar)),
			} {
				var got recorder
				if err := ReadNAR(r, &got); err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if !slices.Equal(got.lines, tt.want) {
					t.Errorf("%s: got %q, want %q", how, got.lines, tt.want)
				}
			}
			var out bytes.Buffer
			w := NewNARWriter(&out)
			if err := ReadNAR(strings.NewReader(tt.nar), w); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.nar {
				t.Errorf("written again it is %q, not %q", out.String(), tt.nar)
			}
			for n := range len(tt.nar) {
				if err := ReadNAR(strings.NewReader(tt.nar[:n]), &recorder{}); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the first %d of %d bytes: %v", n, len(tt.nar), err)
				}
			}
		})
	}
}

func TestReadNARRefuses(t *testing.T) {
	file := func(parts ...any) string {
		return nar(append([]any{narMagic, "(", "type", "regular"}, parts...)...)
	}
	long := strings.Repeat("x", maxNARName)
	deep := []any{narMagic}
	for range maxNARPath/256 + 2 {
		deep = append(deep, words("( type directory entry ( name")...)
		deep = append(deep, long, "node")
	}
	tests := []struct {
		name, nar, want string
	}{
		{"magic", nar("nix-archive-2"), "nix-archive-2"},
		{"no bytes of NAR", "<html><head></head></html>", "keyword of"},
		{"type", nar(words("nix-archive-1 ( type fifo )")...), `unknown type "fifo"`},
		{"trailing byte", nar(directory()...) + "\x00", "after the end"},
		{"a second NAR", nar(directory()...) + nar(directory()...), "after the end"},
		{"name empty", nar(directory(entry("", emptyFile...))...), `named ""`},
		{"name dot", nar(directory(entry(".", emptyFile...))...), `named "."`},
		{"name dot dot", nar(directory(entry("..", emptyFile...))...), `named ".."`},
		{"name with slash", nar(directory(entry("a/b", emptyFile...))...), "slash"},
		{"name absolute", nar(directory(entry("/etc", emptyFile...))...), "slash"},
		{"name with NUL", nar(directory(entry("a\x00b", emptyFile...))...), "NUL"},
		{"name too long", nar(directory(entry(long+"x", emptyFile...))...), "256 bytes"},
		{"names out of order", nar(directory(entry("b", emptyFile...), entry("a", emptyFile...))...), "not sorted"},
		{"name twice", nar(directory(entry("a", emptyFile...), entry("a", emptyFile...))...), "twice"},
		{"too deep", nar(deep...), "path longer"},
		{"target empty", nar(words("nix-archive-1 ( type symlink target '' )")...), "target"},
		{"target with NUL", nar(narMagic, "(", "type", "symlink", "target", "a\x00", ")"), "target"},
		{"target too long", nar(narMagic, "(", "type", "symlink", "target", strings.Repeat("x", maxNARTarget+1), ")"), "target of 4096"},
		{"padding of a name", nar(narMagic, "(", "type", "directory", "entry", "(", "name", 1, []byte("a\x01\x00\x00\x00\x00\x00\x00")), "padded"},
		{"padding of contents", file("contents", 1, []byte("a\x00\x00\x00\x00\x00\x00\x01"), ")"), "padded"},
		{"no contents", file(")"), "instead of the contents"},
		{"contents before executable", file("contents", "", "executable", ""), `"executable" instead of ")"`},
		{"executable with value", file("executable", "yes", "contents", "", ")"), `"yes" instead of ""`},
		{"size beyond int64", file("contents", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), "bytes"},
		{"entry without node", nar(narMagic, "(", "type", "directory", "entry", "(", "name", "a", ")"), `")" instead of "node"`},
		{"something else in a directory", nar(narMagic, "(", "type", "directory", "contents"), `"contents" instead of an entry`},
		{"name of 2^60 bytes", nar(narMagic, "(", "type", "directory", "entry", "(", "name", 1<<60), "bytes, more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := ReadNAR(strings.NewReader(tt.nar), &recorder{})
			if !errors.Is(err, ErrNAR) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an ErrNAR with %q", err, tt.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

// A reader may end wherever it likes but nothing may be taken for whole.
func TestReadNARSourceError(t *testing.T) {
	boom := errors.New("boom")
	whole := nar(words("nix-archive-1 ( type regular contents hello )")...)
	for n := range len(whole) + 1 {
		r := io.MultiReader(strings.NewReader(whole[:n]), iotest.ErrReader(boom))
		if err := ReadNAR(r, &recorder{}); !errors.Is(err, boom) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type lazyVisitor struct{ recorder }

func (*lazyVisitor) File(string, bool, int64, io.Reader) error { return nil }

func TestReadNARUnread(t *testing.T) {
	err := ReadNAR(strings.NewReader(nar(words("nix-archive-1 ( type regular contents hello )")...)), &lazyVisitor{})
	if err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestNARWriterRefuses(t *testing.T) {
	d := func(name string) func(Visitor) error { return func(v Visitor) error { return v.Directory(name) } }
	f := func(name string) func(Visitor) error {
		return func(v Visitor) error { return v.File(name, false, 1, strings.NewReader("x")) }
	}
	tests := map[string][]func(Visitor) error{
		"nothing":                  {},
		"no root":                  {f("a")},
		"two roots":                {d(""), d("")},
		"entry after a file":       {f(""), f("a")},
		"parent missing":           {d(""), f("a/b")},
		"parent closed":            {d(""), d("a"), f("b"), f("a/c")},
		"parent is a file":         {d(""), f("a"), f("a/b")},
		"out of order":             {d(""), f("b"), f("a")},
		"twice":                    {d(""), f("a"), f("a")},
		"directory twice":          {d(""), d("a"), f("a/b"), d("a")},
		"dot dot":                  {d(""), f("..")},
		"empty element":            {d(""), d("a"), f("a/")},
		"negative":                 {func(v Visitor) error { return v.File("", false, -1, nil) }},
		"empty target":             {func(v Visitor) error { return v.Symlink("", "") }},
		"a sorts before a-b there": {d(""), f("a-b"), d("a")},
	}
	for name, calls := range tests {
		t.Run(name, func(t *testing.T) {
			w := NewNARWriter(io.Discard)
			var err error
			for _, call := range calls {
				if err = call(w); err != nil {
					break
				}
			}
			if err == nil {
				err = w.Close()
			}
			if !errors.Is(err, ErrNAR) {
				t.Errorf("got %v", err)
			}
		})
	}
	w := NewNARWriter(io.Discard)
	if err := w.File("", false, 2, strings.NewReader("x")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short contents: %v", err)
	}
	if err := NewNARWriter(io.Discard).File("", false, 2, strings.NewReader("xyz")); !errors.Is(err, ErrNAR) {
		t.Errorf("long contents: %v", err)
	}
}

// However contents come, and however much is gathered, the NAR is the same.
func TestNARWriterContents(t *testing.T) {
	var want []byte
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, // has WriteTo
		func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
		iotest.OneByteReader, iotest.HalfReader,
	} {
		var out bytes.Buffer
		w := NewNARWriter(&out)
		errs := []error{w.Directory("")}
		for i, size := range []int64{0, 1, 7, 8, narSmall - 1, narSmall, narSmall + 1, narGather, 200_000, 3} {
			name := string(rune('a' + i))
			errs = append(errs, w.File(name, i%2 == 0, size, wrap(strings.NewReader(strings.Repeat(name, int(size))))))
		}
		if err := errors.Join(append(errs, w.Close())...); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = out.Bytes()
			var again bytes.Buffer
			w := NewNARWriter(&again)
			if err := errors.Join(ReadNAR(bytes.NewReader(want), w), w.Close()); err != nil || !bytes.Equal(again.Bytes(), want) {
				t.Fatalf("read and written again: %v", err)
			}
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%d bytes instead of %d, or others", out.Len(), len(want))
		}
	}
}

// What ReadNAR takes is the only NAR of its tree: written again it is the same
// bytes.
func FuzzReadNAR(f *testing.F) {
	f.Add([]byte(nar(words("nix-archive-1 ( type regular executable '' contents hello )")...)))
	f.Add([]byte(nar(directory(entry("a", emptyFile...), entry("b", words("( type symlink target a )")...))...)))
	f.Add([]byte(nar(directory(entry("..", emptyFile...))...)))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		w := NewNARWriter(&out)
		if ReadNAR(bytes.NewReader(in), w) != nil {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		if !bytes.Equal(in, out.Bytes()) {
			t.Fatalf("read %q, wrote %q", in, out.Bytes())
		}
	})
}

func sha256Sum(s string) Hash { return sha256.Sum256([]byte(s)) }
