package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/retry"
)

// The one retry loop: nothing below it tries again but for credentials, and
// nothing above it.
const (
	maxAttempts = 6 // a timeout counts as two

	maxWait = limit.Operation // all delays of one operation

	// A registry that has said nothing to anybody for so long is not asked again:
	// the operations of a command follow each other, and each would wait for itself.
	// After a pause in which nobody asked, silence is counted anew.
	maxSilence = 2 * time.Minute
	maxPause   = commitTimeout // longer than this between two unanswered requests
)

// retrier tries operations on one registry again. A registry that says how
// long it wants to be left alone is left alone by all of them.
type retrier struct {
	counters *counters

	mu     sync.Mutex
	paused time.Time // no request before
	silent time.Time // since then no answer came; zero after one
	until  time.Time // the end of the last request without an answer
	heard  int64     // counters.answers before it
}

// permanent marks an error that no attempt will change.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// temporary marks an error that another attempt may change although its kind does
// not say so.
type temporary struct {
	error
	now bool // without delay
}

func (t temporary) Unwrap() error { return t.error }

// timeoutError is a silence that lasted too long.
type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

const (
	errNoAnswer = timeoutError("no answer from the registry")
	errStalled  = timeoutError("the transfer from the registry is too slow")
	errTooSlow  = timeoutError("the transfer to the registry is too slow")
)

// do calls f until it succeeds, fails for good, or has failed often enough.
func (r *retrier) do(ctx context.Context, f func(ctx context.Context) error) error {
	var waited time.Duration
	for attempts, tries := 0, 1; ; tries++ {
		if err := r.awaitPause(ctx); err != nil {
			return err
		}
		if tries == 1 && r.silence(nil) >= maxSilence {
			return errNoAnswer
		}
		err := f(ctx)
		if err == nil {
			return nil
		}
		silence := r.silence(err)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !retriable(err) {
			return err
		}
		attempts++
		if retry.Timeout(err) {
			attempts++ // it has cost the user's time already
		}
		delay := retry.Backoff(tries)
		if t, ok := errors.AsType[temporary](err); ok && t.now {
			delay = 0
		}
		if e, ok := errors.AsType[*ResponseError](err); ok && e.retryAfter > 0 {
			delay = e.retryAfter
			if waited+delay > maxWait {
				return fmt.Errorf("%w (the registry asks to wait %s)", err, delay.Round(time.Second))
			}
			r.pause(delay)
		}
		if attempts >= maxAttempts || waited+delay > maxWait || silence >= maxSilence {
			if tries > 1 {
				err = fmt.Errorf("%w (%d attempts)", err, tries)
			}
			return err
		}
		waited += delay
		r.counters.retries.Add(1)
		if err := retry.Sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// silence is for how long no request of anybody was answered, when an attempt has
// ended with err, or begins (nil).
func (r *retrier) silence(err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.counters.answers.Load(); n != r.heard || time.Since(r.until) > maxPause {
		r.heard, r.silent = n, time.Time{}
	}
	if errors.Is(err, errNoAnswer) {
		r.until = time.Now()
		if r.silent.IsZero() {
			r.silent = r.until.Add(-answerTimeout)
		}
	}
	if r.silent.IsZero() {
		return 0
	}
	return time.Since(r.silent)
}

func (r *retrier) pause(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := time.Now().Add(d); t.After(r.paused) {
		r.paused = t
	}
}

func (r *retrier) awaitPause(ctx context.Context) error {
	r.mu.Lock()
	d := time.Until(r.paused)
	r.mu.Unlock()
	return retry.Sleep(ctx, d)
}

// retriable reports whether another attempt may succeed.
func retriable(err error) bool {
	if _, ok := errors.AsType[permanent](err); ok {
		return false
	}
	if _, ok := errors.AsType[temporary](err); ok {
		return true
	}
	if s := status(err); s != 0 {
		if e, ok := errors.AsType[*ResponseError](err); ok && e.Code == "TOOMANYREQUESTS" {
			return true
		}
		return retry.Status(s)
	}
	return retry.Broken(err)
}
