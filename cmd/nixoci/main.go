// Command nixoci turns the closure of a NixOS system into a reproducible,
// multi-platform OCI image and puts it in a registry.
//
// main.go handles signals, run.go exit codes and errors. root.go builds the tree of commands. Each
// command has one file with two functions: pushCommand declares the flags of push, and push does
// the work with the parsed flags. Flags that several commands share are structs with a method add.
// Commands print through package terminal only.
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
	// The first signal cancels ctx and restores default handling, so that a second
	// signal ends the program at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
