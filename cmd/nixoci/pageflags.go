package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/page"
)

// pageFlags holds the flags of commands that write an HTML page.
type pageFlags struct {
	file string
	open bool
}

func (f *pageFlags) add(fl *pflag.FlagSet, about string) {
	fl.StringVar(&f.file, "html", "", "write a page about "+about+" to this file")
	fl.BoolVar(&f.open, "open", false, "open the page in a browser; without --html, the page is a temporary file")
}

// write makes and writes the page if --html or --open is set, and prints the name of the
// file.
func (f *pageFlags) write(ctx context.Context, a *app, make func() (*page.Page, error)) error {
	if f.file == "" && !f.open {
		return nil
	}
	p, err := make()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return err
	}
	// The file that --html names is written in place, without a temporary file and a rename,
	// because it may be a pipe.
	file := f.file
	if file == "" {
		if file, err = temporaryPage(b.Bytes()); err != nil {
			return err
		}
	} else if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if !a.quiet {
		a.stderr.Printf("wrote %s (%s)\n", file, human.Bytes(int64(b.Len())))
	}
	if f.open {
		return openInBrowser(ctx, file)
	}
	return nil
}

func temporaryPage(data []byte) (string, error) {
	tmp, err := os.CreateTemp("", "nixoci-*.html")
	if err != nil {
		return "", fmt.Errorf("write page: %w", err)
	}
	_, err = tmp.Write(data)
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", fmt.Errorf("write page: %w", err)
	}
	return tmp.Name(), nil
}

// openInBrowser opens a file in the user's browser. It runs the program of the operating
// system for this task. Libraries for this task do the same.
func openInBrowser(ctx context.Context, file string) error {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("open page: %w", err)
	}
	if out, err := exec.CommandContext(ctx, program, file).CombinedOutput(); err != nil {
		err = fmt.Errorf("open %s with %s: %w: %s", file, program, err, bytes.TrimSpace(out))
		return hint.Add(err, "the page is written: open that file in a browser yourself")
	}
	return nil
}
