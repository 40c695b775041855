package layers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func tarOf(t *testing.T, write func(w *TarWriter) error) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewTarWriter(&b)
	if err := write(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestTarReadsBack reads the writer's output with archive/tar, for names of every length
// near USTAR's limits.
func TestTarReadsBack(t *testing.T) {
	type entry struct {
		typ          byte
		name, target string
		mode, size   int64
	}
	var entries []entry
	dirs := strings.Repeat("0123456789/", 40)
	for _, n := range []int{1, 98, 99, 100, 101, 102, 154, 155, 156, 157, 198, 254, 255, 256, 257, 258, 300, 400} {
		name := "n/" + dirs[:n]
		name = strings.TrimRight(name, "/") + "x"
		entries = append(entries,
			entry{tar.TypeDir, name, "", 0o555, 0},
			entry{tar.TypeReg, name + "f", "", 0o444, int64(n)},
			entry{tar.TypeSymlink, name + "l", name, 0o777, 0},
			entry{tar.TypeReg, "flat" + strings.Repeat("y", n), "", 0o555, 0},
		)
	}
	entries = append(entries,
		entry{tar.TypeReg, "nix/store/ünïcode", "", 0o444, 3},
		entry{tar.TypeReg, "nix/store/latin1-\xfc", "", 0o444, 3},
		entry{tar.TypeSymlink, "nix/store/link", "→", 0o777, 0},
		entry{tar.TypeReg, "block", "", 0o444, 512},
		entry{tar.TypeReg, "large", "", 0o444, 300_000},
	)
	data := tarOf(t, func(w *TarWriter) error {
		for _, e := range entries {
			var err error
			switch e.typ {
			case tar.TypeDir:
				err = w.Directory(e.name, e.mode)
			case tar.TypeSymlink:
				err = w.Symlink(e.name, e.target)
			default:
				err = w.File(e.name, e.mode, e.size, strings.NewReader(strings.Repeat("c", int(e.size))))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if len(data)%512 != 0 {
		t.Errorf("%d bytes, not whole blocks", len(data))
	}
	r := tar.NewReader(bytes.NewReader(data))
	for _, e := range entries {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		got := entry{h.Typeflag, strings.TrimSuffix(h.Name, "/"), h.Linkname, h.Mode, h.Size}
		if got != e {
			t.Errorf("got  %+v\nwant %+v", got, e)
		}
		if h.Typeflag == tar.TypeDir != strings.HasSuffix(h.Name, "/") {
			t.Errorf("%s: only a directory ends in a slash", h.Name)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.ModTime.Unix() != 1 || h.Devmajor != 0 {
			t.Errorf("%s: host leaks: %+v", h.Name, h)
		}
		if n, err := io.Copy(io.Discard, r); n != e.size || err != nil {
			t.Errorf("%s: read %d bytes of %d: %v", e.name, n, e.size, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last entry: %v", err)
	}
}

// TestTarUSTARWhereItFits checks that no entry has an unnecessary PAX header. A PAX header
// costs 1 KiB, and some readers cannot read it.
func TestTarUSTARWhereItFits(t *testing.T) {
	dir := strings.Repeat("d", 150)
	for _, tc := range []struct {
		name string
		pax  bool
	}{
		{strings.Repeat("a", 100), false},
		{strings.Repeat("a", 101), true},
		{dir + "/" + strings.Repeat("a", 100), false},
		{dir + "/" + strings.Repeat("a", 101), true},
		{dir + "ddddd/" + strings.Repeat("a", 100), false},
		{dir + "dddddd/" + strings.Repeat("a", 99), true},
		{"ü", true},
	} {
		data := tarOf(t, func(w *TarWriter) error { return w.File(tc.name, 0o444, 0, strings.NewReader("")) })
		if got := data[156] == typePax; got != tc.pax {
			t.Errorf("%.20s… (%d bytes): PAX header %v, want %v", tc.name, len(tc.name), got, tc.pax)
		}
	}
}

// TestTarHugeFile checks the header of a huge file: 8 GiB do not fit into 11 octal digits.
func TestTarHugeFile(t *testing.T) {
	for _, tc := range []struct {
		size int64
		pax  bool
	}{{tarMaxSize, false}, {tarMaxSize + 1, true}, {1 << 40, true}} {
		var b bytes.Buffer
		w := NewTarWriter(&b)
		if err := w.header(typeRegular, "f", "", 0o444, tc.size); err != nil {
			t.Fatal(err)
		}
		if err := w.next(); err != nil {
			t.Fatal(err)
		}
		h, err := tar.NewReader(&b).Next()
		if err != nil || h.Size != tc.size || (len(h.PAXRecords) > 0) != tc.pax {
			t.Errorf("%d: got %+v, %v", tc.size, h, err)
		}
	}
}

func TestTarRefuses(t *testing.T) {
	for name, write := range map[string]func(w *TarWriter) error{
		"short content": func(w *TarWriter) error { return w.File("f", 0o444, 5, strings.NewReader("four")) },
		"long content":  func(w *TarWriter) error { return w.File("f", 0o444, 3, strings.NewReader("four")) },
		"no name":       func(w *TarWriter) error { return w.File("", 0o444, 0, strings.NewReader("")) },
		"absolute":      func(w *TarWriter) error { return w.Directory("/nix", 0o755) },
		"NUL in name":   func(w *TarWriter) error { return w.Directory("a\x00b", 0o755) },
		"NUL in target": func(w *TarWriter) error { return w.Symlink("a", "b\x00") },
	} {
		if err := write(NewTarWriter(io.Discard)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPaxRecordCountsItself(t *testing.T) {
	for n := range 1200 {
		rec := string(appendPax(nil, "path", strings.Repeat("x", n)))
		var size int
		if _, err := fmt.Sscanf(rec, "%d ", &size); err != nil || size != len(rec) {
			t.Fatalf("value of %d bytes: record says %d, has %d", n, size, len(rec))
		}
	}
}
