package layers

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxZstdWindow limits the memory for streams of other tools.
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
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return newGzipReader(r)
	case strings.HasSuffix(mediaType, "zstd"):
		return newFrameReader(r), nil
	case strings.HasSuffix(mediaType, "tar"):
		return io.NopCloser(bufio.NewReaderSize(r, decompressBuff)), nil
	}
	return nil, &FormatError{What: fmt.Sprintf("media type %q is not the type of a layer", mediaType)}
}

// BlockReader reads a tar stream block by block. It decompresses each block into the caller's
// buffer. Unlike Read, this needs no copy.
type BlockReader interface {
	io.ReadCloser

	// ReadBlock returns the next bytes of the stream, as a part of buf. The length of buf
	// must be BlockSize. After the last block the error is io.EOF.
	ReadBlock(buf []byte) ([]byte, error)
	BlockSize() int
}

// blockRest implements Read for a BlockReader.
type blockRest struct{ buf, rest []byte }

func (b *blockRest) read(r BlockReader, p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.buf == nil {
			b.buf = make([]byte, r.BlockSize())
		}
		var err error
		if b.rest, err = r.ReadBlock(b.buf); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
