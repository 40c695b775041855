// Package task starts goroutines and catches their panics. Without this package, a panic
// would end the program with exit code 2, which nixoci uses for wrong usage. [Once] is for
// results that several goroutines share.
package task

import (
	"context"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
)

// OnPanic is called after a panic in any goroutine that this package guards, and must not
// return. If OnPanic is nil, as in tests, panics are not caught. The function main sets
// OnPanic before anything else runs.
var OnPanic func(value any, stack []byte)

// Guard catches a panic. A goroutine must defer Guard before anything else.
func Guard() {
	if OnPanic == nil {
		return
	}
	if v := recover(); v != nil {
		OnPanic(v, debug.Stack())
	}
}

// Go runs f in a new goroutine, protected by Guard.
func Go(f func()) {
	go func() {
		defer Guard()
		f()
	}()
}

// Guarded returns a function that runs f, protected by Guard. Use it for functions of other
// packages that start goroutines.
func Guarded(f func()) func() {
	return func() {
		defer Guard()
		f()
	}
}

// Group is an errgroup.Group that runs its functions protected by Guard.
type Group struct{ *errgroup.Group }

// WithContext makes a Group in the same way as errgroup.WithContext.
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

// Once returns a function that calls f the first time, with the context of that call.
// Later calls return the same result.
func Once[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var do sync.Once
	var value T
	var err error
	return func(ctx context.Context) (T, error) {
		do.Do(func() { value, err = f(ctx) })
		return value, err
	}
}
