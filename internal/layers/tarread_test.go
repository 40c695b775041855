package layers

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/nixoci/nixoci/internal/closure"
)

// rewriteTar reads a tar stream and writes its entries again.
func rewriteTar(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	// NewTarWriter makes a larger buffer. Some tests rewrite so many tars that the garbage
	// collector would take most of the time.
	w := &TarWriter{buf: make([]byte, 0, 2<<10), flush: func(full []byte) ([]byte, error) {
		_, err := b.Write(full)
		return full[:0], err
	}}
	tr := NewTarReader(r, nil)
	for {
		e, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch e.Kind {
		case closure.KindDirectory:
			err = w.Directory(e.Name, e.Mode)
		case closure.KindSymlink:
			err = w.header(typeSymlink, e.Name, e.Target, e.Mode, 0)
		default:
			err = w.File(e.Name, e.Mode, e.Size, tr)
		}
		if err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func sampleTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewTarWriter(&b)
	long := strings.Repeat("long/", 60) + "name"
	for _, err := range []error{
		w.Directory("nix", 0o755),
		w.Directory("nix/store", 0o755),
		w.Directory("nix/store/"+strings.Repeat("d", 95), 0o555),
		w.Symlink("nix/store/link", "target"),
		w.Symlink("nix/store/link2", long),
		w.Symlink("nix/"+long, "ünïcode"),
		w.File("nix/store/x", 0o444, 5, strings.NewReader("hello")),
		w.File("nix/"+long+"x", 0o555, 512, strings.NewReader(strings.Repeat("x", 512))),
		w.File("nix/empty", 0o444, 0, strings.NewReader("")),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestTarReaderTakesWhatWriterWrites(t *testing.T) {
	data := sampleTar(t)
	for name, r := range map[string]io.Reader{
		"whole":   bytes.NewReader(data),
		"by byte": iotest.OneByteReader(bytes.NewReader(data)),
		"by half": iotest.HalfReader(bytes.NewReader(data)),
		"dataerr": iotest.DataErrReader(bytes.NewReader(data)),
	} {
		got, err := rewriteTar(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes became %d others", name, len(data), len(got))
		}
	}
}

// lender lends at most three bytes at a time.
type lender struct{ bytes.Reader }

func (l *lender) Lend(max int64) ([]byte, error) {
	b := make([]byte, min(max, 3))
	n, err := l.Read(b)
	return b[:n], err
}

func TestTarReaderWriteTo(t *testing.T) {
	data := sampleTar(t)
	contents := func(r io.Reader) (all []string, err error) {
		tr := NewTarReader(r, nil)
		for {
			e, err := tr.Next()
			if err != nil {
				return all, err
			}
			var b strings.Builder
			n, err := tr.WriteTo(&b)
			if err != nil {
				return all, err
			}
			if int64(b.Len()) != n || n != e.Size {
				t.Errorf("%s: wrote %d of %d bytes, and said %d", e.Name, b.Len(), e.Size, n)
			}
			if e.Kind == closure.KindFile {
				all = append(all, b.String())
			}
		}
	}
	want := []string{"hello", strings.Repeat("x", 512), ""}
	for name, r := range map[string]io.Reader{"read": bytes.NewReader(data), "lent": &lender{*bytes.NewReader(data)}} {
		if got, err := contents(r); err != io.EOF || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	cut := bytes.Index(data, []byte("hello")) + 2
	if _, err := contents(&lender{*bytes.NewReader(data[:cut])}); !errors.As(err, new(*FormatError)) {
		t.Errorf("cut in the content: %v", err)
	}
}

// TestTarReaderRefusesEveryFlippedBit checks that a changed bit is refused, except in names,
// targets and content.
func TestTarReaderRefusesEveryFlippedBit(t *testing.T) {
	data := sampleTar(t)
	contents := map[int]bool{}
	long := strings.Repeat("long/", 60) + "name"
	// The checksum protects a header, but not the records of a PAX header.
	for _, c := range []string{"hello", strings.Repeat("x", 512), "linkpath=" + long, "linkpath=ünïcode", "path=nix/" + long + "\n", "path=nix/" + long + "x"} {
		at := bytes.Index(data, []byte(c))
		if at < 0 {
			t.Fatalf("%q is not there", c)
		}
		for i := strings.IndexByte(c, '=') + 1; i < len(c); i++ {
			contents[at+i] = true
		}
	}
	for i := range data {
		for _, bit := range []byte{1, 0x40} {
			if contents[i] {
				continue
			}
			data[i] ^= bit
			if got, err := rewriteTar(bytes.NewReader(data)); err == nil {
				t.Errorf("bit %#x of byte %d is free: rewritten the same: %v", bit, i, bytes.Equal(got, data))
			} else if !errors.As(err, new(*FormatError)) {
				t.Errorf("byte %d: %v is no FormatError", i, err)
			}
			data[i] ^= bit
		}
	}
	for n := range data {
		if _, err := rewriteTar(bytes.NewReader(data[:n])); !errors.As(err, new(*FormatError)) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestTarReaderNamesWhatDiffers(t *testing.T) {
	header := func(h tar.Header, content string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	// archive/tar writes canonical headers except for the device numbers. So start from the
	// output of TarWriter.
	own := func(edit func(h []byte)) []byte {
		data := tarOf(t, func(w *TarWriter) error { return w.File("f", 0o444, 2, strings.NewReader("hi")) })
		edit(data)
		sum := int64(0)
		copy(data[148:156], "        ")
		for _, c := range data[:512] {
			sum += int64(c)
		}
		octal(data[148:155], sum)
		return data
	}
	for _, tt := range []struct {
		name, want string
		data       []byte
	}{
		{"mtime", "mtime is 0, not 1", own(func(h []byte) { octal(h[136:148], 0) })},
		{"owner", "owner is 1000, not 0", own(func(h []byte) { octal(h[108:116], 1000) })},
		{"group", "group is 30000, not 0", own(func(h []byte) { octal(h[116:124], 30000) })},
		{"owner name", `owner name is "root", not ""`, own(func(h []byte) { copy(h[265:], "root") })},
		{"device", "device number", own(func(h []byte) { octal(h[329:337], 1) })},
		{"padded header", `padding is "x", not ""`, own(func(h []byte) { h[500] = 'x' })},
		{"mode with type bits", "", own(func(h []byte) { octal(h[100:108], 0o100444) })},
		{"spaces in a number", `mtime is "00000000001 "`, own(func(h []byte) { copy(h[136:148], "00000000001 ") })},
		{"content padding", "padding after the content", own(func(h []byte) { h[512+2] = 1 })},
		{"after the end", "512 bytes after the end", append(own(func([]byte) {}), make([]byte, 512)...)},
		{"absolute name", "its name is absolute", own(func(h []byte) { copy(h, "/f") })},
		{"parent", "not in its shortest form", own(func(h []byte) { copy(h, "a/../f") })},
		{"dot slash", "not in its shortest form", own(func(h []byte) { copy(h, "./f") })},
		{"nothing", "without a name", own(func(h []byte) { h[0] = 0 })},
		{"hidden text after name", "name is", own(func(h []byte) { copy(h[50:], "secret") })},
		{"hard link", "hard link", own(func(h []byte) { h[156] = '1' })},
		{"character device", "character device", own(func(h []byte) { h[156] = '3' })},
		{"pipe", "named pipe", own(func(h []byte) { h[156] = '6' })},
		{"old file", "old format", own(func(h []byte) { h[156] = 0 })},
		{"global", "global PAX header", header(tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, "")},
		{"xattr", "PAX record SCHILY.xattr.user.x", header(tar.Header{Name: "f", Mode: 0o444, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}, "")},
		{"PAX for nothing", "PAX header", header(tar.Header{Name: "f", Mode: 0o444, Format: tar.FormatPAX, PAXRecords: map[string]string{"path": "f"}}, "")},
		{"GNU", "GNU long name", header(tar.Header{Name: strings.Repeat("f", 200), Mode: 0o444, Format: tar.FormatGNU}, "")},
	} {
		tr := NewTarReader(bytes.NewReader(tt.data), nil)
		var err error
		for err == nil {
			_, err = tr.Next()
		}
		if tt.want == "" {
			if err != io.EOF {
				t.Errorf("%s: %v, the caller is to find it", tt.name, err)
			}
		} else if !errors.As(err, new(*FormatError)) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, no %q in it", tt.name, err, tt.want)
		}
		// With a report function, reading must be able to continue after a problem.
		reported := 0
		tr = NewTarReader(bytes.NewReader(tt.data), func(*FormatError) error { reported++; return nil })
		for err = nil; err == nil; {
			_, err = tr.Next()
		}
		if tt.want != "" && reported == 0 {
			t.Errorf("%s: nothing was reported", tt.name)
		}
	}
}

// FuzzTarReader checks that TarWriter reproduces every stream that TarReader accepts.
func FuzzTarReader(f *testing.F) {
	f.Add(sampleTar(f))
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := rewriteTar(bytes.NewReader(data))
		if err == nil && !bytes.Equal(got, data) {
			t.Errorf("accepted, but not what is written again:\n%q\n%q", data, got)
		}
		tr := NewTarReader(bytes.NewReader(data), func(*FormatError) error { return nil })
		for range 1000 {
			if _, err := tr.Next(); err != nil {
				break
			}
		}
	})
}
