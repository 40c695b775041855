package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
)

const (
	maxAttempts = 6               // attempts of one operation; a timeout counts as two
	maxDelay    = limit.Operation // sum of all delays of one operation
	maxBreaks   = 5               // breaks of one transfer in a row, with no byte between them
	maxSlow     = 2               // timeouts after which a transfer fails
)

// Schedule decides when operations are tried again. The zero value is the schedule that nixoci
// normally uses. Tests use shorter delays.
type Schedule struct {
	Delay func(failures int) time.Duration // returns the delay before the next attempt; nil means [Backoff]
}

func (s Schedule) delay(failures int) time.Duration {
	if s.Delay == nil {
		return Backoff(failures)
	}
	return s.Delay(failures)
}

// Wait waits for as long as the schedule prescribes after this number of failures. If ctx ends first,
// Wait returns the cause.
func (s Schedule) Wait(ctx context.Context, failures int) error {
	return Sleep(ctx, s.delay(failures))
}

// Do calls f until f succeeds, returns a final error, or has failed too often.
func (s Schedule) Do(ctx context.Context, f func(ctx context.Context) error) error {
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
			attempts++ // a timeout counts twice, because the user has waited for it already
		}
		delay, asked := s.delay(tries), After(err)
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

// Breaks counts how often a transfer broke since its last byte, and how often it timed out.
type Breaks struct {
	Schedule Schedule
	Enough   int64 // after this number of bytes, the transfer was fast enough

	inARow int
	slow   int   // timeouts since the transfer was fast enough
	moved  int64 // bytes since the last break
}

// Moved records that n bytes arrived. Any byte resets the number of breaks to zero. Only Enough
// bytes reset the number of timeouts, so that a peer cannot continue for ever with a few bytes
// before each silence.
func (b *Breaks) Moved(n int) {
	b.inARow = 0
	if b.moved += int64(n); b.moved >= max(1, b.Enough) {
		b.slow = 0
	}
}

// Wait waits before a broken transfer continues. It returns err if another attempt cannot help, if
// the transfer broke too often, or if the transfer timed out twice.
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
	return Sleep(ctx, max(b.Schedule.delay(b.inARow), min(After(err), maxDelay)))
}

// Never marks an error as final, which means that another attempt will not help.
func Never(err error) error { return final{err} }

// Again marks an error as temporary: another attempt may succeed, although the kind of the error
// does not show this. If [Never] marked an inner error, the error stays final.
func Again(err error) error { return passing{error: err} }

// AtOnce marks an error like [Again], and the next attempt follows without a delay.
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
