package nixbuild

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint/hinttest"
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
	b := closure.StorePath("/nix/store/11111111111111111111111111111111-b")
	link(outA, "result")
	link("../result", "sub/nested")
	link("sub", "dirlink")
	link(dir+"/sub/nested", "absolute")
	link("loop", "loop")
	link("nowhere", "dangling")
	// A profile in a chroot consists of absolute symlinks. Resolve must follow them
	// inside the chroot.
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

	good := map[string]Argument{
		outA:                                  {Path: outA},
		outA + "/bin/x":                       {Path: outA},
		outA + "/":                            {Path: outA},
		"./result":                            {Path: outA},
		"result":                              {Path: outA},
		"result/bin":                          {Path: outA},
		dir + "/result":                       {Path: outA},
		"sub/nested":                          {Path: outA},
		"dirlink/nested":                      {Path: outA},
		"absolute":                            {Path: outA},
		"sub/../result":                       {Path: outA},
		"x86_64-linux=./result":               {System: "x86_64-linux", Path: outA},
		"aarch64-linux=" + outA:               {System: "aarch64-linux", Path: outA},
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
	if got, err := Resolve("result", ""); err != nil || got.Path != outA {
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
		hinttest.Error(t, err, want.is, want.want)
		hinttest.Hint(t, err, want.hint)
	}
}
