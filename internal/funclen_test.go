package internal

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A function within these limits can be read without scrolling.
const (
	maxFuncLines = 70
	maxFuncDepth = 4 // nested blocks, without the body of the function itself
)

// inOnePiece starts a comment line that explains why a function is longer or deeper than
// allowed.
const inOnePiece = "In one piece: "

// TestFunctionsAreShort checks that functions are not too long or too deeply nested. A
// comment with the reason allows an exception.
func TestFunctionsAreShort(t *testing.T) {
	checked := 0
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			checked++
			lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
			depth := depthOf(f.Body)
			long := lines > maxFuncLines || depth > maxFuncDepth
			switch reason := saysWhy(f); {
			case long && !reason:
				t.Errorf("%s: %s has %d lines and is nested %d deep, more than %d lines or %d deep: divide it, or say why not in a line of its comment that starts with %q",
					fset.Position(f.Pos()), nameOf(f), lines, depth, maxFuncLines, maxFuncDepth, inOnePiece)
			case !long && reason:
				t.Errorf("%s: %s needs no excuse: it has %d lines and is nested %d deep", fset.Position(f.Pos()), nameOf(f), lines, depth)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 1500 {
		t.Errorf("only %d functions were looked at", checked)
	}
}

// nameOf returns the name of a function, as "function" or "Type.method".
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	recv := f.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	if generic, ok := recv.(*ast.IndexExpr); ok {
		recv = generic.X
	}
	return fmt.Sprintf("%s.%s", recv, f.Name.Name)
}

func saysWhy(f *ast.FuncDecl) bool {
	if f.Doc == nil {
		return false
	}
	for _, line := range strings.Split(f.Doc.Text(), "\n") {
		if why, ok := strings.CutPrefix(line, inOnePiece); ok && len(why) > 20 {
			return true
		}
	}
	return false
}

// depthOf returns how deeply statements with blocks, and function literals, are nested in n.
// An "else if" is as deep as its if.
func depthOf(n ast.Node) (deepest int) {
	var walk func(n ast.Node, depth int)
	walk = func(n ast.Node, depth int) {
		ast.Inspect(n, func(m ast.Node) bool {
			if m == n {
				return true
			}
			switch m := m.(type) {
			case *ast.IfStmt:
				deepest = max(deepest, depth+1)
				for _, part := range []ast.Node{m.Init, m.Cond, m.Body} {
					if part != nil && part != ast.Stmt(nil) {
						walk(part, depth+1)
					}
				}
				switch e := m.Else.(type) {
				case *ast.IfStmt:
					walk(&ast.BlockStmt{List: []ast.Stmt{e}}, depth)
				case *ast.BlockStmt:
					walk(e, depth+1)
				}
				return false
			case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt, *ast.FuncLit:
				deepest = max(deepest, depth+1)
				walk(m, depth+1)
				return false
			}
			return true
		})
	}
	walk(n, 0)
	return deepest
}

func TestDepthOf(t *testing.T) {
	for code, want := range map[string]int{
		``:                                     0,
		`x()`:                                  0,
		`if x { y() }`:                         1,
		`if x {} else if y {} else { z() }`:    1,
		`if x { if y {} }`:                     2,
		`if x {} else { for { if y {} } }`:     3,
		`for { switch { case x: if y {} } }`:   3,
		`go func() { select { case <-c: } }()`: 2,
		`if f(func() { for {} }) {}`:           3,
		`if x {} else if y { for {} }`:         2,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() {\n"+code+"\n}", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := depthOf(file.Decls[0].(*ast.FuncDecl).Body); got != want {
			t.Errorf("%s: depth %d, want %d", code, got, want)
		}
	}
}
