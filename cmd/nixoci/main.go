// Command nixoci turns the closure of a NixOS system into a reproducible,
// multi-platform OCI image and puts it in a registry.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gcPercent is how much garbage may stand beside what is in use, in percent.
// Nearly all of a push's memory are buffers that are used again and again, so
// that collecting more often costs nothing that can be measured (27 times
// instead of 9 in a push of 1.4 GB), and a zstd push needs 113 MB, not 140.
const gcPercent = 25

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once interrupted, a second signal kills: default handling comes back.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
