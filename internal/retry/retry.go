package retry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const (
	firstDelay = 300 * time.Millisecond
	maxDelay   = 10 * time.Second
)

// Backoff is the delay after the n-th failure: doubled each time, and of that
// half to all, so that those who failed together do not come back together.
func Backoff(n int) time.Duration {
	d := min(firstDelay<<min(n-1, 16), maxDelay)
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

// Status reports whether the same request may succeed after an answer with this
// status.
func Status(status int) bool {
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

// Broken reports whether err says that a connection broke, or was silent for too
// long, and nothing of what was asked.
func Broken(err error) bool {
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
