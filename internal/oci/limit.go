package oci

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

const (
	// defaultTransfers is how many layers are packed and sent at once. Packing
	// keeps the cores busy from two on; the rest is for a network that is slower
	// than they are.
	defaultTransfers = 4
)

// Transfers is how many layers may be packed and sent at once: n, or what
// suits this machine where n is 0.
func Transfers(n int) int {
	if n > 0 {
		return n
	}
	return max(defaultTransfers, runtime.GOMAXPROCS(0))
}

// Acquire takes one slot of s and returns what gives it back; calling that
// again does nothing.
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
