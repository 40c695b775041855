package limit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTable checks that the table contains every limit, and that docs/security.md
// contains the table.
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

// apart lists the limits that are not simple sizes or counts. For each it names the test that
// checks the limit.
var apart = map[string]string{
	"Memory":       "TestMemory",     // limit of the whole program
	"Paths":        "TestMeter",      // tests a closure at the limit and a closure just above it
	"References":   "TestMeter",      // the same test as for Paths
	"PathText":     "TestMeter",      // the same test as for Paths
	"Windows":      "TestWindows",    // at the limit, further input waits; there is no error
	"GraphFile":    "TestGraphValue", // checks that a file above the limit is not read
	"GraphPath":    "TestGraphValue", // the JSON parser reads an unknown number of bytes in advance
	"HelperTime":   "TestHelperTime",
	"Answer":       "TestCacheTime",
	"Operation":    "TestCacheTime",
	"LeastSpeed":   "TestSlowIsNotHanging",
	"LeastSpeedIn": "TestCacheTime",
}

// TestEveryLimitIsTested checks that each limit has a test with input at, below and above the
// limit. The test must be in the package that reads the input.
func TestEveryLimitIsTested(t *testing.T) {
	around, mentioned := limitsInTests(t)
	for _, r := range Table() {
		test, ok := apart[r.Name]
		delete(apart, r.Name)
		switch {
		case ok && !mentioned[test+" "+r.Name]:
			t.Errorf("no %s that says limit.%s", test, r.Name)
		case !ok && !around[r.Name]:
			t.Errorf("no test has limittest.Around(t, limit.%s, …), nor limit.%[1]s-1 and limit.%[1]s+1", r.Name)
		}
	}
	for name := range apart {
		t.Errorf("%s is no limit", name)
	}
}

// limitsInTests searches all tests. The keys of around are the limits for which a test uses
// input below and above the limit. The keys of mentioned have the form "TestX Limit", for
// each limit that TestX names.
func limitsInTests(t *testing.T) (around, mentioned map[string]bool) {
	t.Helper()
	around, mentioned = map[string]bool{}, map[string]bool{}
	for _, root := range []string{"..", "../../cmd"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok {
					limitsInTest(fn, around, mentioned)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return around, mentioned
}

func limitsInTest(fn *ast.FuncDecl, around, mentioned map[string]bool) {
	below, above := map[string]bool{}, map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if name := limitOf(n); name != "" {
				mentioned[fn.Name.Name+" "+name] = true
			}
		case *ast.BinaryExpr:
			if one, ok := n.Y.(*ast.BasicLit); ok && one.Value == "1" {
				below[limitOf(n.X)] = below[limitOf(n.X)] || n.Op == token.SUB
				above[limitOf(n.X)] = above[limitOf(n.X)] || n.Op == token.ADD
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Around" {
				around[limitOf(n.Args[1])] = true
			}
		}
		return true
	})
	for name := range below {
		around[name] = around[name] || below[name] && above[name]
	}
}

// limitOf returns X for the expression limit.X, and "" for any other expression.
func limitOf(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "limit" {
			return s.Sel.Name
		}
	}
	return ""
}

// TestReadNamed checks that ReadNamed accepts pipes, and limits the size of files and pipes.
func TestReadNamed(t *testing.T) {
	dir := t.TempDir()
	for n, ok := range map[int]bool{9: true, 10: true, 11: false} {
		file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, fmt.Sprint("fifo", n))
		if err := os.WriteFile(file, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		go os.WriteFile(fifo, make([]byte, n), 0o600) // the write blocks until the pipe is read
		for _, name := range []string{file, fifo} {
			data, err := ReadNamed(name, 10)
			if (err == nil) != ok || ok && len(data) != n {
				t.Errorf("%s, %d bytes: %d, %v", name, n, len(data), err)
			}
		}
	}
	for _, name := range []string{"/dev/zero", dir} {
		if _, err := ReadNamed(name, 10); !errors.Is(err, ErrSpecial) {
			t.Errorf("%s: %v", name, err)
		}
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
