package nar

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/nixoci/nixoci/internal/nar/nartest"
)

func TestReadNAR(t *testing.T) {
	tests := []struct {
		name string
		nar  string
		want []string
	}{
		{"file", nartest.NAR(nartest.Words("nix-archive-1 ( type regular contents hello )")...), []string{`f "" "hello"`}},
		{"executable", nartest.NAR(nartest.Words("nix-archive-1 ( type regular executable '' contents hello123 )")...), []string{`x "" "hello123"`}},
		{"empty file", nartest.NAR(nartest.Words("nix-archive-1 ( type regular contents '' )")...), []string{`f "" ""`}},
		{"symlink", nartest.NAR(nartest.Words("nix-archive-1 ( type symlink target ../x )")...), []string{`l "" "../x"`}},
		{"empty directory", nartest.NAR(nartest.Directory()...), []string{`d ""`}},
		{"tree", nartest.NAR(nartest.Directory(
			nartest.Entry("a", nartest.Words("( type directory")...)[:8:8],
			nartest.Entry("b", nartest.Words("( type regular executable '' contents 1 )")...), nartest.Words(") )"),
			nartest.Entry("a-b", nartest.EmptyFile...),
			nartest.Entry("a.txt", nartest.Words("( type symlink target a/b )")...),
		)...), []string{`d ""`, `d "a"`, `x "a/b" "1"`, `f "a-b" ""`, `l "a.txt" "a/b"`}},
		{"names of bytes", nartest.NAR(nartest.Directory(nartest.Entry("\x01", nartest.EmptyFile...), nartest.Entry("\xff\xfe", nartest.EmptyFile...))...), []string{`d ""`, `f "\x01" ""`, `f "\xff\xfe" ""`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"whole":    strings.NewReader(tt.nar),
				"one byte": iotest.OneByteReader(strings.NewReader(tt.nar)),
				"data err": iotest.DataErrReader(strings.NewReader(tt.nar)),
			} {
				var got nartest.Recorder
				if err := Read(r, &got); err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if !slices.Equal(got.Lines, tt.want) {
					t.Errorf("%s: got %q, want %q", how, got.Lines, tt.want)
				}
			}
			var out bytes.Buffer
			w := NewWriter(&out)
			if err := Read(strings.NewReader(tt.nar), w); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.nar {
				t.Errorf("written again it is %q, not %q", out.String(), tt.nar)
			}
			for n := range len(tt.nar) {
				if err := Read(strings.NewReader(tt.nar[:n]), &nartest.Recorder{}); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the first %d of %d bytes: %v", n, len(tt.nar), err)
				}
			}
		})
	}
}

func TestReadNARRefuses(t *testing.T) {
	file := func(parts ...any) string {
		return nartest.NAR(append([]any{"nix-archive-1", "(", "type", "regular"}, parts...)...)
	}
	long := strings.Repeat("x", maxName)
	deep := []any{"nix-archive-1"}
	for range maxPath/256 + 2 {
		deep = append(deep, nartest.Words("( type directory entry ( name")...)
		deep = append(deep, long, "node")
	}
	tests := []struct {
		name, nar, want string
	}{
		{"magic", nartest.NAR("nix-archive-2"), "nix-archive-2"},
		{"no bytes of NAR", "<html><head></head></html>", "keyword of"},
		{"type", nartest.NAR(nartest.Words("nix-archive-1 ( type fifo )")...), `unknown type "fifo"`},
		{"trailing byte", nartest.NAR(nartest.Directory()...) + "\x00", "after the end"},
		{"a second NAR", nartest.NAR(nartest.Directory()...) + nartest.NAR(nartest.Directory()...), "after the end"},
		{"name empty", nartest.NAR(nartest.Directory(nartest.Entry("", nartest.EmptyFile...))...), `named ""`},
		{"name dot", nartest.NAR(nartest.Directory(nartest.Entry(".", nartest.EmptyFile...))...), `named "."`},
		{"name dot dot", nartest.NAR(nartest.Directory(nartest.Entry("..", nartest.EmptyFile...))...), `named ".."`},
		{"name with slash", nartest.NAR(nartest.Directory(nartest.Entry("a/b", nartest.EmptyFile...))...), "slash"},
		{"name absolute", nartest.NAR(nartest.Directory(nartest.Entry("/etc", nartest.EmptyFile...))...), "slash"},
		{"name with NUL", nartest.NAR(nartest.Directory(nartest.Entry("a\x00b", nartest.EmptyFile...))...), "NUL"},
		{"name too long", nartest.NAR(nartest.Directory(nartest.Entry(long+"x", nartest.EmptyFile...))...), "256 bytes"},
		{"names out of order", nartest.NAR(nartest.Directory(nartest.Entry("b", nartest.EmptyFile...), nartest.Entry("a", nartest.EmptyFile...))...), "not sorted"},
		{"name twice", nartest.NAR(nartest.Directory(nartest.Entry("a", nartest.EmptyFile...), nartest.Entry("a", nartest.EmptyFile...))...), "twice"},
		{"too deep", nartest.NAR(deep...), "path longer"},
		{"target empty", nartest.NAR(nartest.Words("nix-archive-1 ( type symlink target '' )")...), "target"},
		{"target with NUL", nartest.NAR("nix-archive-1", "(", "type", "symlink", "target", "a\x00", ")"), "target"},
		{"target too long", nartest.NAR("nix-archive-1", "(", "type", "symlink", "target", strings.Repeat("x", MaxTarget+1), ")"), "target of 4096"},
		{"padding of a name", nartest.NAR("nix-archive-1", "(", "type", "directory", "entry", "(", "name", 1, []byte("a\x01\x00\x00\x00\x00\x00\x00")), "padded"},
		{"padding of contents", file("contents", 1, []byte("a\x00\x00\x00\x00\x00\x00\x01"), ")"), "padded"},
		{"no contents", file(")"), "instead of the contents"},
		{"contents before executable", file("contents", "", "executable", ""), `"executable" instead of ")"`},
		{"executable with value", file("executable", "yes", "contents", "", ")"), `"yes" instead of ""`},
		{"size beyond int64", file("contents", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), "bytes"},
		{"entry without node", nartest.NAR("nix-archive-1", "(", "type", "directory", "entry", "(", "name", "a", ")"), `")" instead of "node"`},
		{"something else in a directory", nartest.NAR("nix-archive-1", "(", "type", "directory", "contents"), `found "contents" where an entry should begin`},
		{"name of 2^60 bytes", nartest.NAR("nix-archive-1", "(", "type", "directory", "entry", "(", "name", 1<<60), "bytes, more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Read(strings.NewReader(tt.nar), &nartest.Recorder{})
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an ErrNAR with %q", err, tt.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

// TestReadNARSourceError checks that Read returns the error of its reader, after
// any number of bytes.
func TestReadNARSourceError(t *testing.T) {
	boom := errors.New("boom")
	whole := nartest.NAR(nartest.Words("nix-archive-1 ( type regular contents hello )")...)
	for n := range len(whole) + 1 {
		r := io.MultiReader(strings.NewReader(whole[:n]), iotest.ErrReader(boom))
		if err := Read(r, &nartest.Recorder{}); !errors.Is(err, boom) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type lazyVisitor struct{ nartest.Recorder }

func (*lazyVisitor) File(string, bool, int64, io.Reader) error { return nil }

func TestReadNARUnread(t *testing.T) {
	err := Read(strings.NewReader(nartest.NAR(nartest.Words("nix-archive-1 ( type regular contents hello )")...)), &lazyVisitor{})
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
			w := NewWriter(io.Discard)
			var err error
			for _, call := range calls {
				if err = call(w); err != nil {
					break
				}
			}
			if err == nil {
				err = w.Close()
			}
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v", err)
			}
		})
	}
	w := NewWriter(io.Discard)
	if err := w.File("", false, 2, strings.NewReader("x")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short contents: %v", err)
	}
	if err := NewWriter(io.Discard).File("", false, 2, strings.NewReader("xyz")); !errors.Is(err, ErrMalformed) {
		t.Errorf("long contents: %v", err)
	}
}

// TestNARWriterContents checks that readers of every kind give the same NAR, for
// contents that the Writer collects and for larger contents.
func TestNARWriterContents(t *testing.T) {
	var want []byte
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, // this reader has a WriteTo method
		func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
		iotest.OneByteReader, iotest.HalfReader,
	} {
		var out bytes.Buffer
		w := NewWriter(&out)
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
			w := NewWriter(&again)
			if err := errors.Join(Read(bytes.NewReader(want), w), w.Close()); err != nil || !bytes.Equal(again.Bytes(), want) {
				t.Fatalf("read and written again: %v", err)
			}
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%d bytes instead of %d, or others", out.Len(), len(want))
		}
	}
}

// FuzzReadNAR checks that every NAR that Read accepts is the only NAR of its tree.
// To do so, it writes the tree again and compares the bytes.
func FuzzReadNAR(f *testing.F) {
	f.Add([]byte(nartest.NAR(nartest.Words("nix-archive-1 ( type regular executable '' contents hello )")...)))
	f.Add([]byte(nartest.NAR(nartest.Directory(nartest.Entry("a", nartest.EmptyFile...), nartest.Entry("b", nartest.Words("( type symlink target a )")...))...)))
	f.Add([]byte(nartest.NAR(nartest.Directory(nartest.Entry("..", nartest.EmptyFile...))...)))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		w := NewWriter(&out)
		if Read(bytes.NewReader(in), w) != nil {
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
