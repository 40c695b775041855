package closure

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/retry"
)

// body is a reader for a file of a binary cache. If the connection breaks or stalls,
// body connects again and continues at the same byte. If the server supports ranges,
// body requests only the rest of the file.
type body struct {
	f      *fetcher
	ctx    context.Context
	rel    string
	resp   answer      // its Response is nil while there is no connection
	timer  *time.Timer // cancels resp if the transfer stalls
	speed  limit.Speed
	offset int64 // bytes read so far
	size   int64 // bytes of the file, -1 if unknown
	etag   string
	breaks retry.Breaks
	err    error
}

func (f *fetcher) open(ctx context.Context, rel string) (*body, error) {
	speed := limit.Speed{Least: f.least}
	b := &body{f: f, ctx: ctx, rel: rel, speed: speed, breaks: retry.Breaks{Schedule: f.retry, Enough: speed.Enough()}}
	if err := b.connect(); err != nil {
		return nil, err
	}
	b.size, b.etag = b.resp.ContentLength, b.resp.Header.Get("ETag")
	return b, nil
}

// encoding returns the key in decoders for the Content-Encoding of the response.
func (b *body) encoding() string {
	switch e := strings.ToLower(strings.TrimSpace(b.resp.Header.Get("Content-Encoding"))); e {
	case "", "identity":
		return "none"
	case "x-gzip":
		return "gzip"
	default:
		return e
	}
}

// connect requests the file from b.offset on. If the server sends the whole file,
// connect skips the bytes that were already read.
func (b *body) connect() error {
	resp, err := b.f.get(b.ctx, b.rel, b.offset, b.etag)
	if err != nil {
		return err
	}
	b.resp, b.speed = resp, limit.Speed{Least: b.f.least}
	b.timer = time.AfterFunc(limit.LeastSpeedIn, func() { resp.cancel(errTooSlow) })
	b.timer.Stop()
	if b.offset == 0 {
		return nil
	}
	if resp.StatusCode == http.StatusPartialContent {
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != b.offset {
			b.close()
			return fmt.Errorf("GET %s: asked for bytes from %d, got %q", b.f.at(b.rel), b.offset, resp.Header.Get("Content-Range"))
		}
		return nil
	}
	// Either the server does not support ranges, or the file has changed. A
	// changed file of the same size fails the check of the narHash.
	if b.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != b.size {
		b.close()
		return fmt.Errorf("GET %s: the file changed from %d to %d bytes", b.f.at(b.rel), b.size, resp.ContentLength)
	}
	skip := b.offset
	b.offset = 0
	buf := make([]byte, 64<<10)
	for skip > 0 {
		n, err := b.read(buf[:min(skip, int64(len(buf)))])
		skip -= int64(n)
		if err != nil {
			b.offset += skip // the caller has read up to here
			b.close()
			return err
		}
	}
	return nil
}

func (b *body) close() {
	if b.resp.Response != nil {
		b.timer.Stop()
		b.resp.cancel(nil)
		b.resp.Body.Close()
		b.resp = answer{}
	}
}

// read reads from the current response.
func (b *body) read(p []byte) (int, error) {
	b.timer.Reset(b.speed.Patience())
	start := time.Now()
	n, err := b.resp.Body.Read(p)
	b.timer.Stop()
	b.speed.Moved(n, time.Since(start))
	b.offset += int64(n)
	b.f.stats.bytes.Add(int64(n))
	if err == io.EOF && b.size >= 0 && b.offset < b.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		if c := context.Cause(b.resp.Request.Context()); c != nil {
			err = c
		}
		err = fmt.Errorf("GET %s: after %d bytes: %w", b.f.at(b.rel), b.offset, err)
	}
	return n, err
}

func (b *body) Read(p []byte) (int, error) {
	for {
		if b.err != nil {
			return 0, b.err
		}
		var n int
		var err error
		if b.resp.Response == nil {
			if err := b.connect(); err != nil { // no further attempt is needed, because connect retries by itself
				b.err = err
				return 0, err
			}
		}
		n, err = b.read(p)
		if n > 0 {
			b.breaks.Moved(n)
		}
		if err == nil {
			if n > 0 || len(p) == 0 {
				return n, nil
			}
			continue
		}
		if err == io.EOF {
			b.err = io.EOF
			return n, b.err
		}
		b.close()
		b.err = b.breaks.Wait(b.ctx, err)
		if n > 0 {
			return n, nil
		}
	}
}

func (b *body) Close() error {
	b.close()
	return nil
}
