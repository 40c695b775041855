package retry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	firstBackoff = 300 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// Backoff is the delay after the n-th failure. Each is twice the one before. Half
// of it is random, so that clients which failed together do not come back together.
func Backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n-1, 16), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

// Sleep waits for d, or until ctx ends: then it returns why.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ServerError is an error that a server answered.
type ServerError interface {
	error
	MayPass() bool             // whether the same request may succeed later
	RetryAfter() time.Duration // how long the server wants to be left alone; 0: it did not say
}

// Silence is the error of a server that said nothing for too long.
type Silence string

func (e Silence) Error() string { return string(e) }

// Timeout makes a Silence a [net.Error] that [Timeout] finds.
func (Silence) Timeout() bool { return true }

// Temporary belongs to [net.Error].
func (Silence) Temporary() bool { return true }

// MayPass reports whether the same request may succeed after it failed with err.
func MayPass(err error) bool {
	if IsFinal(err) {
		return false
	}
	if _, ok := errors.AsType[passing](err); ok {
		return true
	}
	if a, ok := errors.AsType[ServerError](err); ok {
		return a.MayPass()
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return d.IsTemporary && !d.IsNotFound
	}
	return broken(err)
}

// After is how long the server asks to be left alone; 0 where it asks nothing.
func After(err error) time.Duration {
	if a, ok := errors.AsType[ServerError](err); ok {
		return a.RetryAfter()
	}
	return 0
}

// AfterHeader reads Retry-After: seconds or a date. Without one it is 0.
func AfterHeader(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(max(s, 0)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// StatusMayPass reports whether the same request may succeed after an answer with this
// status.
func StatusMayPass(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Timeout reports whether err says that somebody was silent for too long.
func Timeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// broken reports whether err says that a connection broke, or was silent for too
// long, and nothing of what was asked.
func broken(err error) bool {
	if Timeout(err) {
		return true
	}
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	// net/http has no values for these.
	for _, s := range []string{"server closed idle connection", "http2: ", "connection broken", "stream error"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}
