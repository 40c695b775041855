package limit

import "runtime/debug"

// gcPercent is how much garbage may stand beside what is in use, in percent.
// Nearly all of a push's memory are buffers that are used again and again, so
// that collecting more often costs nothing that can be measured (27 times
// instead of 9 in a push of 1.4 GB), and a zstd push needs 113 MB, not 140.
const gcPercent = 25

// heap is what the garbage collector keeps the heap below as long as what is in
// use allows that. It leaves room for the program itself and for SQLite, and for
// what the heap grows to before a collection on a busy machine has ended: with 50
// MB for all three, a build of NARs with large windows was seen to need 251 MB.
const heap = Memory - 75*1000*1000

// SetMemory sets the garbage collector to [Memory]. GOGC and GOMEMLIMIT, where
// they are set, win: getenv is os.Getenv.
func SetMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heap)
	}
}
