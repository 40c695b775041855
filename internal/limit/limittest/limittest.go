// Package limittest helps to test functions that read input with a limit.
package limittest

import (
	"strings"
	"testing"
)

// Around calls read(n) with n one below the limit, at the limit and one above it. Only the
// last call must fail, with an error that contains text.
func Around(t testing.TB, limit int, text string, read func(n int) error) {
	t.Helper()
	for _, n := range []int{limit - 1, limit, limit + 1} {
		switch err := read(n); {
		case n <= limit && err != nil:
			t.Errorf("%d, the limit is %d: %v", n, limit, err)
		case n > limit && (err == nil || !strings.Contains(err.Error(), text)):
			t.Errorf("%d, the limit is %d: %v, want %q", n, limit, err, text)
		}
	}
}
