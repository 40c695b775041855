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

// Backoff returns the delay after the n-th failure. Each delay is twice the one
// before. Half of it is random, so that clients which failed together do not retry
// together.
func Backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n-1, 16), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

// Sleep waits for d. If ctx ends first, it returns the cause.
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

// ServerError is an error answer of a server.
type ServerError interface {
	error
	MayPass() bool             // reports whether the same request may succeed later
	RetryAfter() time.Duration // delay that the server asks for; 0 if it does not ask
}

// Silence is the error for a server that sent nothing for too long.
type Silence string

func (e Silence) Error() string { return string(e) }

// Timeout makes Silence a [net.Error], which [Timeout] recognizes.
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

// After returns the delay that the server asks for, or 0.
func After(err error) time.Duration {
	if a, ok := errors.AsType[ServerError](err); ok {
		return a.RetryAfter()
	}
	return 0
}

// AfterHeader parses Retry-After, which contains seconds or a date. Without this
// header it returns 0.
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

// StatusMayPass reports whether a request that was answered with this status may succeed
// later.
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

// broken reports whether err is about the connection, which broke or was silent for
// too long. Such an error says nothing about the request itself.
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
	// net/http has no error values for these.
	for _, s := range []string{"server closed idle connection", "http2: ", "connection broken", "stream error"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}
