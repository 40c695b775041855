package layers

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// packed is a layer of incompressible and compressible content, of several
// blocks in every compression.
func packed(t testing.TB, comp Compression) (blob, tar []byte, mediaType string) {
	t.Helper()
	write := func(w *TarWriter) error {
		noise := make([]byte, 5<<20)
		x := uint32(1)
		for i := range noise {
			x = x*1664525 + 1013904223
			if i < 1<<20 {
				noise[i] = byte(x >> 24)
			}
		}
		return w.File("noise", 0o444, int64(len(noise)), bytes.NewReader(noise))
	}
	var b, plain bytes.Buffer
	if _, err := NewPacker(2).Pack(t.Context(), &Layer{Compression: comp, Content: func(_ context.Context, w *TarWriter) error { return write(w) }}, &b); err != nil {
		t.Fatal(err)
	}
	w := NewTarWriter(&plain)
	if err := errors.Join(write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	mediaType, err := comp.MediaType(false)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), plain.Bytes(), mediaType
}

func TestDecompressStrict(t *testing.T) {
	var foreign bytes.Buffer
	z := gzip.NewWriter(&foreign)
	z.Name = "layer.tar"
	io.WriteString(z, "x")
	z.Close()
	skippable := "\x50\x2a\x4d\x18\x06\x00\x00\x00hidden"
	for _, name := range []string{"gzip", "zstd", "none"} {
		comp, err := ParseCompression(name)
		if err != nil {
			t.Fatal(err)
		}
		blob, want, mediaType := packed(t, comp)
		read := func(blob []byte) ([]byte, error) {
			r, err := DecompressStrict(iotest.HalfReader(bytes.NewReader(blob)), mediaType)
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return io.ReadAll(r)
		}
		got, err := read(blob)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes instead of %d, %v", name, len(got), len(want), err)
		}
		if name == None {
			continue
		}
		bad := map[string][]byte{
			"empty":            nil,
			"cut":              blob[:len(blob)-1],
			"half":             blob[:len(blob)/2],
			"more":             append(bytes.Clone(blob), 0),
			"skippable before": append([]byte(skippable), blob...),
			"skippable after":  append(bytes.Clone(blob), skippable...),
			"another tool's":   foreign.Bytes(),
		}
		if name == Gzip {
			bad["twice"] = append(bytes.Clone(blob), blob...)
		}
		for what, b := range bad {
			if name == Zstd && what == "empty" {
				continue // no frame at all is an empty stream
			}
			if _, err := read(b); !errors.As(err, new(*FormatError)) {
				t.Errorf("%s, %s: %v is no FormatError", name, what, err)
			}
		}
		// What the source says is passed on.
		broken := errors.New("connection broke")
		r, err := DecompressStrict(io.MultiReader(bytes.NewReader(blob[:len(blob)/2]), iotest.ErrReader(broken)), mediaType)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v instead of %v", name, err, broken)
		}
	}
	if _, err := DecompressStrict(strings.NewReader(""), "text/plain"); err == nil {
		t.Error("text/plain was taken for a layer")
	}
}
