package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// A layer is read by three stages beside each other: reading, hashing and
// decompressing the blob; hashing the tar; and whatever reads the tarStream.
// Memory is chunks × chunkSize for each layer, whatever its size, or one block
// for each stage where a layer is in blocks.
const (
	chunkSize = 256 << 10
	chunks    = 6
	blocks    = 3
)

// buffers are for chunks of all layers: most are too short for new ones.
var buffers sync.Pool

// tarStream is a layer's tar while its blob is read.
type tarStream struct {
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan chunk // hashed, in order; closed at the end
	free   chan []byte
	done   sync.WaitGroup

	now  chunk // being read
	rest []byte

	// Valid once Read has returned an error.
	diffID digest.Digest
	size   int64 // bytes of the tar
}

// chunk is a piece of tar, or why there is no more.
type chunk struct {
	data []byte
	err  error
}

// openTar starts to read a layer. strict is for what nixoci should have
// written: see [layers.DecompressStrict].
func openTar(ctx context.Context, src oci.Reader, d ocispec.Descriptor, strict bool) *tarStream {
	ctx, cancel := context.WithCancel(ctx)
	t := &tarStream{ctx: ctx, cancel: cancel, ready: make(chan chunk, chunks+1), free: make(chan []byte, chunks)}
	for range chunks {
		t.free <- nil // made when it is needed
	}
	unhashed := make(chan chunk, chunks+1)
	t.done.Go(func() { defer task.Guard(); defer close(unhashed); t.decompress(src, d, strict, unhashed) })
	t.done.Go(func() { defer task.Guard(); defer close(t.ready); t.hash(unhashed) })
	return t
}

func (t *tarStream) decompress(src oci.Reader, d ocispec.Descriptor, strict bool, to chan<- chunk) {
	blob, err := src.GetBlob(t.ctx, d)
	if err != nil {
		to <- chunk{err: err}
		return
	}
	defer blob.Close()
	// A read that waits for the network ends with the context.
	stop := context.AfterFunc(t.ctx, func() { blob.Close() })
	defer stop()
	err = t.fill(blob, d.MediaType, strict, to)
	// Whatever is wrong inside, a blob that is another one is what matters. Reading
	// on tells, and costs nothing where all is well.
	_, drain := io.Copy(io.Discard, blob)
	switch {
	case t.ctx.Err() != nil:
		err = context.Cause(t.ctx)
	case drain != nil:
		err = drain
	}
	to <- chunk{err: err}
}

func (t *tarStream) fill(blob io.Reader, mediaType string, strict bool, to chan<- chunk) error {
	open := layers.Decompress
	if strict {
		open = layers.DecompressStrict
	}
	tar, err := open(blob, mediaType)
	if err != nil {
		return undecodable(err)
	}
	defer tar.Close()
	size, next := chunkSize, func(buf []byte) ([]byte, error) {
		n, err := 0, error(nil)
		for n < chunkSize && err == nil {
			var m int
			m, err = tar.Read(buf[n:chunkSize])
			n += m
		}
		return buf[:n], err
	}
	if b, ok := tar.(layers.BlockReader); ok {
		size, next = b.BlockSize(), b.ReadBlock
		for range chunks - blocks {
			<-t.free
		}
	}
	for {
		var buf []byte
		select {
		case buf = <-t.free:
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		}
		if buf == nil {
			buf, _ = buffers.Get().([]byte)
		}
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		data, err := next(buf[:size])
		if len(data) > 0 {
			to <- chunk{data: data} // has room for all there are
		}
		if err == io.EOF {
			return err
		}
		if err != nil {
			return undecodable(err)
		}
	}
}

// countingReader tells of the bytes of blobs.
type countingReader struct {
	oci.Reader
	did func(int64)
}

func (s countingReader) GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	r, err := s.Reader.GetBlob(ctx, d)
	if err != nil || s.did == nil {
		return r, err
	}
	return &countedBlob{r, s.did}, nil
}

type countedBlob struct {
	io.ReadCloser
	did func(int64)
}

func (r *countedBlob) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.did(int64(n))
	return n, err
}

// undecodable is what is wrong with a stream, if nothing is with the blob: that
// is found by reading on.
func undecodable(err error) error {
	if errors.As(err, new(*layers.FormatError)) {
		return err
	}
	return &layers.FormatError{What: "cannot be decompressed: " + err.Error()}
}

func (t *tarStream) hash(from <-chan chunk) {
	h := sha256.New()
	for c := range from {
		h.Write(c.data)
		t.size += int64(len(c.data))
		if c.err != nil {
			t.diffID = digest.NewDigest(digest.SHA256, h)
		}
		t.ready <- c
	}
}

// Read reads the tar. The error is io.EOF at its end; a [*oci.ContentError] or
// push.ErrNotFound where the blob is another one or missing, whatever was read
// before; a [*layers.FormatError] where it cannot be decompressed.
func (t *tarStream) Read(p []byte) (int, error) {
	b, err := t.Lend(int64(len(p)))
	return copy(p, b), err
}

// Lend implements [layers.Lender]. Errors are those of Read.
func (t *tarStream) Lend(max int64) ([]byte, error) {
	for len(t.rest) == 0 {
		if t.now.err != nil {
			return nil, t.now.err
		}
		if t.now.data != nil {
			t.free <- t.now.data
		}
		c, ok := <-t.ready
		if !ok {
			c.err = io.ErrClosedPipe // closed
		}
		t.now, t.rest = c, c.data
	}
	b := t.rest[:min(max, int64(len(t.rest)))]
	t.rest = t.rest[len(b):]
	return b, nil
}

// drain reads to the end, so that digests are known.
func (t *tarStream) drain() error {
	_, err := io.Copy(io.Discard, onlyReader{t})
	return err
}

type onlyReader struct{ io.Reader }

// Close ends reading wherever it is.
func (t *tarStream) Close() {
	t.cancel()
	t.done.Wait() // for nobody waits for a reader: there is room for all chunks
	if t.now.data != nil {
		t.free <- t.now.data
	}
	for c := range t.ready {
		if c.data != nil {
			t.free <- c.data
		}
	}
	for len(t.free) > 0 {
		if buf := <-t.free; buf != nil {
			//lint:ignore SA6002 two words for a whole buffer
			buffers.Put(buf)
		}
	}
	t.now, t.rest = chunk{err: io.ErrClosedPipe}, nil
}
