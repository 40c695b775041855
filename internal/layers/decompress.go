package layers

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Bounds for streams that somebody else may have written.
const (
	maxZstdWindow  = 128 << 20
	decompressBuff = 256 << 10
)

func decompress(r io.Reader, mediaType string) (io.ReadCloser, error) {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		z, err := gzip.NewReader(bufio.NewReaderSize(r, decompressBuff))
		if err != nil {
			return nil, fmt.Errorf("decompress layer: %w", err)
		}
		return z, nil
	case strings.HasSuffix(mediaType, "zstd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompress layer: %w", err)
		}
		return z.IOReadCloser(), nil
	case strings.HasSuffix(mediaType, "tar"):
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("decompress layer: media type %q is not one of a layer", mediaType)
}

// DecompressStrict is [Decompress] for what a [Packer] should have written:
// around the compressed data there is nothing else, so that nothing can hide
// there. What is compressed how is not checked. Errors about the stream, and
// not of r, are a [*FormatError].
func DecompressStrict(r io.Reader, mediaType string) (io.ReadCloser, error) {
	src := &errorReader{r: r}
	br := bufio.NewReaderSize(src, decompressBuff)
	s := &strictReader{src: src}
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		head, err := br.Peek(len(gzipHeader))
		if err != nil {
			return nil, s.error(err)
		}
		if !bytes.Equal(head, gzipHeader) {
			return nil, &FormatError{What: fmt.Sprintf("gzip header is %x, not %x", head, gzipHeader)}
		}
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, s.error(err)
		}
		z.Multistream(false)
		s.tar, s.rest = z, br
	case strings.HasSuffix(mediaType, "zstd"):
		z, err := zstd.NewReader(&frameReader{r: br}, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, s.error(err)
		}
		s.tar = z.IOReadCloser()
	case strings.HasSuffix(mediaType, "tar"):
		s.tar = io.NopCloser(br)
	default:
		return nil, &FormatError{What: fmt.Sprintf("media type %q is not one of a layer", mediaType)}
	}
	return s, nil
}

// errorReader remembers why its source failed.
type errorReader struct {
	r   io.Reader
	err error
}

func (e *errorReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

type strictReader struct {
	src  *errorReader
	tar  io.ReadCloser
	rest *bufio.Reader // what follows the only gzip member; else nil
}

func (s *strictReader) Read(p []byte) (int, error) {
	n, err := s.tar.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF && s.rest != nil {
		if _, more := s.rest.Peek(1); more == nil {
			return n, &FormatError{What: "bytes after the end of the gzip stream"}
		} else if more != io.EOF {
			err = more
		}
	}
	return n, s.error(err)
}

func (s *strictReader) error(err error) error {
	var format *FormatError
	switch {
	case err == io.EOF && s.tar != nil, errors.As(err, &format):
		return err
	case s.src.err != nil:
		return s.src.err
	}
	return &FormatError{What: fmt.Sprintf("cannot be decompressed: %v", err)}
}

func (s *strictReader) Close() error { return s.tar.Close() }

// frameReader passes on a stream of zstd frames and refuses skippable ones,
// which a decoder skips whatever is in them (RFC 8878, 3.1.2).
type frameReader struct {
	r    *bufio.Reader
	left int64 // bytes of the block that is passed on
	last bool  // it is the frame's last
	in   bool  // inside of a frame
	err  error
	head [18]byte
	pend []byte // of the headers, not yet passed on
	sum  bool   // the frame ends with a checksum
}

func (f *frameReader) Read(p []byte) (int, error) {
	for {
		if n := copy(p, f.pend); n > 0 {
			f.pend = f.pend[n:]
			return n, nil
		}
		if f.err != nil {
			return 0, f.err
		}
		if f.left > 0 {
			n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
			f.left -= int64(n)
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		f.err = f.next()
	}
}

// next reads the header of the next block, or frame.
func (f *frameReader) next() error {
	read := func(n int) error {
		from := len(f.pend)
		f.pend = f.head[:from+n]
		_, err := io.ReadFull(f.r, f.pend[from:])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	f.pend = f.head[:0]
	if f.in && f.last {
		f.in = false
		if f.sum {
			f.left = 4
			f.sum = false
			return nil
		}
	}
	if !f.in {
		if _, err := f.r.Peek(1); err != nil {
			f.pend = nil
			return err
		}
		if err := read(5); err != nil {
			return err
		}
		if magic := binary.LittleEndian.Uint32(f.head[:]); magic != 0xfd2fb528 {
			return &FormatError{What: fmt.Sprintf("a frame that is not zstd's: %08x", magic)}
		}
		d := f.head[4] // frame header descriptor
		size := []int{0, 2, 4, 8}[d>>6]
		single := d&0x20 != 0
		if single && size == 0 {
			size = 1
		}
		if !single {
			size++ // window
		}
		size += []int{0, 1, 2, 4}[d&3]
		f.in, f.last, f.sum = true, false, d&4 != 0
		return read(size)
	}
	if err := read(3); err != nil {
		return err
	}
	h := uint32(f.head[0]) | uint32(f.head[1])<<8 | uint32(f.head[2])<<16
	f.last = h&1 != 0
	f.left = int64(h >> 3)
	if h>>1&3 == 1 { // one byte, repeated
		f.left = 1
	}
	return nil
}
