package retry

import (
	"context"
	"math/rand/v2"
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
