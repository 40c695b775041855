// Package limittest tests what reads input that has a limit.
package limittest

import (
	"strings"
	"testing"
)

// Around calls read with a little less than a limit, with the limit itself, and
// with one more. Only the last must fail, with an error that has text.
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
