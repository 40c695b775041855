// Package task starts goroutines and catches their panics. Without it, Go would
// end the program with exit code 2, which nixoci uses for wrong usage.
package task

import (
	"context"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// OnPanic is told of a panic in any goroutine that this package guards, and does
// not return. Without it a panic goes its way, as it should in tests. main sets
// it before anything else runs.
var OnPanic func(value any, stack []byte)

// Guard is to be deferred first in a goroutine.
func Guard() {
	if OnPanic == nil {
		return
	}
	if v := recover(); v != nil {
		OnPanic(v, debug.Stack())
	}
}

// Go runs f in a goroutine.
func Go(f func()) {
	go func() {
		defer Guard()
		f()
	}()
}

// Guarded is f under a Guard, for what starts goroutines itself.
func Guarded(f func()) func() {
	return func() {
		defer Guard()
		f()
	}
}

// Group is an errgroup.Group under a Guard.
type Group struct{ *errgroup.Group }

// WithContext is errgroup.WithContext.
func WithContext(ctx context.Context) (*Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	return &Group{g}, ctx
}

// Go runs f as errgroup.Group does.
func (g *Group) Go(f func() error) {
	g.Group.Go(func() error {
		defer Guard()
		return f()
	})
}
