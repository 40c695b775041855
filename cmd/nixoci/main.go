// Command nixoci turns the closure of a NixOS system into a reproducible,
// multi-platform OCI image and puts it in a registry.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/task"
	"github.com/nixoci/nixoci/internal/terminal"
)

func main() {
	limit.SetMemory(os.Getenv)
	task.OnPanic = func(value any, stack []byte) {
		os.Exit(crashed(terminal.New(os.Stderr), value, stack))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once interrupted, a second signal kills: default handling comes back.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
