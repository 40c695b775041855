// Package task starts goroutines and catches their panics. Otherwise Go would end the
// program with exit code 2, which nixoci uses for wrong usage.
package task

import (
	"context"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// OnPanic is called after a panic in any goroutine that this package guards, and must not
// return. If it is nil, as in tests, panics are not caught. main sets it before anything
// else runs.
var OnPanic func(value any, stack []byte)

// Guard catches a panic. A goroutine must defer it first.
func Guard() {
	if OnPanic == nil {
		return
	}
	if v := recover(); v != nil {
		OnPanic(v, debug.Stack())
	}
}

// Go runs f in a goroutine under a Guard.
func Go(f func()) {
	go func() {
		defer Guard()
		f()
	}()
}

// Guarded returns f under a Guard, for functions that start goroutines themselves.
func Guarded(f func()) func() {
	return func() {
		defer Guard()
		f()
	}
}

// Group is an errgroup.Group whose functions run under a Guard.
type Group struct{ *errgroup.Group }

// WithContext is like errgroup.WithContext.
func WithContext(ctx context.Context) (*Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	return &Group{g}, ctx
}

// Go runs f like errgroup.Group does.
func (g *Group) Go(f func() error) {
	g.Group.Go(func() error {
		defer Guard()
		return f()
	})
}
