package closure

import (
	"compress/bzip2"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// A decoder undoes one compression. Close gives its buffers back; it does not
// close the reader.
type decoder func(io.Reader) (io.ReadCloser, error)

// decoders are the compressions of binary caches, by the name that a narinfo
// has. Each runs in the goroutine that reads: several paths are fetched at
// once, which keeps all cores busy.
var decoders = map[string]decoder{
	"none":  func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	"bzip2": func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil },
	"br":    func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(brotli.NewReader(r)), nil },
	"gzip":  func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
	"xz":    newXZ,
	"zstd":  newZstd,
}

// maxWindow bounds the memory that a compressed file can ask for: 64 MiB is
// what xz -9 needs, which is the most that Nix uses, and zstd -19 needs 8.
const maxWindow = 64 << 20 // bytes

// xzReaders and zstdReaders are kept for their windows.
var (
	xzReaders   sync.Pool
	zstdReaders sync.Pool
)

type pooledXZ struct{ *xz.Reader }

func newXZ(r io.Reader) (io.ReadCloser, error) {
	if d, ok := xzReaders.Get().(*xz.Reader); ok {
		return pooledXZ{d}, d.Reset(r)
	}
	d, err := xz.NewReader(r, maxWindow)
	if err != nil {
		return nil, err
	}
	return pooledXZ{d}, nil
}

func (p pooledXZ) Close() error {
	// Reset to no input, so that the pool holds on to no connection.
	if p.Reset(nil) == nil {
		xzReaders.Put(p.Reader)
	}
	return nil
}

type pooledZstd struct{ *zstd.Decoder }

func newZstd(r io.Reader) (io.ReadCloser, error) {
	d, ok := zstdReaders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		// One goroutine: the pool may then drop a decoder without closing it.
		if d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true)); err != nil {
			return nil, err
		}
	}
	return pooledZstd{d}, d.Reset(r)
}

func (p pooledZstd) Close() error {
	if p.Reset(nil) == nil {
		zstdReaders.Put(p.Decoder)
	}
	return nil
}
