package layers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/mediatype"
)

// Algorithms that a layer can be compressed with.
const (
	Gzip = "gzip"
	Zstd = "zstd"
	None = "none"
)

// Compressor settings of format version 1. The tar stream is cut into blocks of
// a fixed size that are compressed on their own, so that the output is the same
// for any number of workers. Changing one of these, or the version of
// klauspost/compress in go.mod, changes digests: raise FormatVersion and the
// golden digests with it.
const (
	// A block of gzip is a run of deflate blocks that ends in a sync flush. At
	// 1 MiB the cold 32 KiB window costs 0.1 % of the size.
	gzipBlockSize = 1 << 20

	// A block of zstd is a frame. At 2 MiB the size is 1.0 % above that of an
	// unlimited frame, at 1 MiB 1.9 %, and memory is twice the block for each
	// one in flight.
	zstdBlockSize  = 2 << 20
	zstdWindowSize = 2 << 20

	noneBlockSize = 1 << 20

	// Levels where the curve bends: on a NixOS system of 1.43 GB a push with gzip:3
	// takes 15 % less processor time than with gzip:4 and 30 % less than with
	// gzip:5, for 2.5 % and 4.7 % more bytes. zstd:3 takes as long as gzip:3, for
	// 13 % fewer bytes (docs/benchmarks.md).
	defaultGzipLevel = 3
	defaultZstdLevel = 3
)

// gzipHeader is RFC 1952's: deflate, no flags, no time, no extra flags, and
// "unknown" as the operating system.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// deflateEnd is an empty stored block with the final bit (RFC 1951, 3.2.4).
var deflateEnd = []byte{1, 0, 0, 0xff, 0xff}

// zstdLevels are the levels that are distinct in klauspost/compress, under the
// zstd level that each stands for.
var zstdLevels = map[int]zstd.EncoderLevel{
	1:  zstd.SpeedFastest,
	3:  zstd.SpeedDefault,
	7:  zstd.SpeedBetterCompression,
	11: zstd.SpeedBestCompression,
}

// Compression is an algorithm and its level. Make one with [ParseCompression].
type Compression struct {
	Algorithm string // Gzip, Zstd or None
	Level     int    // 0 for None
}

// DefaultCompression is gzip, because Docker before 23 cannot read zstd.
func DefaultCompression() Compression { return Compression{Gzip, defaultGzipLevel} }

// ParseCompression reads ALGORITHM or ALGORITHM:LEVEL. gzip has levels 1 to 9;
// zstd takes 1 to 22 and uses the nearest of 1, 3, 7 and 11; none has no level.
func ParseCompression(s string) (Compression, error) {
	name, digits, leveled := strings.Cut(s, ":")
	level := 0
	if leveled {
		n, err := strconv.Atoi(digits)
		if err != nil {
			return Compression{}, badCompression(s, "level is not a number")
		}
		level = n
	}
	switch name {
	case Gzip:
		if !leveled {
			level = defaultGzipLevel
		}
		if level < 1 || level > 9 {
			return Compression{}, badCompression(s, "gzip has levels 1 to 9")
		}
	case Zstd:
		if !leveled {
			level = defaultZstdLevel
		}
		switch {
		case level < 1 || level > 22:
			return Compression{}, badCompression(s, "zstd has levels 1 to 22")
		case level < 3:
			level = 1
		case level < 6:
			level = 3
		case level < 10:
			level = 7
		default:
			level = 11
		}
	case None:
		if level != 0 {
			return Compression{}, badCompression(s, "none has no level")
		}
	default:
		return Compression{}, badCompression(s, "unknown algorithm")
	}
	return Compression{name, level}, nil
}

func badCompression(s, why string) error {
	return hint.Add(fmt.Errorf("compression %q: %s", s, why), "use gzip, zstd or none, with a level where one is wanted: gzip:6")
}

// String is the form that a recipe has and that ParseCompression reads, "gzip:5".
func (c Compression) String() string {
	if c.Algorithm == None {
		return None
	}
	return fmt.Sprintf("%s:%d", c.Algorithm, c.Level)
}

// MediaType is the layer's media type (image-spec, "layer.md"; Docker's schema
// 2 knows gzip and none only).
func (c Compression) MediaType(docker bool) (string, error) {
	switch {
	case c.Algorithm == Gzip && docker:
		return mediatype.DockerLayerGzip, nil
	case c.Algorithm == Gzip:
		return ocispec.MediaTypeImageLayerGzip, nil
	case c.Algorithm == None && docker:
		return mediatype.DockerLayer, nil
	case c.Algorithm == None:
		return ocispec.MediaTypeImageLayer, nil
	case c.Algorithm == Zstd && docker:
		return "", hint.Add(fmt.Errorf("compression %s: Docker's media types have no zstd", c), "leave out --format docker, or use --compression gzip")
	case c.Algorithm == Zstd:
		return ocispec.MediaTypeImageLayerZstd, nil
	}
	return "", badCompression(c.String(), "unknown algorithm")
}

// blockSize is the number of bytes of tar that are compressed on their own.
func (c Compression) blockSize() int {
	switch c.Algorithm {
	case Gzip:
		return gzipBlockSize
	case Zstd:
		return zstdBlockSize
	}
	return noneBlockSize
}

// An encoder compresses one block at a time. It keeps its tables between blocks
// but nothing that affects what comes out.
type encoder interface {
	// encode appends the compressed form of block to dst.
	encode(dst, block []byte) ([]byte, error)
}

func (c Compression) newEncoder() (encoder, error) {
	switch c.Algorithm {
	case Gzip:
		e := &gzipEncoder{}
		w, err := flate.NewWriter(&e.out, c.Level)
		if err != nil {
			return nil, fmt.Errorf("compression %s: %w", c, err)
		}
		e.w = w
		return e, nil
	case Zstd:
		w, err := zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstdLevels[c.Level]),
			zstd.WithWindowSize(zstdWindowSize),
			zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), // the digest covers every byte
			zstd.WithSingleSegment(true),
			zstd.WithZeroFrames(true),
		)
		if err != nil {
			return nil, fmt.Errorf("compression %s: %w", c, err)
		}
		return zstdEncoder{w}, nil
	}
	return nil, nil // none: a block is its own output
}

type gzipEncoder struct {
	out appender
	w   *flate.Writer
}

func (e *gzipEncoder) encode(dst, block []byte) ([]byte, error) {
	e.out.b = dst
	e.w.Reset(&e.out)
	if _, err := e.w.Write(block); err != nil {
		return nil, err
	}
	if err := e.w.Flush(); err != nil {
		return nil, err
	}
	dst, e.out.b = e.out.b, nil
	return dst, nil
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

type zstdEncoder struct{ w *zstd.Encoder }

func (e zstdEncoder) encode(dst, block []byte) ([]byte, error) {
	return e.w.EncodeAll(block, dst), nil
}

// framing is what stands before and after the blocks of a whole stream.
type framing struct {
	algorithm string
	crc       uint32
	size      uint32 // modulo 2^32, as gzip has it
}

func (f *framing) header() []byte {
	if f.algorithm == Gzip {
		return gzipHeader
	}
	return nil
}

// add counts one uncompressed block; blocks are added in order.
func (f *framing) add(block []byte) {
	if f.algorithm == Gzip {
		f.crc = crc32.Update(f.crc, crc32.IEEETable, block)
		f.size += uint32(len(block))
	}
}

func (f *framing) trailer() []byte {
	if f.algorithm != Gzip {
		return nil
	}
	b := bytes.Clone(deflateEnd)
	b = binary.LittleEndian.AppendUint32(b, f.crc)
	return binary.LittleEndian.AppendUint32(b, f.size)
}

// Decompress returns the tar stream of a layer that r holds in the compression
// that its media type says, of this or another tool.
func Decompress(r io.Reader, mediaType string) (io.ReadCloser, error) {
	return decompress(r, mediaType)
}
