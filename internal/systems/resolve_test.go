package systems

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// writeGraph writes a graph file with a path for each name. No path refers to another.
func writeGraph(t *testing.T, names ...string) string {
	t.Helper()
	var all []string
	for _, n := range names {
		all = append(all, fmt.Sprintf(`{"path": %q, "narHash": "sha256:%064d", "narSize": 120, "references": []}`, storePath(n), 0))
	}
	file := filepath.Join(t.TempDir(), "graph.json")
	must(t, os.WriteFile(file, []byte("["+strings.Join(all, ",")+"]"), 0o644))
	return file
}

// TestResolveGraphFiles checks a graph file without a store. Resolve must refuse a graph with two
// roots, and ResolveGraphs must accept it.
func TestResolveGraphFiles(t *testing.T) {
	r := &Resolver{Programs: map[closure.StorePath]string{storePath("hello-1"): "hi"}}
	one, two := writeGraph(t, "hello-1"), writeGraph(t, "hello-1", "other-1")
	got, err := r.Resolve(t.Context(), []string{"x86_64-linux=" + one})
	must(t, err)
	if len(got) != 1 || got[0].Toplevel != storePath("hello-1") || got[0].System != "x86_64-linux" || got[0].Program != "hi" || len(got[0].Closure.Paths) != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := r.Resolve(t.Context(), []string{two}); err == nil || !strings.Contains(err.Error(), "2 paths that no other path refers to") {
		t.Errorf("two roots: %v", err)
	}
	if got, err = r.ResolveGraphs(t.Context(), []string{one, two}); err != nil || len(got) != 2 || got[0].Toplevel == "" || got[1].Toplevel != "" || len(got[1].Closure.Paths) != 2 {
		t.Errorf("graphs: %+v, %v", got, err)
	}
	if r.source != nil {
		t.Error("the store was opened, but a graph file needs none")
	}
	r.From = []string{t.TempDir()}
	if _, err := r.Resolve(t.Context(), []string{one}); err == nil {
		t.Error("a wrong --from beside a graph file is accepted")
	}
}

// TestSystemsOf checks for which systems Nix builds an argument.
func TestSystemsOf(t *testing.T) {
	two := []ocispec.Platform{platformOf("amd64"), platformOf("arm64")}
	for _, test := range []struct {
		target    nixbuild.Argument
		platforms []ocispec.Platform
		want      []string
	}{
		{nixbuild.Argument{Flake: ".#web", System: "riscv64-linux"}, two, []string{"riscv64-linux"}},
		{nixbuild.Argument{Flake: ".#web"}, two, []string{"x86_64-linux", "aarch64-linux"}},
		{nixbuild.Argument{Flake: ".#web"}, nil, nil},
	} {
		got, err := (&Resolver{Platforms: test.platforms}).systemsOf(test.target)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
	}
	if got, err := new(Resolver).systemsOf(nixbuild.Argument{File: "/etc/nginx.nix"}); err != nil || len(got) != 1 {
		t.Errorf("a file without a platform: %v, %v", got, err)
	}
	_, err := (&Resolver{Platforms: []ocispec.Platform{{OS: "windows", Architecture: "amd64"}}}).systemsOf(nixbuild.Argument{})
	if _, ok := errors.AsType[*NoSystemError](err); !ok || !strings.Contains(err.Error(), "windows/amd64") {
		t.Errorf("windows: %v", err)
	}
}

// TestResultLinks checks that only links to NixOS systems count.
func TestResultLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"system", "package", "result-dir"} {
		must(t, os.Mkdir(dir, 0o755))
	}
	for _, dir := range []string{"system", "result-dir"} {
		must(t, os.WriteFile(dir+"/nixos-version", nil, 0o644))
	}
	if got, err := ResultLinks(); err != nil || len(got) != 0 {
		t.Errorf("without links: %v, %v", got, err)
	}
	for link, to := range map[string]string{"result": "system", "result-2": "system", "result-1": "package", "result-3": "missing"} {
		must(t, os.Symlink(to, link))
	}
	if got, err := ResultLinks(); err != nil || !slices.Equal(got, []string{"./result", "./result-2"}) {
		t.Errorf("%v, %v", got, err)
	}
}
