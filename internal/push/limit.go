package push

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

const (
	// defaultRequests bounds small requests in flight: 100 HEADs are then four
	// round trips.
	defaultRequests = 32

	// defaultTransfers is how many layers are packed and sent at once. Packing
	// keeps the cores busy from two on; the rest is for a network that is slower
	// than they are.
	defaultTransfers = 4

	// sessionsAhead is how many more layers may wait for the registry (an upload
	// session to be opened, a blob to be committed) while others are sent, so
	// that a round trip costs no time: 100 layers of three round trips each are
	// seven times three.
	sessionsAhead = 12
)

// limits bounds a whole push, whatever number of platforms it has.
type limits struct {
	requests  *semaphore.Weighted
	sessions  *semaphore.Weighted
	transfers *semaphore.Weighted
}

func newLimits(transfers int) *limits {
	if transfers <= 0 {
		transfers = max(defaultTransfers, runtime.GOMAXPROCS(0))
	}
	return &limits{
		requests:  semaphore.NewWeighted(defaultRequests),
		sessions:  semaphore.NewWeighted(int64(transfers + sessionsAhead)),
		transfers: semaphore.NewWeighted(int64(transfers)),
	}
}

// acquire takes one slot of s and returns what gives it back; calling that
// again does nothing.
func acquire(ctx context.Context, s *semaphore.Weighted) (release func(), err error) {
	if err := s.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	held := true
	return func() {
		if held {
			held = false
			s.Release(1)
		}
	}, nil
}
