// Package cputime makes a benchmark report the processor time of one operation.
//
// Other processes on the machine change wall time a lot, but they hardly change user and
// system time. So two commits can be compared even on a busy machine.
package cputime

import (
	"syscall"
	"testing"
	"time"
)

// Report starts to count. The returned function reports the metric "cpu-ns/op":
// nanoseconds of processor time for each iteration, of all threads of the process.
// Call Report just before the loop:
//
//	defer cputime.Report(b)()
//	for b.Loop() { … }
func Report(b *testing.B) func() {
	begin := used(b)
	return func() {
		b.ReportMetric(float64(used(b)-begin)/float64(b.N), "cpu-ns/op")
	}
}

// used returns the processor time that this process has used, from getrusage(2).
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal("getrusage:", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
