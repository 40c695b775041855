package main

import (
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// TestHistoryFlag checks the largest value of --history.
func TestHistoryFlag(t *testing.T) {
	limittest.Around(t, limit.History, "--history", func(n int) error {
		f := planFlags{from: []string{planAuto}, history: n}
		return f.checkHistory()
	})
}
