package layers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/mediatype"
)

// The algorithms for compressing a layer.
const (
	Gzip = "gzip"
	Zstd = "zstd"
	None = "none"
)

// The compressor settings of format version 1. The tar stream is cut into blocks of a fixed
// size, and each block is compressed separately. So the output is the same for any number of
// workers. If one of these settings changes, or the version of klauspost/compress in go.mod,
// then digests change. FormatVersion and the golden digests must change at the same time.
const (
	// A gzip block is a sequence of deflate blocks that ends in a sync flush. Each block
	// starts with an empty 32 KiB window. With blocks of 1 MiB this costs 0.1 % of the size.
	gzipBlockSize = 1 << 20

	// A zstd block is one frame. Each frame starts without history. One frame for the whole
	// stream, with a window of 8 MiB, is 2.8 % smaller and takes 5 % less time. But then only
	// one processor can compress a layer. Frames of 8 MiB are 2.2 % smaller, frames of 16 MiB
	// are 2.5 % smaller. Each block that is being compressed needs up to twice its size in
	// memory, and each processor compresses one. Level 7 at 2 MiB is 2.5 % smaller and takes
	// 1.7 times as long.
	zstdBlockSize  = 2 << 20
	zstdWindowSize = 2 << 20

	noneBlockSize = 1 << 20

	// The default levels are a compromise. On a NixOS system of 1.43 GB, a push with gzip:3
	// takes 15 % less processor time than with gzip:4, and 30 % less than with gzip:5. It
	// sends 2.5 % more bytes than with gzip:4, and 4.7 % more than with gzip:5. zstd:3 takes
	// as long as gzip:3 and sends 13 % fewer bytes (docs/benchmarks.md).
	defaultGzipLevel = 3
	defaultZstdLevel = 3
)

// gzipHeader is the header of RFC 1952: deflate, no flags, no time, no extra flags, and the
// operating system "unknown".
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// deflateEnd is an empty stored block with the final bit (RFC 1951, 3.2.4).
var deflateEnd = []byte{1, 0, 0, 0xff, 0xff}

// zstdLevels maps zstd levels to the levels of klauspost/compress, which has only four.
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

// ParseCompression parses ALGORITHM or ALGORITHM:LEVEL. gzip has levels 1 to 9. zstd
// accepts 1 to 22 and uses the nearest of 1, 3, 7 and 11. none has no level.
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
	return hint.Add(fmt.Errorf("compression %q: %s", s, why), "use gzip, zstd or none; a level may follow: gzip:6")
}

// String returns the form that recipes contain and ParseCompression accepts: "gzip:5".
func (c Compression) String() string {
	if c.Algorithm == None {
		return None
	}
	return fmt.Sprintf("%s:%d", c.Algorithm, c.Level)
}

// layerMediaTypes maps each algorithm to the media types of a layer: those of the image spec
// ("layer.md"), and those of Docker's schema 2, which has none for zstd.
var layerMediaTypes = map[string]struct{ oci, docker string }{
	Gzip: {ocispec.MediaTypeImageLayerGzip, mediatype.DockerLayerGzip},
	Zstd: {ocispec.MediaTypeImageLayerZstd, ""},
	None: {ocispec.MediaTypeImageLayer, mediatype.DockerLayer},
}

// MediaType returns the media type of a layer: Docker's if docker is true, otherwise OCI's.
func (c Compression) MediaType(docker bool) (string, error) {
	types, known := layerMediaTypes[c.Algorithm]
	switch {
	case !known:
		return "", badCompression(c.String(), "unknown algorithm")
	case !docker:
		return types.oci, nil
	case types.docker == "":
		return "", hint.Add(fmt.Errorf("compression %s: Docker's media types have no %s", c, c.Algorithm), "leave out --format docker, or use --compression gzip")
	}
	return types.docker, nil
}

// blockSize returns how many bytes of tar are compressed as one block.
func (c Compression) blockSize() int {
	switch c.Algorithm {
	case Gzip:
		return gzipBlockSize
	case Zstd:
		return zstdBlockSize
	}
	return noneBlockSize
}

// encoder compresses one block at a time. It keeps its tables from one block to the next, but
// they do not affect the output.
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
			zstd.WithEncoderCRC(false), // not needed, because the digest covers every byte
			zstd.WithSingleSegment(true),
			zstd.WithZeroFrames(true),
		)
		if err != nil {
			return nil, fmt.Errorf("compression %s: %w", c, err)
		}
		return zstdEncoder{w}, nil
	}
	return nil, nil // with algorithm none, the output of a block is the block itself
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

// envelope makes the header before the blocks of a stream and the trailer after them. Only gzip has
// them.
type envelope struct {
	algorithm string
	crc       uint32
	size      uint32 // modulo 2^32, as in gzip
}

func (e *envelope) header() []byte {
	if e.algorithm == Gzip {
		return gzipHeader
	}
	return nil
}

// add updates the checksum and the size with one uncompressed block. Blocks must be added in
// order.
func (e *envelope) add(block []byte) {
	if e.algorithm == Gzip {
		e.crc = crc32.Update(e.crc, crc32.IEEETable, block)
		e.size += uint32(len(block))
	}
}

func (e *envelope) trailer() []byte {
	if e.algorithm != Gzip {
		return nil
	}
	b := bytes.Clone(deflateEnd)
	b = binary.LittleEndian.AppendUint32(b, e.crc)
	return binary.LittleEndian.AppendUint32(b, e.size)
}
