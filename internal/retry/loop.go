package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
)

const (
	maxAttempts = 6               // of one operation; a silence counts as two
	maxDelay    = limit.Operation // all delays of one operation
	maxBreaks   = 5               // of one transfer, in a row, before a byte came
	maxSlow     = 2               // silences after which a transfer fails
)

// Policy is how operations are tried again. The zero value is what nixoci does;
// tests wait less.
type Policy struct {
	Delay func(failures int) time.Duration // before the next attempt; nil: [Backoff]
}

func (p Policy) delay(failures int) time.Duration {
	if p.Delay == nil {
		return Backoff(failures)
	}
	return p.Delay(failures)
}

// Do calls f until it succeeds, fails for good, or has failed often enough.
func (p Policy) Do(ctx context.Context, f func(ctx context.Context) error) error {
	var waited time.Duration
	for attempts, tries := 0, 1; ; tries++ {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !MayPass(err) {
			return err
		}
		attempts++
		if Timeout(err) {
			attempts++ // it has cost the user's time already
		}
		delay, asked := p.delay(tries), After(err)
		switch {
		case asked > 0 && waited+asked > maxDelay:
			return fmt.Errorf("%w (the server asks to wait %s)", err, asked.Round(time.Second))
		case asked > 0:
			delay = asked
		case isAtOnce(err):
			delay = 0
		}
		if attempts >= maxAttempts || waited+delay > maxDelay {
			if tries > 1 {
				err = fmt.Errorf("%w (%d attempts)", err, tries)
			}
			return err
		}
		waited += delay
		if err := Sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// Breaks counts how often a transfer broke since its last byte, and how often it was
// too slow.
type Breaks struct {
	Policy Policy
	Enough int64 // bytes after which the transfer was not too slow

	inARow int
	slow   int   // silences since the transfer was fast enough
	moved  int64 // bytes since the last break
}

// Moved records that n bytes arrived. A few bytes end a row of breaks, but a peer
// that sends a few bytes before each silence stays too slow.
func (b *Breaks) Moved(n int) {
	b.inARow = 0
	if b.moved += int64(n); b.moved >= max(1, b.Enough) {
		b.slow = 0
	}
}

// Wait waits before a transfer that broke with err continues. It returns err if no
// attempt will help, if the transfer broke too often, or if it was too slow twice.
func (b *Breaks) Wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.moved = 0
	if Timeout(err) {
		b.slow++
	}
	if !MayPass(err) || b.inARow == maxBreaks || b.slow == maxSlow {
		return err
	}
	b.inARow++
	return Sleep(ctx, max(b.Policy.delay(b.inARow), min(After(err), maxDelay)))
}

// Never marks an error that no attempt will change.
func Never(err error) error { return final{err} }

// Again marks an error that another attempt may change, although its kind does not
// say so. An error inside that [Never] marked stays final.
func Again(err error) error { return passing{error: err} }

// AtOnce is [Again] without a delay.
func AtOnce(err error) error { return passing{error: err, atOnce: true} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }

type passing struct {
	error
	atOnce bool
}

func (p passing) Unwrap() error { return p.error }

// IsFinal reports whether [Never] marked err.
func IsFinal(err error) bool {
	_, ok := errors.AsType[final](err)
	return ok
}

func isAtOnce(err error) bool {
	p, ok := errors.AsType[passing](err)
	return ok && p.atOnce
}
