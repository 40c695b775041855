// Package hinttest helps tests to compare errors and their hints with expected text.
package hinttest

import (
	"errors"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/hint"
)

// Error fails t unless err contains text and has one line. If the argument named is is not
// nil, err must also wrap that error.
func Error(t testing.TB, err error, is error, text string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %v with %q", err, is, text)
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
}

// Hint fails t unless the hint of err contains text.
func Hint(t testing.TB, err error, text string) {
	t.Helper()
	if h := hint.Of(err); !strings.Contains(h, text) {
		t.Errorf("hint %q of %v, want %q", h, err, text)
	}
}
