package oci

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

const (
	// defaultTransfers is how many layers are packed and sent at the same time. Two are
	// enough to keep the processors busy with packing. More help if the network is slower
	// than packing.
	defaultTransfers = 4
)

// Transfers returns how many layers may be packed and sent at the same time. This is n, or a
// value for this machine if n is 0.
func Transfers(n int) int {
	if n > 0 {
		return n
	}
	return max(defaultTransfers, runtime.GOMAXPROCS(0))
}

// Acquire takes one slot of s. The first call of release gives the slot back. Further calls
// do nothing.
func Acquire(ctx context.Context, s *semaphore.Weighted) (release func(), err error) {
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
