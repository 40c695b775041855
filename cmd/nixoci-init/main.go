//go:build linux

// Command nixoci-init runs first in a NixOS container, as PID 1. Its other commands run
// in the booted system:
//
//	nixoci-init [KERNEL-ARGUMENT…]  as PID 1: prepare the container, become the system's init
//	nixoci-init apply               build and switch to the configuration in /config
//	nixoci-init watch               apply again whenever /config changes, if NIXOCI_WATCH=1
//	nixoci-init health              answer the image's health check
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/nixoci/nixoci/internal/guest"
)

// Settings that the main thread makes in the kernel survive the exec of the system's
// init. Settings that another thread makes do not.
func init() { runtime.LockOSThread() }

func main() {
	err := run(os.Args)
	var exit *guest.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		if exit.Err != nil {
			// Standard output: everything else that the container logs goes there too.
			fmt.Println("nixoci:", exit.Err)
		}
		os.Exit(exit.Code)
	default:
		fmt.Fprintln(os.Stderr, "nixoci-init:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	// Do not decide by args[0]: a binfmt interpreter may pass another one.
	if guest.IsConsole() {
		return guest.ServeConsole()
	}
	// PID 1 receives kernel arguments. Do not read them as a command, whatever they are called.
	if os.Getpid() == 1 || len(args) < 2 {
		return guest.Boot(args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch args[1] {
	case "apply":
		return guest.Apply(ctx)
	case "watch":
		return guest.Watch(ctx)
	case "health":
		return guest.Health(ctx, os.Stdout)
	}
	return fmt.Errorf("unknown command %q: apply, watch or health", args[1])
}
