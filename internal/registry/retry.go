package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/retry"
)

// A registry that has said nothing to anybody for so long is not asked again:
// the operations of a command follow each other, and each would wait for itself.
// After a pause in which nobody asked, silence is counted anew.
const (
	maxSilence = 2 * time.Minute
	maxPause   = commitTimeout // longer than this between two unanswered requests
)

// retrier tries operations on one registry again, as [retry.Policy] says. What one
// operation learns holds for all of them: a registry that asks to be left alone, or
// that answers nobody.
type retrier struct {
	policy   retry.Policy
	counters *counters

	mu     sync.Mutex
	paused time.Time // no request before
	silent time.Time // since then no answer came; zero after one
	until  time.Time // the end of the last request without an answer
	heard  int64     // counters.answers before it
}

const (
	errNoAnswer = retry.Silence("no answer from the registry")
	errStalled  = retry.Silence("the transfer from the registry is too slow")
	errTooSlow  = retry.Silence("the transfer to the registry is too slow")
)

// do calls f until it succeeds, fails for good, or has failed often enough.
func (r *retrier) do(ctx context.Context, f func(ctx context.Context) error) error {
	tries := 0
	return r.policy.Do(ctx, func(ctx context.Context) error {
		tries++
		if tries > 1 {
			r.counters.retries.Add(1)
		} else if r.silence(nil) >= maxSilence {
			return retry.Never(errNoAnswer)
		}
		if err := r.awaitPause(ctx); err != nil {
			return err
		}
		err := f(ctx)
		if d := retry.After(err); d <= limit.Operation {
			r.pause(d)
		}
		if r.silence(err) >= maxSilence {
			return retry.Never(err)
		}
		return err
	})
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
