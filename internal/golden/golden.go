// Package golden compares the output of a test with a golden file.
package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Check compares got with the file testdata/name. With the test flag -update, it first writes
// got to this file.
func Check(t testing.TB, name string, got []byte) {
	t.Helper()
	CheckFile(t, filepath.Join("testdata", filepath.FromSlash(name)), got)
}

// CheckFile works like [Check], for a file in any directory.
func CheckFile(t testing.TB, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -run '^%s$' -update writes it). got:\n%s\nwant:\n%s", file, t.Name(), got, want)
	}
}

// CheckPart works like [CheckFile], for the part of a file between two marks, such as a table in a
// page of the documentation.
func CheckPart(t testing.TB, file, begin, end, got string) {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s does not contain both marks: %s%s", file, begin, end)
	}
	CheckFile(t, file, []byte(before+begin+got+end+after))
}
