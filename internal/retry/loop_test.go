package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// answered is an error that a server sent as its answer.
type answered struct {
	mayPass bool
	after   time.Duration
}

func (answered) Error() string               { return "answered" }
func (a answered) MayPass() bool             { return a.mayPass }
func (a answered) RetryAfter() time.Duration { return a.after }

func TestDo(t *testing.T) {
	busy := answered{mayPass: true}
	for _, test := range []struct {
		name     string
		err      error
		attempts int
		atLeast  time.Duration
		atMost   time.Duration
		want     string
	}{
		{name: "an answer that is final", err: answered{}, attempts: 1, want: "answered"},
		{name: "an answer that may pass", err: busy, attempts: 6, atLeast: 4 * time.Second, atMost: 15 * time.Second, want: "answered (6 attempts)"},
		{name: "a broken connection", err: io.ErrUnexpectedEOF, attempts: 6, atLeast: 4 * time.Second, atMost: 15 * time.Second, want: "unexpected EOF (6 attempts)"},
		{name: "silence counts as two", err: Silence("silent"), attempts: 3, atMost: time.Second, want: "silent (3 attempts)"},
		{name: "at once", err: AtOnce(errors.New("moved")), attempts: 6, want: "moved (6 attempts)"},
		{name: "never wins, wherever it stands", err: Again(fmt.Errorf("open: %w", Never(busy))), attempts: 1, want: "open: answered"},
		{name: "Retry-After is waited for", err: answered{true, 20 * time.Second}, attempts: 6, atLeast: 100 * time.Second, atMost: 100 * time.Second, want: "answered (6 attempts)"},
		{name: "Retry-After is too long", err: answered{true, time.Hour}, attempts: 1, want: "answered (the server asks to wait 1h0m0s)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, attempts := time.Now(), 0
				err := Schedule{}.Do(t.Context(), func(context.Context) error {
					attempts++
					return test.err
				})
				if err == nil || err.Error() != test.want || !errors.Is(err, test.err) {
					t.Errorf("error %v, want %s", err, test.want)
				}
				if took := time.Since(start); attempts != test.attempts || took < test.atLeast || took > test.atMost {
					t.Errorf("%d attempts in %s, want %d in %s to %s", attempts, took, test.attempts, test.atLeast, test.atMost)
				}
			})
		})
	}
}

func TestDoSucceedsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		err := Schedule{}.Do(t.Context(), func(context.Context) error {
			if attempts++; attempts < 3 {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
		if err != nil || attempts != 3 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
	})
}

func TestDoEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := Schedule{}.Do(ctx, func(context.Context) error {
			cancel(why)
			return io.ErrUnexpectedEOF
		})
		if !errors.Is(err, why) {
			t.Errorf("error %v, want %v", err, why)
		}
	})
}

func TestBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Breaks{Enough: 1000}
		for range 2 { // one byte must reset the number of breaks
			for range maxBreaks {
				if err := b.Wait(t.Context(), io.ErrUnexpectedEOF); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Wait(t.Context(), io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v after %d breaks", err, maxBreaks)
			}
			b.Moved(1)
		}
		if err := b.Wait(t.Context(), Never(io.ErrUnexpectedEOF)); err == nil {
			t.Error("an error that is final was waited for")
		}
	})
}

// TestSlowBreaks checks that a transfer fails after two timeouts, unless enough bytes arrive
// between them.
func TestSlowBreaks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		moved []int // bytes after each silence
		fails int   // number of the silence that ends the transfer; 0 if none ends it
	}{
		{"nothing arrives", []int{0, 0, 0}, 2},
		{"too few bytes", []int{999, 999, 999}, 2},
		{"enough bytes at once", []int{1000, 1000, 1000}, 0},
		{"enough bytes, then too few", []int{1000, 999, 999}, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := Breaks{Enough: 1000}
			failed := 0
			for i, n := range tt.moved {
				if err := b.Wait(t.Context(), Silence("slow")); err != nil {
					failed = i + 1
					break
				}
				for range n {
					b.Moved(1)
				}
			}
			if failed != tt.fails {
				t.Errorf("%s: silence %d ended the transfer, want %d", tt.name, failed, tt.fails)
			}
		})
	}
}
