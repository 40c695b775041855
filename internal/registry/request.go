package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

// request describes one small request. Its body, if any, is in memory.
type request struct {
	method string
	url    *url.URL
	header map[string]string
	body   []byte
	wait   time.Duration // time to wait for the response; 0 means answerTimeout
	accept []int         // expected status codes; any other code leads to a *ResponseError
}

// send sends q once. While the caller reads the body of the response, the transfer must not be
// slower than the least speed.
func (r *Repository) send(ctx context.Context, q request) (*http.Response, error) {
	release, err := oci.Acquire(ctx, r.limits.requests)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body) // net/http can send a bytes.Reader again
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), body)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	wait := q.wait
	if wait == 0 {
		wait = answerTimeout
	}
	timer := time.AfterFunc(wait, func() { cancel(errNoAnswer) })
	resp, err := r.client.Do(req)
	timer.Stop()
	if err != nil {
		err = r.transferError(ctx, redactError(err))
		cancel(nil)
		return nil, err
	}
	resp.Body = newStream(resp.Body, cancel, r.speed)
	for _, s := range q.accept {
		if resp.StatusCode == s {
			return resp, nil
		}
	}
	return nil, responseError(resp)
}

// transferError returns the error for a transfer that failed with err. If a time limit of this
// package ended ctx, it returns this reason. Otherwise it returns err.
func (r *Repository) transferError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause == errNoAnswer || cause == errStalled {
		return cause
	}
	if errors.Is(err, syscall.ECONNREFUSED) && r.auth.contacted() {
		return retry.Again(err) // the registry answered earlier, so it may be restarting
	}
	return err
}

// stream is the body of a response. It cancels the request if the body arrives too slowly.
type stream struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	timer  *time.Timer
	speed  limit.Speed
}

func newStream(rc io.ReadCloser, cancel context.CancelCauseFunc, speed limit.Speed) *stream {
	return &stream{rc, cancel, time.AfterFunc(stallTimeout, func() { cancel(errStalled) }), speed}
}

func (s *stream) Read(p []byte) (int, error) {
	s.timer.Reset(s.speed.Patience())
	start := time.Now()
	n, err := s.ReadCloser.Read(p)
	s.timer.Stop()
	s.speed.Moved(n, time.Since(start))
	return n, err
}

func (s *stream) Close() error {
	s.timer.Stop()
	err := s.ReadCloser.Close()
	s.cancel(nil)
	return err
}

// speed returns the least speed of a transfer.
func (o *Options) speed() limit.Speed {
	return limit.Speed{Least: cmp.Or(o.MinSpeed, limit.LeastSpeed)}
}
