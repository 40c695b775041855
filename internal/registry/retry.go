package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/retry"
)

// After maxSilence without any answer, the client gives up at once and sends no more requests.
// Without this rule, each later operation of the command would wait again. After a pause of
// maxPause without requests, the time starts again from zero.
const (
	maxSilence = 2 * time.Minute
	maxPause   = commitTimeout // longest time between two unanswered requests that belong to one silence
)

// retrier retries operations on one registry as [retry.Schedule] prescribes. If the registry asks one
// operation for a pause, all operations wait. If the registry does not answer one operation,
// retrier counts this time for all operations.
type retrier struct {
	schedule retry.Schedule
	counters *counters

	mu     sync.Mutex
	paused time.Time // no request is sent before this time
	silent time.Time // when the silence began; zero if the registry answers
	until  time.Time // when the last request without an answer ended
	heard  int64     // the number of answers at the last call of endSilence
}

const (
	errNoAnswer = retry.Silence("no answer from the registry")
	errStalled  = retry.Silence("the transfer from the registry is too slow")
	errTooSlow  = retry.Silence("the transfer to the registry is too slow")
)

// do calls f until f succeeds, f returns a final error, or the schedule allows no more attempts.
func (r *retrier) do(ctx context.Context, f func(ctx context.Context) error) error {
	tries := 0
	return r.schedule.Do(ctx, func(ctx context.Context) error {
		tries++
		if tries > 1 {
			r.counters.retries.Add(1)
		} else if r.silence() >= maxSilence {
			return retry.Never(errNoAnswer)
		}
		if err := r.awaitPause(ctx); err != nil {
			return err
		}
		err := f(ctx)
		if d := retry.After(err); d <= limit.Operation {
			r.pause(d)
		}
		r.record(err)
		if r.silence() >= maxSilence {
			return retry.Never(err)
		}
		return err
	})
}

// record records the result of an attempt for [retrier.silence].
func (r *retrier) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endSilence()
	switch {
	case errors.Is(err, errNoAnswer):
		r.until = time.Now()
		if r.silent.IsZero() {
			r.silent = r.until.Add(-answerTimeout)
		}
	case err != nil && !r.silent.IsZero():
		r.until = time.Now() // a closed connection is not an answer either
	}
}

// silence returns the time since the registry last answered any request. It returns 0 if the
// registry answers.
func (r *retrier) silence() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endSilence()
	if r.silent.IsZero() {
		return 0
	}
	return time.Since(r.silent)
}

// endSilence ends the silence if the registry has answered a request since the last call, or if
// nixoci has sent no request for a long time. The caller holds r.mu.
func (r *retrier) endSilence() {
	if n := r.counters.answers.Load(); n != r.heard || time.Since(r.until) > maxPause {
		r.heard, r.silent = n, time.Time{}
	}
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
