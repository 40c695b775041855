package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName    = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	testPackage = regexp.MustCompile(`(?:cmd|internal|e2e)(?:/[a-z]+)*`)
)

// TestPromises checks that every promise in docs/security.md names a test, and that
// the named test exists in the named package.
func TestPromises(t *testing.T) {
	text := string(mustRead(t, "../../docs/security.md"))
	_, table, found := strings.Cut(text, "| promise | checked by |\n|---|---|\n")
	if !found {
		t.Fatal("docs/security.md has no table of promises")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if len(rows) < 20 {
		t.Errorf("%d promises", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 2 {
			t.Errorf("not two cells: %s", row)
			continue
		}
		// A cell has the form: "`TestA`, `TestB` in internal/x, `TestC` in internal/y and
		// internal/z"
		rest, tests := cells[1], 0
		for rest != "" {
			part, after, _ := strings.Cut(rest, " in ")
			where, next := after, ""
			if i := strings.Index(after, "`"); i >= 0 {
				where, next = after[:i], after[i:]
			}
			packages := testPackage.FindAllString(where, -1)
			names := testName.FindAllStringSubmatch(part, -1)
			if len(packages) == 0 || len(names) == 0 {
				t.Errorf("names no test, or no package: %s", row)
				break
			}
			for _, name := range names {
				for _, dir := range packages {
					tests++
					if !declares(t, filepath.Join("../..", dir), name[1]) {
						t.Errorf("%s has no %s: %s", dir, name[1], row)
					}
				}
			}
			rest = next
		}
		if tests == 0 {
			t.Errorf("no test: %s", row)
		}
	}
}

// declares reports whether a package has a test of this name.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T) {") {
			return true
		}
	}
	return false
}
