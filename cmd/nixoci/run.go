package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// Exit codes, as documented in the README.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitMismatch    = 3
	exitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// mismatchError says that something is not what it claims to be.
type mismatchError struct{ error }

func (e mismatchError) Unwrap() error { return e.error }

// run is the program: all but signals and exiting.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if a.nix != nil {
		if e := a.nix.Close(); err == nil {
			err = e
		}
	}
	return a.finish(ctx, err)
}

// finish prints err, one line and its hint, and says with which code to exit.
func (a *app) finish(ctx context.Context, err error) int {
	var usage usageError
	var mismatch mismatchError
	switch {
	case err == nil && ctx.Err() == nil:
		return exitOK
	case ctx.Err() != nil && !errors.As(err, &mismatch) && !a.done:
		fmt.Fprintln(a.stderr, a.paint(red, "nixoci:"), "interrupted")
		return exitInterrupted
	case err == nil: // interrupted after the result was there
		return exitOK
	}
	fmt.Fprintln(a.stderr, a.paint(red, "nixoci:"), strings.TrimRight(err.Error(), "\n"))
	if h := hint.Of(err); h != "" {
		for line := range strings.Lines(h) {
			fmt.Fprintln(a.stderr, a.paint(cyan, "hint:"), strings.TrimRight(line, "\n"))
		}
	}
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &mismatch):
		return exitMismatch
	}
	return exitFailed
}
