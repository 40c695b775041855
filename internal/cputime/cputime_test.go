package cputime

import (
	"crypto/sha256"
	"flag"
	"testing"
)

// TestReport checks that a busy benchmark reports more processor time than one that
// does almost nothing.
func TestReport(t *testing.T) {
	defer flag.Set("test.benchtime", flag.Lookup("test.benchtime").Value.String())
	flag.Set("test.benchtime", "100x") // by default, each benchmark would run for a second
	data := make([]byte, 1<<20)
	busy := testing.Benchmark(func(b *testing.B) {
		defer Report(b)()
		for b.Loop() {
			sha256.Sum256(data)
		}
	})
	idle := testing.Benchmark(func(b *testing.B) {
		defer Report(b)()
		for b.Loop() {
		}
	})
	if busy, idle := busy.Extra["cpu-ns/op"], idle.Extra["cpu-ns/op"]; busy < 1000 || idle > busy/10 {
		t.Errorf("sha256 of 1 MiB took %.0f ns of processor time, and an empty loop %.0f", busy, idle)
	}
}
