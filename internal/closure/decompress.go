package closure

import (
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/nixoci/nixoci/internal/limit"
)

// A decoder returns a reader that decompresses the given reader. Close returns the
// buffers to a pool, and does not close the given reader. Decompression keeps the last
// part of its output in memory, which is called the window. All windows together have a
// limit. If a new window would exceed the limit, the decoder waits until other readers
// are closed.
type decoder func(context.Context, io.Reader) (io.ReadCloser, error)

// decoders maps the names of compressions in narinfo files to decoders. Decompression
// runs in the goroutine that reads. nixoci fetches several paths at once, so this
// uses all cores.
var decoders = map[string]decoder{
	"none": func(_ context.Context, r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	"gzip": func(_ context.Context, r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
	"bzip2": func(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
		return windowed(ctx, bzip2Memory, func() (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil })
	},
	"br":   newBrotli,
	"xz":   newXZ,
	"zstd": newZstd,
}

const (
	// usualWindow is the window of xz -6 and zstd -19. Most files need no larger
	// window. Pools keep decoders of this size, so that nixoci can use their memory
	// again.
	usualWindow = 8 << 20

	bzip2Memory = 4 << 20  // memory for bzip2's blocks of 900 kB
	headSize    = 128      // bytes at the start of a file; they contain the size of the window
	zstdSurplus = 1 << 20  // memory that zstd needs in addition to the window
	noWindow    = 64 << 10 // minimum memory that is counted for one decoder
)

// windowed waits until the given number of bytes is free, and then calls open. Close
// of the returned reader frees the memory.
func windowed(ctx context.Context, memory int64, open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	release, err := limit.AcquireWindow(ctx, max(memory, noWindow))
	if err != nil {
		return nil, err
	}
	r, err := open()
	if err != nil {
		release()
		return nil, err
	}
	return &windowedReader{r, sync.OnceFunc(release)}, nil
}

type windowedReader struct {
	io.ReadCloser
	release func()
}

func (w *windowedReader) Close() error {
	defer w.release()
	return w.ReadCloser.Close()
}

// peekHead returns the first bytes of r, and a reader for the whole content of r,
// including these bytes.
func peekHead(r io.Reader) ([]byte, io.Reader, error) {
	head := make([]byte, headSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	if err != nil {
		// If r ends early, the decoder decides whether this is an error.
		return head[:n], io.MultiReader(bytes.NewReader(head[:n]), failing{err}), nil
	}
	return head, io.MultiReader(bytes.NewReader(head), r), nil
}

// failing is a reader without bytes. Its Read returns err, or io.EOF if r ended
// before headSize bytes.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == io.ErrUnexpectedEOF { // io.ReadFull returns this error for a short file
		return 0, io.EOF
	}
	return 0, f.err
}

func checkWindow(window uint64) error {
	if window > limit.Window {
		return fmt.Errorf("it needs a window of %d bytes to decompress, more than %d", window, limit.Window)
	}
	return nil
}

// newBrotli returns the content of a brotli file. It reads the size of the window from the
// file's first bits (RFC 7932, 9.1).
func newBrotli(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	head, r, err := peekHead(r)
	if err != nil {
		return nil, err
	}
	bits := 16
	if len(head) > 0 && head[0]&1 == 1 {
		if n := int(head[0] >> 1 & 7); n > 0 {
			bits = 17 + n
		} else if n := int(head[0] >> 4 & 7); n > 1 {
			bits = 8 + n
		} else {
			bits = 17
		}
	}
	// While the decoder enlarges its window, it holds the old and the new window.
	return windowed(ctx, 3<<bits/2, func() (io.ReadCloser, error) { return io.NopCloser(brotli.NewReader(r)), nil })
}

// These pools keep decoders with their windows. The pools for large windows hold
// only few decoders, because only few can be in use at the same time.
var xzReaders, largeXZReaders, zstdReaders, largeZstdReaders sync.Pool

type pooledXZ struct {
	*xz.Reader
	pool *sync.Pool
}

func newXZ(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	head, r, err := peekHead(r)
	if err != nil {
		return nil, err
	}
	window, most, pool := xzWindow(head), uint32(usualWindow), &xzReaders
	if err := checkWindow(window); err != nil {
		return nil, err
	}
	if window > usualWindow {
		most, pool = limit.Window, &largeXZReaders
		window = limit.Window
	}
	return windowed(ctx, int64(window), func() (io.ReadCloser, error) {
		if d, ok := pool.Get().(*xz.Reader); ok {
			return pooledXZ{d, pool}, d.Reset(r)
		}
		d, err := xz.NewReader(r, most)
		return pooledXZ{d, pool}, err
	})
}

func (p pooledXZ) Close() error {
	// Reset to an empty file, so that the pooled decoder does not keep a reference
	// to the connection. Reset returns an error, because an empty file is not an xz
	// file.
	_ = p.Reset(strings.NewReader(""))
	p.pool.Put(p.Reader)
	return nil
}

// xzWindow returns the size of the window for a file's first block (The .xz File
// Format, 3.1 and 5.3.1). The decoder refuses a later block with a larger window. If
// the header is malformed, xzWindow returns usualWindow, and the decoder reports the
// fault.
func xzWindow(head []byte) uint64 {
	const streamHeader = 12
	b := bytes.NewReader(head[min(streamHeader, len(head)):])
	b.ReadByte() // skip the size of the block header
	flags, _ := b.ReadByte()
	number := func() (n uint64) {
		for shift := 0; shift < 63; shift += 7 {
			c, err := b.ReadByte()
			if n |= uint64(c&0x7f) << shift; err != nil || c < 0x80 {
				break
			}
		}
		return n
	}
	if flags&0x40 != 0 {
		number() // skip the compressed size
	}
	if flags&0x80 != 0 {
		number() // skip the uncompressed size
	}
	for range flags&3 + 1 {
		id, size := number(), number()
		if id != 0x21 { // a filter other than LZMA2
			b.Seek(int64(min(size, headSize)), io.SeekCurrent)
			continue
		}
		if c, err := b.ReadByte(); err == nil && c <= 40 {
			if c == 40 {
				return 1<<32 - 1
			}
			return max(usualWindow, uint64(2|c&1)<<(c/2+11))
		}
	}
	return usualWindow
}

type pooledZstd struct {
	*zstd.Decoder
	pool *sync.Pool
}

func newZstd(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	head, r, err := peekHead(r)
	if err != nil {
		return nil, err
	}
	window, pool := uint64(usualWindow), &zstdReaders
	var h zstd.Header
	if h.Decode(head) == nil && !h.Skippable {
		window = max(window, h.WindowSize)
		if h.SingleSegment {
			window = max(window, h.FrameContentSize)
		}
	}
	if err := checkWindow(window); err != nil {
		return nil, err
	}
	if window > usualWindow {
		window, pool = limit.Window, &largeZstdReaders
	}
	return windowed(ctx, int64(window)+zstdSurplus, func() (io.ReadCloser, error) {
		d, ok := pool.Get().(*zstd.Decoder)
		if !ok {
			// A pool may drop a decoder without closing it. With concurrency 1,
			// the decoder starts no goroutine, so this is no leak.
			var err error
			d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, err
			}
		}
		return pooledZstd{d, pool}, d.Reset(r)
	})
}

func (p pooledZstd) Close() error {
	if p.Reset(nil) == nil {
		p.pool.Put(p.Decoder)
	}
	return nil
}
