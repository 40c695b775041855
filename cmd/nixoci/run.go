package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/terminal"
)

// docs/reference.md documents these exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitMismatch    = 3
	exitCrash       = 70 // the same as EX_SOFTWARE in sysexits.h
	exitInterrupted = 130
)

// usageError describes a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// mismatchError means that an image or layer does not have the content that it states.
type mismatchError struct{ error }

func (e mismatchError) Unwrap() error { return e.error }

// run is the main function of the program, without signals and os.Exit.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	a := &app{stdin: stdin, stdout: terminal.New(stdout), stderr: terminal.New(stderr)}
	defer func() {
		if v := recover(); v != nil {
			code = crashed(a.stderr, v, debug.Stack())
		}
	}()
	root := a.rootCommand()
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		a.completeFlags(root)
	}
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
	a.sayRepeats()
	return a.finish(ctx, err)
}

// crashed reports a panic and asks the user to report the bug.
func crashed(stderr *terminal.Printer, value any, stack []byte) int {
	for line := range strings.Lines(string(stack)) {
		stderr.Printf("    %s\n", strings.TrimRight(strings.ReplaceAll(line, "\t", "  "), "\n"))
	}
	stderr.Printf("nixoci: crashed: %v\n", value)
	stderr.Printf("hint: this is a bug in nixoci; please report it with the lines above: https://github.com/nixoci/nixoci/issues\n")
	return exitCrash
}

// finish prints err as one line, and its hint, and returns the exit code.
func (a *app) finish(ctx context.Context, err error) int {
	var usage usageError
	var mismatch mismatchError
	switch {
	case err == nil && ctx.Err() == nil:
		return exitOK
	case ctx.Err() != nil && !errors.As(err, &mismatch) && !a.done:
		a.stderr.Printf("%s interrupted\n", a.paint(red, "nixoci:"))
		if kept := a.progress.kept(); kept != "" {
			a.stderr.Printf("%s %s\n", a.paint(cyan, "hint:"), kept)
		}
		return exitInterrupted
	case err == nil: // the interrupt came after the command had finished its work
		return exitOK
	}
	a.stderr.Printf("%s %s\n", a.paint(red, "nixoci:"), err)
	if h := hint.Of(err); h != "" {
		for line := range strings.Lines(h) {
			a.stderr.Printf("%s %s\n", a.paint(cyan, "hint:"), strings.TrimRight(line, "\n"))
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
