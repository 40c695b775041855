package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/golden"
)

// TestReference checks that docs/reference.md matches the commands and their flags.
func TestReference(t *testing.T) {
	const file = "../../docs/reference.md"
	var got bytes.Buffer
	if code := run(t.Context(), []string{"docs", "reference"}, nil, &got, os.Stderr); code != exitOK {
		t.Fatalf("docs reference: exit code %d", code)
	}
	golden.CheckFile(t, file, got.Bytes())
}

// TestManPages checks that each command has a man page. No page may contain a date, because
// packages must be reproducible.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code := run(t.Context(), []string{"docs", "man", dir}, nil, os.Stdout, os.Stderr); code != exitOK {
		t.Fatalf("docs man: exit code %d", code)
	}
	for _, name := range []string{"nixoci.1", "nixoci-push.1", "nixoci-verify.1"} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(page), ".SH SYNOPSIS") {
			t.Errorf("%s is not a man page:\n%.200s", name, page)
		}
		if header, _, _ := strings.Cut(string(page), ".SH"); !strings.Contains(header, `"1" ""`) {
			t.Errorf("%s has a date: %q", name, header)
		}
	}
}
