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

// Backoff returns the delay after the n-th failure. Each delay is twice as long as the delay
// before. Half of each delay is random, so that clients that failed together do not retry together.
func Backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n-1, 16), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

// Sleep waits for d. If ctx ends first, Sleep returns the cause.
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

// ServerError is an error that a server sent as its answer.
type ServerError interface {
	error
	MayPass() bool             // reports whether the same request may succeed later
	RetryAfter() time.Duration // returns the delay that the server asks for, or 0 if it asks for none
}

// Silence is the error for a connection on which nothing, or too little, moved for too long.
type Silence string

func (e Silence) Error() string { return string(e) }

// Timeout makes Silence a [net.Error] that the function [Timeout] recognizes.
func (Silence) Timeout() bool { return true }

// Temporary is a method of [net.Error].
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

// After returns the delay that the server asks for in err. If there is none, After returns 0.
func After(err error) time.Duration {
	if a, ok := errors.AsType[ServerError](err); ok {
		return a.RetryAfter()
	}
	return 0
}

// AfterHeader parses the header Retry-After, which contains seconds or a date. If the header is
// missing, AfterHeader returns 0.
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

// StatusMayPass reports whether the same request may succeed later, after an answer with this
// status.
func StatusMayPass(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Timeout reports whether err is a timeout.
func Timeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// broken reports whether err means that the connection broke, or was silent for too long. The
// request itself may be correct.
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
	// net/http has no error values for these failures.
	for _, s := range []string{"server closed idle connection", "http2: ", "connection broken", "stream error"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}
