package limit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every limit is in the table, and the table is in the documentation.
func TestTable(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "limit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	var text strings.Builder
	for _, r := range Table() {
		listed[r.Name] = true
		fmt.Fprintf(&text, "| %s | %s |\n", r.What, r.Value)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].IsExported() {
			if !listed[v.Names[0].Name] {
				t.Errorf("%s is not in the table", v.Names[0])
			}
			delete(listed, v.Names[0].Name)
		}
		return true
	})
	for name := range listed {
		t.Errorf("%s is in the table, and no limit", name)
	}
	docs, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), text.String()) {
		t.Errorf("docs/security.md does not have this table:\n%s", &text)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	for n, ok := range map[int]bool{0: true, 9: true, 10: true, 11: false} {
		if err := os.WriteFile(name, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		data, err := ReadFile(name, 10)
		if (err == nil) != ok || ok && len(data) != n {
			t.Errorf("%d bytes: %d, %v", n, len(data), err)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, special := range []string{fifo, link, "/dev/zero", dir} {
		if _, err := ReadFile(special, 10); !errors.Is(err, ErrSpecial) {
			t.Errorf("%s: %v", special, err)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "none"), 10); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestSpeed(t *testing.T) {
	s := Speed{Least: 10}
	if p := s.Patience(); p != LeastSpeedIn {
		t.Error(p)
	}
	s.Moved(1, LeastSpeedIn/2)
	if p := s.Patience(); p != LeastSpeedIn/2 {
		t.Error(p)
	}
	s.Moved(1, LeastSpeedIn/2)
	if p := s.Patience(); p > 0 {
		t.Errorf("two bytes are enough: %s", p)
	}
	s = Speed{Least: 10}
	s.Moved(10*int(LeastSpeedIn/time.Second), LeastSpeedIn)
	if p := s.Patience(); p != LeastSpeedIn {
		t.Errorf("after enough bytes: %s", p)
	}
}
