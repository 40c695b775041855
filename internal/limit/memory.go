package limit

import "runtime/debug"

// gcPercent limits the garbage to this percentage of the memory in use. Nearly all memory of
// a push is buffers that are used again and again. So frequent collections cost no measurable
// time: a push of 1.4 GB made 27 collections instead of 9. With gcPercent, a push with zstd
// needs 113 MB instead of 140 MB.
const gcPercent = 25

// heap is the soft memory limit of the garbage collector. The rest of Memory is for three
// things: the program itself, SQLite, and the growth of the heap while a collection runs on a
// busy machine. When this rest was only 50 MB, a build of NARs with large windows once needed
// 251 MB.
const heap = Memory - 75*1000*1000

// SetMemory configures the garbage collector for [Memory]. If the user sets GOGC or
// GOMEMLIMIT, that variable has priority. getenv is os.Getenv.
func SetMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heap)
	}
}
