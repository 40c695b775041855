package limit

import (
	"context"

	"golang.org/x/sync/semaphore"
)

var windows = semaphore.NewWeighted(Windows)

// AcquireWindow waits until another window of n bytes, at most [Windows], fits
// into memory. Release gives the memory back; it must be called once. Whoever
// holds a window must not wait for another.
func AcquireWindow(ctx context.Context, n int64) (release func(), err error) {
	if err := windows.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { windows.Release(n) }, nil
}
