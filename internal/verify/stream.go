package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// Three goroutines read a layer at the same time. The first reads, hashes and decompresses the
// blob. The second hashes the tar. The third calls Read of the tarStream. Each layer takes chunks ×
// chunkSize of memory, whatever its size. If a [layers.BlockReader] decompresses the layer, it takes
// one block for each goroutine instead.
const (
	chunkSize = 256 << 10
	chunks    = 6
	blocks    = 3
)

// buffers holds chunks that later layers use again. Most layers are so small that allocating new
// chunks for each would take much of the time.
var buffers sync.Pool

// tarStream is a reader of a layer's tar. It reads the layer's blob at the same time.
type tarStream struct {
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan chunk // hashed chunks, in order; closed after the last one
	free   chan []byte
	done   sync.WaitGroup

	now  chunk // the chunk that Read is returning
	rest []byte

	// diffID and size are valid after Read has returned io.EOF.
	diffID digest.Digest
	size   int64 // size of the tar in bytes
}

// chunk is a piece of the tar, or the error at its end.
type chunk struct {
	data []byte
	buf  []byte // the buffer that contains data
	err  error
}

// openTar starts to read a layer. Set strict to true if nixoci should have written the layer, see
// [layers.DecompressStrict].
func openTar(ctx context.Context, src oci.Reader, d ocispec.Descriptor, strict bool) *tarStream {
	ctx, cancel := context.WithCancel(ctx)
	t := &tarStream{ctx: ctx, cancel: cancel, ready: make(chan chunk, chunks+1), free: make(chan []byte, chunks)}
	for range chunks {
		t.free <- nil // decompress allocates the chunk when it needs it
	}
	unhashed := make(chan chunk, chunks+1)
	t.done.Go(func() { defer task.Guard(); defer close(unhashed); t.decompress(src, d, strict, unhashed) })
	t.done.Go(func() { defer task.Guard(); defer close(t.ready); t.hash(d, unhashed) })
	return t
}

func (t *tarStream) decompress(src oci.Reader, d ocispec.Descriptor, strict bool, to chan<- chunk) {
	blob, err := src.GetBlob(t.ctx, d)
	if err != nil {
		to <- chunk{err: err}
		return
	}
	defer blob.Close()
	// If the context ends, close the blob, so that a read that waits for the network ends too.
	stop := context.AfterFunc(t.ctx, func() { blob.Close() })
	defer stop()
	err = t.fill(blob, d.MediaType, strict, to)
	// A wrong digest of the blob matters more than any fault inside the blob. So read the blob to
	// its end. For a correct blob this costs nothing.
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
			to <- chunk{data: data, buf: buf} // this does not block, because the channel has room for all chunks
		} else {
			t.free <- buf
		}
		if err == io.EOF {
			return err
		}
		if err != nil {
			return undecodable(err)
		}
	}
}

// countingReader calls did with the number of bytes that were read from blobs.
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

// undecodable returns the error for a tar that cannot be decompressed. It describes the fault that
// is reported if the blob has the right digest, which is known only at the end of the blob.
func undecodable(err error) error {
	if errors.As(err, new(*layers.FormatError)) {
		return err
	}
	return &layers.FormatError{What: "cannot be decompressed: " + err.Error()}
}

// hash computes the diffID. For an uncompressed layer, the blob is the tar itself, so the diffID is
// the digest of the blob. The reader of the blob checks this digest, so hash computes nothing again.
func (t *tarStream) hash(d ocispec.Descriptor, from <-chan chunk) {
	isTar := strings.HasSuffix(d.MediaType, "tar") && d.Digest.Algorithm() == digest.SHA256
	h := sha256.New()
	for c := range from {
		if !isTar {
			h.Write(c.data)
		}
		t.size += int64(len(c.data))
		switch {
		case c.err == io.EOF && isTar:
			t.diffID = d.Digest
		case c.err != nil && !isTar:
			t.diffID = digest.NewDigest(digest.SHA256, h)
		}
		t.ready <- c
	}
}

// Read reads the tar. At the end of the tar the error is io.EOF. If the blob is wrong or missing,
// the error is a [*oci.ContentError] or wraps [oci.ErrNotFound], even if Read has returned some
// bytes before. If the blob cannot be decompressed, the error is a [*layers.FormatError].
func (t *tarStream) Read(p []byte) (int, error) {
	b, err := t.Lend(int64(len(p)))
	return copy(p, b), err
}

// Lend implements [layers.Lender]. It returns the same errors as Read.
func (t *tarStream) Lend(max int64) ([]byte, error) {
	for len(t.rest) == 0 {
		if t.now.err != nil {
			return nil, t.now.err
		}
		if t.now.buf != nil {
			t.free <- t.now.buf
		}
		c, ok := <-t.ready
		if !ok {
			c.err = io.ErrClosedPipe // the stream was closed
		}
		t.now, t.rest = c, c.data
	}
	b := t.rest[:min(max, int64(len(t.rest)))]
	t.rest = t.rest[len(b):]
	return b, nil
}

// drain reads the tar to its end, so that its digest and the blob's digest are known.
func (t *tarStream) drain() error {
	_, err := io.Copy(io.Discard, onlyReader{t})
	return err
}

type onlyReader struct{ io.Reader }

// Close ends the reading. The caller may call it at any point of the tar.
func (t *tarStream) Close() {
	t.cancel()
	t.done.Wait() // does not wait long, because the channels have room for all chunks
	if t.now.buf != nil {
		t.free <- t.now.buf
	}
	for c := range t.ready {
		if c.buf != nil {
			t.free <- c.buf
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
