package inflate

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/flate"

	"github.com/nixoci/nixoci/internal/cputime"
)

// readAll reads the stream at the start of r, and the bytes after it. With a larger buffer,
// Next returns larger pieces.
func readAll(r io.Reader, buf []byte) (out, after []byte, err error) {
	z := NewReader(r)
	defer z.Close()
	for {
		piece, err := z.Next(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return out, nil, err
		}
		out = append(out, piece...)
		clear(buf) // Next must not need the earlier content of the buffer
	}
	after, err = io.ReadAll(readerFunc(z.After))
	return out, after, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// contents returns data of different kinds.
func contents() map[string][]byte {
	const size = 40 << 10
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 3*size/2)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	few := make([]byte, 2*size) // few different bytes, so that the codes are short
	for i := range few {
		few[i] = "abcd"[rnd.IntN(4)]
	}
	skewed := make([]byte, size) // some bytes are very rare, so that their codes are long
	for i := range skewed {
		skewed[i] = byte(rnd.ExpFloat64() * 9)
	}
	var repeats []byte // all distances and lengths
	for len(repeats) < 3*size {
		distance, length := 1+rnd.IntN(1<<rnd.IntN(16)), 3+rnd.IntN(256)
		for range min(distance, len(repeats)) % 7 {
			repeats = append(repeats, byte(rnd.Uint32()))
		}
		for range length {
			b := byte(0)
			if from := len(repeats) - distance; from >= 0 {
				b = repeats[from]
			}
			repeats = append(repeats, b)
		}
	}
	return map[string][]byte{
		"empty": nil, "a byte": {7}, "zeros": make([]byte, size+1), "noise": noise, "few": few,
		"skewed": skewed, "repeats": repeats, "mixed": bytes.Join([][]byte{few[:9999], noise[:19999], repeats, skewed}, nil),
	}
}

// TestNext compares the output with the input of two compressors.
func TestNext(t *testing.T) {
	type compressor interface {
		io.WriteCloser
		Flush() error
	}
	large, small := make([]byte, BufferSize), make([]byte, MinBuffer+9999)
	for name, content := range contents() {
		for level := -2; level <= 9; level++ {
			for library, open := range map[string]func(io.Writer) (compressor, error){
				"klauspost": func(w io.Writer) (compressor, error) { return flate.NewWriter(w, level) },
				"std":       func(w io.Writer) (compressor, error) { return stdflate.NewWriter(w, level) },
			} {
				var b bytes.Buffer
				w, err := open(&b)
				if err != nil {
					t.Fatal(err)
				}
				w.Write(content[:len(content)/3])
				if level%2 == 0 {
					w.Flush()
				}
				w.Write(content[len(content)/3:])
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				b.WriteString("after the stream")
				for reader, k := range map[string]struct {
					io.Reader
					buf []byte
				}{
					"all":  {bytes.NewReader(b.Bytes()), large},
					"half": {iotest.HalfReader(bytes.NewReader(b.Bytes())), small},
					"data": {iotest.DataErrReader(bytes.NewReader(b.Bytes())), large},
				} {
					got, after, err := readAll(k, k.buf)
					if err != nil || !bytes.Equal(got, content) || string(after) != "after the stream" {
						t.Errorf("%s, level %d of %s, reader %s: %d bytes, want %d; after them %q; %v",
							name, level, library, reader, len(got), len(content), after, err)
					}
				}
			}
		}
	}
}

// TestNextOverrun checks that the buffer is large enough for one step of the decoder, wherever
// a piece ends. A step gives the most output if it decodes many literals with codes of one bit,
// and then the longest match.
func TestNextOverrun(t *testing.T) {
	const match = 258
	buf := make([]byte, MinBuffer+300)
	for literals := window; literals < window+600; literals++ {
		// The letter a has a code of 1 bit, the end of the block and the match have codes of 2 bits,
		// and distance 1 has a code of 1 bit. In the code of these lengths, 0 is a run of zeros, 10
		// is 1 and 11 is 2.
		w := dynamic(286, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2)
		w.code(0, 1).write('a'-11, 7).code(2, 2)
		w.code(0, 1).write(138-11, 7).code(0, 1).write(158-138-11, 7).code(3, 2)
		w.code(0, 1).write(28-11, 7).code(3, 2).code(2, 2)
		w.write(0, literals%8)
		w.b = append(w.b, make([]byte, literals/8)...) // the code of a is 0
		w.n += literals / 8 * 8
		w.code(3, 2).code(0, 1).code(2, 2)
		if out, _, err := readAll(bytes.NewReader(w.b), buf); err != nil || len(out) != literals+match {
			t.Fatalf("%d bytes, want %d; %v", len(out), literals+match, err)
		}
	}
}

// bitWriter writes the bits of a deflate stream by hand.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) write(v uint32, count int) *bitWriter {
	for i := range count {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
	return w
}

// code writes the lowest count bits of v, which are a Huffman code, and begins with the highest bit.
func (w *bitWriter) code(v uint32, count int) *bitWriter {
	for i := count - 1; i >= 0; i-- {
		w.write(v>>i, 1)
	}
	return w
}

// fixed starts the last block, with the fixed codes.
func fixed() *bitWriter { return new(bitWriter).write(1, 1).write(1, 2) }

// dynamic starts the last block, with codes of its own.
func dynamic(litlens, dists uint32, lengths ...uint32) *bitWriter {
	w := new(bitWriter).write(1, 1).write(2, 2).write(litlens-257, 5).write(dists-1, 5).write(uint32(len(lengths)-4), 4)
	for _, n := range lengths {
		w.write(n, 3)
	}
	return w
}

// TestNextRefuses checks that each kind of wrong stream is an error.
func TestNextRefuses(t *testing.T) {
	for name, k := range map[string]struct {
		stream []byte
		want   error
	}{
		"nothing":                  {nil, io.ErrUnexpectedEOF},
		"reserved type":            {new(bitWriter).write(1, 1).write(3, 2).b, ErrCorrupt},
		"length of a stored block": {[]byte{1, 1, 0, 1, 0, 'x'}, ErrCorrupt},
		"short stored block":       {[]byte{1, 2, 0, 0xfd, 0xff, 'x'}, io.ErrUnexpectedEOF},
		"distance 1 at the start":  {fixed().code(1, 7).code(0, 5).code(0, 7).b, ErrCorrupt},
		"distance 2 after a byte":  {fixed().code(0x30, 8).code(1, 7).code(1, 5).code(0, 7).b, ErrCorrupt},
		"length symbol 286":        {fixed().code(0x30, 8).code(0xc6, 8).code(0, 5).b, ErrCorrupt},
		"length symbol 287":        {fixed().code(0x30, 8).code(0xc7, 8).code(0, 5).b, ErrCorrupt},
		"distance symbol 30":       {fixed().code(0x30, 8).code(1, 7).code(30, 5).b, ErrCorrupt},
		"distance symbol 31":       {fixed().code(0x30, 8).code(1, 7).code(31, 5).b, ErrCorrupt},
		"no end":                   {fixed().code(0x30, 8).code(0x31, 8).b, io.ErrUnexpectedEOF},
		"287 literals":             {dynamic(287, 1, 0, 0, 0, 0).b, ErrCorrupt},
		"31 distances":             {dynamic(257, 31, 0, 0, 0, 0).b, ErrCorrupt},
		"too many codes":           {dynamic(257, 1, 1, 1, 1, 0).b, ErrCorrupt},
		"too few codes":            {dynamic(257, 1, 2, 2, 2, 0).b, ErrCorrupt},
		"a repeat at the start":    {dynamic(257, 1, 1, 0, 0, 1).code(1, 1).write(0, 2).b, ErrCorrupt},
		"too many repeats":         {dynamic(257, 1, 0, 0, 1, 1).code(1, 1).write(127, 7).code(1, 1).write(127, 7).b, ErrCorrupt},
		"no code of code lengths":  {dynamic(257, 1, 0, 0, 0, 0).write(0, 32).b, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := readAll(bytes.NewReader(append(bytes.Clone(k.stream), make([]byte, 9*errorTail(k.want))...)), make([]byte, MinBuffer))
			if !errors.Is(err, k.want) {
				t.Errorf("%d bytes, %v; want %v", len(out), err, k.want)
			}
			if _, err := io.ReadAll(stdflate.NewReader(bytes.NewReader(k.stream))); err == nil {
				t.Error("Go's decoder accepts this stream")
			}
		})
	}
}

// errorTail returns 1 if zero bytes may follow a wrong stream without a change of the error.
func errorTail(want error) int {
	if want == ErrCorrupt {
		return 1
	}
	return 0
}

// TestNextCut checks that every shorter part of a stream is an error, and that errors of the
// source are returned as they are.
func TestNextCut(t *testing.T) {
	content := contents()["mixed"][:40000]
	buf := make([]byte, MinBuffer+9999)
	for _, level := range []int{-2, 0, 1, 6} {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, level)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(content)
		w.Close()
		for cut := 0; cut < b.Len(); cut += 1 + max(0, min(cut, b.Len()-cut-200))/20 {
			if _, _, err := readAll(bytes.NewReader(b.Bytes()[:cut]), buf); err != io.ErrUnexpectedEOF {
				t.Fatalf("level %d, the first %d of %d bytes: %v", level, cut, b.Len(), err)
			}
			broken := errors.New("connection broke")
			if _, _, err := readAll(io.MultiReader(bytes.NewReader(b.Bytes()[:cut]), iotest.ErrReader(broken)), buf); err != broken {
				t.Fatalf("level %d, an error after %d of %d bytes: %v", level, cut, b.Len(), err)
			}
		}
	}
}

// FuzzNext compares the decoder with the one of Go's library. Both must accept the same
// streams, with the same output, and leave the same bytes after the stream.
func FuzzNext(f *testing.F) {
	for _, content := range contents() {
		for _, level := range []int{-2, 0, 1, 6, 9} {
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, level)
			if err != nil {
				f.Fatal(err)
			}
			w.Write(content[:min(len(content), 3000)])
			w.Close()
			f.Add(b.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream) // Go's decoder reads no byte too much from a ByteReader
		want, wantErr := io.ReadAll(io.LimitReader(stdflate.NewReader(r), 8<<20))
		if len(want) == 8<<20 {
			return
		}
		got, after, err := readAll(bytes.NewReader(stream), make([]byte, MinBuffer+500+len(stream)%100))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, Go's decoder returns %v", err, wantErr)
		}
		if err == nil && (!bytes.Equal(got, want) || len(after) != r.Len()) {
			t.Fatalf("%d bytes and %d after them; Go's decoder returns %d and %d", len(got), len(after), len(want), r.Len())
		}
	})
}

// BenchmarkNext measures the decoder beside the library that compresses the layers.
func BenchmarkNext(b *testing.B) {
	content := contents()["mixed"]
	var stream bytes.Buffer
	w, err := flate.NewWriter(&stream, 3)
	if err != nil {
		b.Fatal(err)
	}
	w.Write(content)
	w.Close()
	buf := make([]byte, BufferSize)
	for name, read := range map[string]func() error{
		"inflate": func() error {
			z := NewReader(bytes.NewReader(stream.Bytes()))
			defer z.Close()
			for {
				if _, err := z.Next(buf); err != nil {
					return err
				}
			}
		},
		"klauspost": func() error {
			z := flate.NewReader(bytes.NewReader(stream.Bytes()))
			for {
				if _, err := z.Read(buf); err != nil {
					return err
				}
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			defer cputime.Report(b)()
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				if err := read(); err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}

func Example() {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 3)
	io.WriteString(w, "Hello, hello, hello")
	w.Close()

	z := NewReader(&b)
	defer z.Close()
	buf := make([]byte, BufferSize)
	piece, err := z.Next(buf)
	fmt.Printf("%s, %v\n", piece, err)
	_, err = z.Next(buf)
	fmt.Println(err)
	// Output:
	// Hello, hello, hello, <nil>
	// EOF
}
