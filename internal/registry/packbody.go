package registry

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// packBody is a request body that calls pack. net/http passes the connection to WriteTo
// (io.WriterTo), so the compressor writes to the socket without a copy. A transport that calls Read
// instead gets the same bytes through a pipe.
type packBody struct {
	ctx  context.Context
	pack oci.PackFunc
	sent func() // called after the last byte is written

	mu     sync.Mutex
	state  packState
	done   chan struct{} // closed when pack has returned
	pipe   *io.PipeReader
	packed layers.Packed
	err    error
	ended  bool // whether the context had ended when pack returned
	w      oci.CountingWriter
}

type packState int

const (
	packIdle packState = iota
	packRunning
	packClosed
)

var errBodyClosed = errors.New("request body is closed")

func newPackBody(ctx context.Context, pack oci.PackFunc, sent func()) *packBody {
	return &packBody{ctx: ctx, pack: pack, sent: sent, done: make(chan struct{})}
}

// begin reports whether the caller may run pack now. It returns true only once.
func (b *packBody) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != packIdle {
		return false
	}
	b.state = packRunning
	return true
}

func (b *packBody) run(w io.Writer) error {
	defer close(b.done)
	b.w.W = w
	b.packed, b.err = b.pack(b.ctx, &b.w)
	if b.err == nil && b.w.Err != nil {
		b.err = b.w.Err
	}
	if b.err == nil {
		b.sent()
	}
	b.ended = b.ctx.Err() != nil
	return b.err
}

// WriteTo implements io.WriterTo.
func (b *packBody) WriteTo(w io.Writer) (int64, error) {
	if !b.begin() {
		return 0, errBodyClosed
	}
	err := b.run(w)
	return b.w.N, err
}

// Read implements io.Reader.
func (b *packBody) Read(p []byte) (int, error) {
	if b.begin() {
		pr, pw := io.Pipe()
		b.mu.Lock()
		b.pipe = pr
		b.mu.Unlock()
		task.Go(func() { pw.CloseWithError(b.run(pw)) })
	}
	b.mu.Lock()
	pipe := b.pipe
	b.mu.Unlock()
	if pipe == nil {
		return 0, errBodyClosed
	}
	return pipe.Read(p)
}

// Close implements io.Closer. net/http calls it when it no longer needs the body.
func (b *packBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == packIdle {
		b.state = packClosed
		b.err = errBodyClosed
		close(b.done)
	}
	if b.pipe != nil {
		b.pipe.CloseWithError(errBodyClosed)
	}
	return nil
}

// finish waits until pack has returned, if pack was called. net/http can finish a request while it
// still reads the body, so the caller must cancel the context before it calls finish.
func (b *packBody) finish() (layers.Packed, error) {
	b.Close()
	<-b.done
	return b.packed, b.err
}

// broken reports whether the connection or the request failed before pack did. Call broken and
// written only after finish.
func (b *packBody) broken() bool {
	return b.ended || b.w.Err != nil || b.err == errBodyClosed
}

func (b *packBody) written() int64 { return b.w.N }
