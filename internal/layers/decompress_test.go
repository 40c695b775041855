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

	"github.com/klauspost/compress/zstd"
)

// packed makes a layer with random content and compressible content. It has several blocks
// with every compression.
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
				continue // an empty stream has no frame
			}
			if _, err := read(b); !errors.As(err, new(*FormatError)) {
				t.Errorf("%s, %s: %v is no FormatError", name, what, err)
			}
		}
		// Errors of the source must be returned as they are.
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

// TestDecompressStrictFrames: DecompressStrict must accept only frames with the header that a
// Packer writes. Other encoders write the same content in other frames.
func TestDecompressStrictFrames(t *testing.T) {
	encode := func(b []byte, options ...zstd.EOption) []byte {
		z, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithZeroFrames(true)}, options...)...)
		if err != nil {
			t.Fatal(err)
		}
		return z.EncodeAll(b, nil)
	}
	full, small := bytes.Repeat([]byte("block of 16 byte"), zstdBlockSize/16), []byte(strings.Repeat("short", 20))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	padded := encode(small) // a frame with four bytes for the size, where one byte is enough
	padded = join(padded[:4], []byte{0xa0, padded[5], 0, 0, 0}, padded[6:])
	head := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, 0, 0, 0x20, 0)
	for name, c := range map[string]struct {
		blob  []byte
		wrong string // "" means valid
	}{
		"blocks":       {join(encode(full), encode(full), encode(small)), ""},
		"full at last": {join(encode(full), encode(full)), ""},
		"65535 bytes":  {join(encode(full), encode(full[:65535])), ""},
		"65792 bytes":  {join(encode(full), encode(full[:65792])), ""},
		"short first":  {join(encode(small), encode(small)), "is not full, and it is not the last one"},
		"checksum":     {encode(small, zstd.WithEncoderCRC(true)), "not one of a block"},
		"window":       {encode(full, zstd.WithSingleSegment(false)), "not one of a block"},
		"too large":    {encode(append(full, 0)), "not one of a block"},
		"empty":        {join(encode(full), encode(nil)), "not one of a block"},
		"padded size":  {padded, "not one of a block"},
		"endless":      {join(head, bytes.Repeat([]byte{0, 0, 0}, zstdFrameSize)), "longer than what a block can need"},
		"less inside":  {join(head, []byte{0x0b, 0, 0, 'x'}), "cannot be decompressed"},
		"damaged":      {join(encode(full)[:9], []byte("damaged damaged")), "cannot be decompressed"},
	} {
		r, err := DecompressStrict(iotest.HalfReader(bytes.NewReader(c.blob)), "application/vnd.oci.image.layer.v1.tar+zstd")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if c.wrong != "" {
			if format, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(format.What, c.wrong) {
				t.Errorf("%s: %v does not say %q", name, err, c.wrong)
			}
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: read after Close", name)
		}
		if c.wrong == "" && (len(got) < zstdBlockSize || !bytes.Equal(got[:zstdBlockSize], full)) {
			t.Errorf("%s: %d bytes that are not those of the block", name, len(got))
		}
	}
}
