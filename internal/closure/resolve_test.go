package closure

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	root := filepath.Join(dir, "chroot")
	link := func(target, name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	b := StorePath("/nix/store/11111111111111111111111111111111-b")
	link(rowA, "result")
	link("../result", "sub/nested")
	link("sub", "dirlink")
	link(dir+"/sub/nested", "absolute")
	link("loop", "loop")
	link("nowhere", "dangling")
	// A profile in a chroot: its links are absolute, and mean the chroot.
	link("/nix/var/nix/profiles/system-1-link", "chroot/nix/var/nix/profiles/system")
	link(string(b), "chroot/nix/var/nix/profiles/system-1-link")
	link("../../../../../../../nix/store/"+b.Base(), "chroot/nix/var/nix/gcroots/up")
	link("chroot/nix/var/nix/profiles/system", "into")
	link(root+"/nix/var/nix/profiles/system-1-link", "into-absolute")
	link("/home/x/result", "chroot/run/current")
	link("/nix/var/nix/profiles", "chroot/home/x")
	writeFile(t, "graph.json", "\n [ ]")
	writeFile(t, "x86_64-linux=graph", "{}")
	writeFile(t, "a#b", "{}")
	writeFile(t, "notes.txt", "hello")
	writeFile(t, "nothing", "")
	writeFile(t, "configuration.nix", "{ }")
	link("configuration.nix", "linked.nix")
	writeFile(t, "flakedir/flake.nix", "{ }")
	writeFile(t, "directory.nix/default.nix", "{ }")

	good := map[string]Target{
		rowA:                                  {Path: rowA},
		rowA + "/bin/x":                       {Path: rowA},
		rowA + "/":                            {Path: rowA},
		"./result":                            {Path: rowA},
		"result":                              {Path: rowA},
		"result/bin":                          {Path: rowA},
		dir + "/result":                       {Path: rowA},
		"sub/nested":                          {Path: rowA},
		"dirlink/nested":                      {Path: rowA},
		"absolute":                            {Path: rowA},
		"sub/../result":                       {Path: rowA},
		"x86_64-linux=./result":               {System: "x86_64-linux", Path: rowA},
		"aarch64-linux=" + rowA:               {System: "aarch64-linux", Path: rowA},
		"graph.json":                          {Graph: dir + "/graph.json"},
		"i686-linux=graph.json":               {System: "i686-linux", Graph: dir + "/graph.json"},
		"./x86_64-linux=graph":                {Graph: dir + "/x86_64-linux=graph"},
		"a#b":                                 {Graph: dir + "/a#b"},
		root + string(b):                      {Path: b},
		root + string(b) + "/init":            {Path: b},
		root + "/nix/var/nix/profiles/system": {Path: b},
		"chroot/nix/var/nix/profiles/system":  {Path: b},
		"chroot/nix/var/nix/gcroots/up":       {Path: b},
		"chroot/home/x/system":                {Path: b},
		"into":                                {Path: b},
		"into-absolute":                       {Path: b},
		"configuration.nix":                   {File: dir + "/configuration.nix"},
		"./sub/../configuration.nix":          {File: dir + "/configuration.nix"},
		"linked.nix":                          {File: dir + "/linked.nix"},
		"aarch64-linux=configuration.nix":     {System: "aarch64-linux", File: dir + "/configuration.nix"},
		".#nixosConfigurations.web":           {Flake: ".#nixosConfigurations.web"},
		"x86_64-linux=.#web":                  {System: "x86_64-linux", Flake: ".#web"},
		"flakes/a#web":                        {Flake: "flakes/a#web"},
		"github:NixOS/nixpkgs":                {Flake: "github:NixOS/nixpkgs"},
		"git+https://example.org/x?ref=y#z":   {Flake: "git+https://example.org/x?ref=y#z"},
	}
	for arg, want := range good {
		if got, err := Resolve(arg, root); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", arg, got, err, want)
		}
	}
	if got, err := Resolve("result", ""); err != nil || got.Path != rowA {
		t.Errorf("without a root: %v, %v", got, err)
	}
	bad := map[string]struct {
		is         error
		want, hint string
	}{
		"":                       {nil, "empty", ""},
		"x86_64-linux=":          {nil, "empty", ""},
		"vax-linux=./result":     {nil, `"vax-linux": unknown`, "x86_64-linux"},
		"x86_64-darwin=./result": {nil, ": unknown", ""},
		"/nix/store/abc-x":       {nil, "hash has 3 characters, not 32", ""},
		"/nix/store/" + strings.Repeat("e", 32) + "-x": {nil, "not base-32", ""},
		"/nix/store/" + strings.Repeat("0", 32) + "-ü": {nil, "forbidden character", ""},
		"/nix/store/" + strings.Repeat("0", 32):        {nil, "no - after the hash", ""},
		"missing":                                      {fs.ErrNotExist, "missing", "./result"},
		"dangling":                                     {fs.ErrNotExist, "nowhere", "./result"},
		"loop":                                         {nil, "too many symlinks", ""},
		".":                                            {nil, "not in a Nix store", "./result"},
		"flakedir":                                     {nil, "not in a Nix store", "flakedir#NAME"},
		"directory.nix":                                {nil, "not in a Nix store", "./result"},
		"missing.nix":                                  {fs.ErrNotExist, "missing.nix", "nginx.nix"},
		"notes.txt":                                    {nil, "not a graph file", "path-info"},
		"nothing":                                      {nil, "is empty", ""},
		"chroot/run/current":                           {fs.ErrNotExist, "result", ""},
	}
	for arg, want := range bad {
		_, err := Resolve(arg, root)
		wantError(t, err, want.is, want.want)
		wantHint(t, err, want.hint)
	}
}

func TestParseSystem(t *testing.T) {
	for system, want := range platforms {
		got, err := ParseSystem(system)
		if err != nil || got.Architecture != want.Architecture {
			t.Errorf("%s: %v, %v", system, got, err)
		}
		if back, ok := System(got); !ok || back != system {
			t.Errorf("%s comes back as %q", system, back)
		}
	}
	if s, _ := System(ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}); s != "aarch64-linux" {
		t.Errorf("arm64/v8 is %q", s)
	}
	if s, ok := System(ocispec.Platform{OS: "windows", Architecture: "amd64"}); ok {
		t.Errorf("Windows is %q", s)
	}
	_, err := ParseSystem("vax-linux")
	wantError(t, err, nil, "vax-linux")
	wantHint(t, err, "aarch64-linux, ")
}

func TestMulti(t *testing.T) {
	want := dump(t, sampleStore(t))
	top := sampleTop(t)
	f := newFakeCache(t, "zstd")
	// The cache lacks two paths, and the store all but one of those.
	var lack []StorePath
	cl, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cl.Paths {
		if n := p.Path.Name(); n == "a" || n == "text" {
			lack = append(lack, p.Path)
			delete(f.files, "/"+p.Path.Hash()+".narinfo")
		}
	}
	_, err = f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	wantError(t, err, ErrNotInStore, "")

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
