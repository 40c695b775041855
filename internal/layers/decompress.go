package layers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Limits for streams that another tool may have written.
const (
	maxZstdWindow  = 128 << 20
	decompressBuff = 256 << 10
)

// Decompress returns the tar stream of the layer r. mediaType determines the compression.
// Decompress also accepts layers of other tools.
func Decompress(r io.Reader, mediaType string) (io.ReadCloser, error) {
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
	return nil, fmt.Errorf("decompress layer: media type %q is not the type of a layer", mediaType)
}

// DecompressStrict does the same as [Decompress] for streams that a [Packer] should have
// written. It refuses all other data around the compressed data, so that nothing can hide
// there. It does not check how the data was compressed. If the stream is wrong, the error is
// a [*FormatError]. Errors of r are returned as they are. The reader may be a [BlockReader].
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
		return newFrameReader(r), nil
	case strings.HasSuffix(mediaType, "tar"):
		s.tar = io.NopCloser(br)
	default:
		return nil, &FormatError{What: fmt.Sprintf("media type %q is not the type of a layer", mediaType)}
	}
	return s, nil
}

// errorReader records the error of its source.
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
	rest *bufio.Reader // the data after the only gzip member; nil with other algorithms
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
