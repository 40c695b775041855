package limit

import (
	"context"

	"golang.org/x/sync/semaphore"
)

var windows = semaphore.NewWeighted(Windows)

// AcquireWindow waits until another window of n bytes fits into the limit [Windows]. n must
// not be larger than Windows. The caller must call release exactly once, and must not acquire
// another window before it has called release.
func AcquireWindow(ctx context.Context, n int64) (release func(), err error) {
	if err := windows.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { windows.Release(n) }, nil
}
