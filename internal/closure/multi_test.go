package closure

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
)

func TestParseSystem(t *testing.T) {
	for system, want := range platforms {
		got, err := ParseSystem(system)
		if err != nil || got.Architecture != want.Architecture {
			t.Errorf("%s: %v, %v", system, got, err)
		}
		if back, ok := NixSystem(got); !ok || back != system {
			t.Errorf("%s comes back as %q", system, back)
		}
	}
	if s, _ := NixSystem(ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}); s != "aarch64-linux" {
		t.Errorf("arm64/v8 is %q", s)
	}
	if s, ok := NixSystem(ocispec.Platform{OS: "windows", Architecture: "amd64"}); ok {
		t.Errorf("Windows is %q", s)
	}
	_, err := ParseSystem("vax-linux")
	hinttest.Error(t, err, nil, "vax-linux")
	hinttest.Hint(t, err, "aarch64-linux, ")
}

func TestMulti(t *testing.T) {
	want := dump(t, sampleStore(t))
	top := sampleTop(t)
	f := newFakeCache(t, "zstd")
	// The cache lacks two paths. The store contains only these two and one more.
	cl, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cl.Paths {
		if n := p.Path.Name(); n == "a" || n == "text" {
			f.remove("/" + p.Path.Hash() + ".narinfo")
		}
	}
	_, err = f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	hinttest.Error(t, err, ErrNotInStore, "")

	root := sampleRoot(t)
	execSQL(t, filepath.Join(root, "nix/var/nix/db/db.sqlite"), "pragma foreign_keys = off",
		"delete from ValidPaths where path not like '%-a' and path not like '%-text' and path not like '%-tree'").Close()
	local, err := OpenLocal(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, sources := range map[string][]Source{
		"cache first": {f.open(t, CacheOptions{}), local},
		"store first": {local, f.open(t, CacheOptions{})},
	} {
		m, err := Multi(sources...)
		if err != nil {
			t.Fatal(err)
		}
		f.requests = nil
		if got := dump(t, m); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		if n := f.count("/nar/"); n != map[string]int{"cache first": 5, "store first": 4}[name] {
			t.Errorf("%s: %d NARs were fetched", name, n)
		}
		cl, err := m.Closure(t.Context(), []StorePath{top})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := ReadFile(t.Context(), m, cl.Info(top), "system", 100); err != nil || string(b) != "x86_64-linux" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if _, err := m.Closure(t.Context(), []StorePath{rowA}); !errors.Is(err, ErrNotInStore) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	root := sampleRoot(t)
	for _, from := range [][]string{{root}, {"testdata/cache/xz"}, {root, "testdata/cache/xz"}, {"http://127.0.0.1:1", root}} {
		src, err := Open(from, CacheOptions{})
		if err != nil {
			t.Errorf("%q: %v", from, err)
			continue
		}
		_, multi := src.(*MultiSource)
		if multi != (len(from) > 1) {
			t.Errorf("%q: %T", from, src)
		}
	}
	for from, want := range map[string]string{
		"ssh://host":      "scheme",
		"file://host/dir": "three slashes",
		"testdata":        "no Nix database",
	} {
		_, err := Open([]string{from}, CacheOptions{})
		if err == nil || !strings.Contains(err.Error()+hintOf(err), want) {
			t.Errorf("%q: %v", from, err)
		}
	}
	if got := LocalRoot([]string{"https://x", "testdata/cache/xz", root}); got != root {
		t.Errorf("root %q", got)
	}
	if got := LocalRoot(nil); got != "/" {
		t.Errorf("root %q", got)
	}
}
