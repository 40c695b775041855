package nixbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/terminal"
)

// fakeNix and fakeNixStore replace the programs of Nix in tests of faults.
// e2e/eval_test.go runs the real programs. The fakes append their arguments to
// FAKE/log. They print the files that the test has written: FAKE/eval to stdout,
// FAKE/eval.err to stderr, and so on.
const fakeNix = `#!/bin/sh
for a; do printf '%s\n' "$a"; done >>"$FAKE/log"; echo -- >>"$FAKE/log"
what=
for a; do case $a in eval) what=eval ;; builtins.attrNames) what=names; break ;; show | show-config) what=config; break ;; metadata) what=metadata; break ;; esac; done
[ ! -e "$FAKE/$what.err" ] || cat "$FAKE/$what.err" >&2
[ ! -e "$FAKE/$what.sleep" ] || { trap 'echo interrupted >>"$FAKE/log"; exit 1' INT; : >"$FAKE/started"; while :; do sleep 0.05; done; }
[ ! -e "$FAKE/$what.changes" ] || { echo >>"$FAKE/times"; sed -i "s/sha256-[0-9]*A/sha256-$(wc -l <"$FAKE/times")A/" "$FAKE/$what"; }
[ ! -e "$FAKE/$what" ] || cat "$FAKE/$what"
exit "$(cat "$FAKE/$what.exit" 2>/dev/null || echo 0)"
`

const fakeNixStore = `#!/bin/sh
for a; do printf '%s\n' "$a"; done >>"$FAKE/log"; echo -- >>"$FAKE/log"
while [ "$1" != --add-root ]; do shift; done
link=$2 n=1
[ ! -e "$FAKE/build.err" ] || cat "$FAKE/build.err" >&2
if [ -e "$FAKE/build" ]; then
  while read -r target; do
    name=$link; [ $n = 1 ] || name=$link-$n
    ln -s "$target" "$name"; echo "$name"; n=$((n + 1))
  done <"$FAKE/build"
fi
exit "$(cat "$FAKE/build.exit" 2>/dev/null || echo 0)"
`

var shippedFlake = fstest.MapFS{
	"flake.nix":             {Data: []byte("{ }\n")},
	"flake.lock":            {Data: []byte("{\"version\": 7}\n")},
	"internal/guest/doc.go": {Data: []byte("package guest\n")},
}

// fakePrograms puts the fake programs first on the PATH, and returns the
// directory FAKE.
func fakePrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"nix": fakeNix, "nix-store": fakeNixStore} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("FAKE", dir)
	t.Setenv("TMPDIR", t.TempDir())
	return dir
}

const (
	drvA = "/nix/store/00000000000000000000000000000001-nixos-system-web-26.05.drv"
	drvB = "/nix/store/00000000000000000000000000000002-nixos-system-web-26.05.drv"
	outA = "/nix/store/0000000000000000000000000000000a-nixos-system-web-26.05"
	outB = "/nix/store/0000000000000000000000000000000b-nixos-system-web-26.05"
)

func drvJSON(system, buildSystem, path string) string {
	return fmt.Sprintf(`{"system":%q,"buildSystem":%q,"drvPath":%q}`, system, buildSystem, path)
}

func TestNixBuild(t *testing.T) {
	fake := fakePrograms(t)
	writeFile(t, filepath.Join(fake, "eval"), "["+drvJSON("x86_64-linux", "x86_64-linux", drvA)+","+drvJSON("aarch64-linux", "aarch64-linux", drvB)+"]")
	writeFile(t, filepath.Join(fake, "eval.err"), "evaluating\n")
	writeFile(t, filepath.Join(fake, "build"), outA+"\n/mnt"+outB+"\n")
	writeFile(t, filepath.Join(fake, "build.err"), "building\n")
	var progress bytes.Buffer
	n := &Nix{Flake: shippedFlake, Store: "/mnt", Nixpkgs: "/src/nixpkgs", Progress: &progress}
	systems := []string{"x86_64-linux", "aarch64-linux"}
	file := Argument{File: `/etc/a "b"/${c}.nix`}
	want := []Built{
		{System: "x86_64-linux", Path: outA, Argument: file, Derivation: drvA, Attribute: baseAttribute},
		{System: "aarch64-linux", Path: outB, Argument: file, Derivation: drvB, Attribute: baseAttribute},
	}
	got, err := n.Build(t.Context(), file, systems)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	if progress.String() != "evaluating\nbuilding\n" {
		t.Errorf("progress is %q", progress.String())
	}
	// A second build must not remove the links that protect the paths of the first.
	writeFile(t, filepath.Join(fake, "eval"), "["+drvJSON("x86_64-linux", "x86_64-linux", drvA)+"]")
	writeFile(t, filepath.Join(fake, "build"), outA+"\n")
	writeFile(t, filepath.Join(fake, "names"), `["db","web"]`)
	if _, err := n.Build(t.Context(), Argument{Flake: ".#web"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Build(t.Context(), Argument{}, systems[:1]); err != nil {
		t.Fatal(err)
	}
	dir := n.dir
	links, _ := filepath.Glob(filepath.Join(dir, "built-*"))
	if len(links) != 4 {
		t.Errorf("links to what was built: %q", links)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}

	runs := strings.Split(readFile(t, filepath.Join(fake, "log")), "--\n")
	shipped := "path:" + dir + "/source?narHash=sha256-%2B61k5Q2qEfzrOJC8FnuGcTTxPQ9fLLBTM8D8pxcSQp0%3D#nixosConfigurations.base"
	apply := func(systems, modules string) string {
		return `import ((builtins.fetchTree { type = "path"; path = "` + dir + `/source"; narHash = "sha256-+61k5Q2qEfzrOJC8FnuGcTTxPQ9fLLBTM8D8pxcSQp0="; }).outPath + "/nix/bake.nix") { systems = [ ` +
			systems + ` ]; modules = [ ` + modules + ` ]; }`
	}
	features := []string{"--extra-experimental-features", "nix-command flakes", "eval", "--json"}
	for i, args := range [][]string{
		slices.Concat(features, []string{"--impure", "--no-write-lock-file", "--override-input", "nixpkgs", "/src/nixpkgs",
			"--apply", apply(`"x86_64-linux" "aarch64-linux"`, `(/. + "/etc/a \"b\"/\${c}.nix")`), "--store", "/mnt", "", shipped}),
		{"--realise", "--log-format", "bar", "--add-root", dir + "/built-1", "--store", "/mnt", drvA, drvB},
		slices.Concat(features, []string{"--override-input", "nixpkgs", "/src/nixpkgs", "--apply", "builtins.attrNames", "--store", "/mnt", "", ".#nixosConfigurations"}),
		slices.Concat(features, []string{"--override-input", "nixpkgs", "/src/nixpkgs", "--apply", apply("", ""), "--store", "/mnt", "", ".#nixosConfigurations.web"}),
		{"--realise", "--log-format", "bar", "--add-root", dir + "/built-2", "--store", "/mnt", drvA},
		slices.Concat(features, []string{"--no-write-lock-file", "--override-input", "nixpkgs", "/src/nixpkgs", "--apply", apply(`"x86_64-linux"`, ""), "--store", "/mnt", "", shipped}),
		{"--realise", "--log-format", "bar", "--add-root", dir + "/built-3", "--store", "/mnt", drvA},
	} {
		// The log has a line -- after each run. nix eval also has an argument --,
		// which splits its run into two parts.
		got := runs[0]
		runs = runs[1:]
		if args[0] != "--realise" {
			got += "\n" + runs[0]
			runs = runs[1:]
		}
		if want := strings.Join(args, "\n") + "\n"; got != want {
			t.Errorf("run %d:\n%s\nwant:\n%s", i, got, want)
		}
	}
}

// TestNixBuildPackage checks that Build treats a name that is not a NixOS
// configuration as the name of a package, for each system. The evaluation determines
// the output and the program.
func TestNixBuildPackage(t *testing.T) {
	fake := fakePrograms(t)
	writeFile(t, filepath.Join(fake, "names"), `["web"]`)
	writeFile(t, filepath.Join(fake, "eval"), `[{"system":"x86_64-linux","buildSystem":"x86_64-linux","drvPath":"`+drvA+`","output":"bin","program":"curl"}]`)
	writeFile(t, filepath.Join(fake, "build"), outA+"\n")
	// Nix appends the name of the output to the name of the link.
	store := strings.Replace(fakeNixStore, "link=$2", "link=$2-bin", 1)
	writeFile(t, filepath.Join(fake, "nix-store"), store)
	n := &Nix{Flake: shippedFlake}
	defer n.Close()
	got, err := n.Build(t.Context(), Argument{Flake: "nixpkgs#curl"}, []string{"x86_64-linux"})
	want := []Built{{System: "x86_64-linux", Path: outA, Program: "curl", Argument: Argument{Flake: "nixpkgs#curl"}, Derivation: drvA, Attribute: "curl"}}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	log := readFile(t, filepath.Join(fake, "log"))
	for _, want := range []string{"\nnixpkgs#nixosConfigurations\n", "\nnixpkgs#curl\n", "--option\nsystem\nx86_64-linux\n", "\n" + drvA + "!bin\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}

	// A name that is neither a configuration nor a package fails, and the hint
	// lists the configurations.
	writeFile(t, filepath.Join(fake, "eval.exit"), "1")
	writeFile(t, filepath.Join(fake, "eval.err"), "error: flake 'x' does not provide attribute 'packages.x86_64-linux.wbe', 'legacyPackages.x86_64-linux.wbe' or 'wbe'\n")
	_, err = n.Build(t.Context(), Argument{Flake: ".#wbe"}, nil)
	hinttest.Error(t, err, nil, "does not provide attribute")
	hinttest.Hint(t, err, "NixOS configurations of the flake: web")
}

func TestNixBuildFaults(t *testing.T) {
	one := "[" + drvJSON("x86_64-linux", "x86_64-linux", drvA) + "]"
	arm := "[" + drvJSON("x86_64-linux", "x86_64-linux", drvA) + "," + drvJSON("aarch64-linux", "aarch64-linux", drvB) + "]"
	config := `{"builders":{"value":"ssh://b riscv64-linux"},"extra-platforms":{"value":["i686-linux"]},"system":{"value":"x86_64-linux"}}`
	for name, c := range map[string]struct {
		files      map[string]string
		systems    []string
		want, hint string
	}{
		"undefined variable": {
			files: map[string]string{"eval.exit": "1", "eval.err": "warning: x\nerror: undefined variable 'nope'\n\n       at /etc/web.nix:2:27:\n\n            1| {\n"},
			want:  "evaluate: nix eval: exit status 1: undefined variable 'nope' at /etc/web.nix:2:27",
		},
		"no network": {
			files: map[string]string{"eval.exit": "1", "eval.err": "error: unable to download 'https://api.github.com/repos/NixOS/nixpkgs/tarball/x': Couldn't resolve host name (6)\n"},
			want:  "evaluate: nix eval: exit status 1: unable to download",
			hint:  "name a system that is built already, such as ./result",
		},
		"no message":           {files: map[string]string{"eval.exit": "3"}, want: "evaluate: nix eval: exit status 3"},
		"no JSON":              {files: map[string]string{"eval": "warning"}, want: "read the output of nix eval"},
		"no derivation":        {files: map[string]string{"eval": "[]"}, want: "printed no derivation"},
		"not a derivation":     {files: map[string]string{"eval": "[" + drvJSON("x86_64-linux", "x86_64-linux", outA) + "]"}, want: "which is not the path of a derivation"},
		"for another":          {files: map[string]string{"eval": one}, systems: []string{"aarch64-linux"}, want: "for x86_64-linux, not for aarch64-linux", hint: ".#web"},
		"several outputs":      {files: map[string]string{"eval": one, "build": outA + "\n" + outB + "\n"}, want: "2 outputs of 1 derivations"},
		"outside of any store": {files: map[string]string{"eval": one, "build": "/home/x\n"}, want: "find the built store path"},
		"build fails": {
			files: map[string]string{"eval": one, "config": config, "build.exit": "100", "build.err": "error: builder for '/nix/store/x.drv' failed with exit code 7\nerror: 1 dependencies of derivation '/nix/store/y.drv' failed to build\n"},
			want:  "build: nix-store: exit status 100: builder for '/nix/store/x.drv' failed with exit code 7",
		},
		"no builder": {
			files: map[string]string{"eval": arm, "config": config, "build.exit": "1", "build.err": "error: a 'aarch64-linux' is required\n"},
			want:  "build: there is no builder for aarch64-linux, only for i686-linux, riscv64-linux, x86_64-linux: nix-store: exit status 1: a 'aarch64-linux' is required",
			hint:  "nixoci push --join",
		},
		"Nix cannot be asked": {
			files: map[string]string{"eval": arm, "config.exit": "1", "build.exit": "1"},
			want:  "build: nix-store: exit status 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := fakePrograms(t)
			for file, text := range c.files {
				writeFile(t, filepath.Join(fake, file), text)
			}
			n := &Nix{Flake: shippedFlake}
			defer n.Close()
			_, err := n.Build(t.Context(), Argument{Flake: ".#web"}, c.systems)
			hinttest.Error(t, err, nil, c.want)
			hinttest.Hint(t, err, c.hint)
			if h := hint.Of(err); c.hint == "" && h != "" {
				t.Errorf("hint %q", h)
			}
		})
	}
	t.Run("on a terminal", func(t *testing.T) {
		tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if runtime.GOOS != "linux" {
			t.Skip("only Linux calls the controlling side of a terminal a terminal")
		}
		if err != nil || !terminal.Is(tty) {
			t.Fatalf("no terminal: %v", err)
		}
		defer tty.Close()
		writeFile(t, filepath.Join(fakePrograms(t), "eval.exit"), "1")
		n := &Nix{Flake: shippedFlake, Progress: tty}
		defer n.Close()
		_, err = n.Build(t.Context(), Argument{Flake: ".#web"}, nil)
		hinttest.Error(t, err, nil, "evaluate: nix eval: exit status 1")
		hinttest.Hint(t, err, "the message of Nix is above. If it found no network: name a system that is built already")
	})
	t.Run("no Nix", func(t *testing.T) {
		fakePrograms(t)
		t.Setenv("PATH", t.TempDir())
		_, err := new(Nix).Build(t.Context(), Argument{Flake: ".#web"}, nil)
		hinttest.Error(t, err, ErrNoNix, "no nix on the PATH")
		hinttest.Hint(t, err, "--from https://cache.nixos.org")
	})
	t.Run("no nix-store", func(t *testing.T) {
		dir := fakePrograms(t)
		t.Setenv("PATH", dir)
		if err := os.Remove(filepath.Join(dir, "nix-store")); err != nil {
			t.Fatal(err)
		}
		_, err := new(Nix).Build(t.Context(), Argument{Flake: ".#web"}, nil)
		hinttest.Error(t, err, ErrNoNix, "nix-store")
	})
}

// TestNixInterrupted checks that nixoci interrupts Nix when the context is
// cancelled. On this signal, Nix stops its builders.
func TestNixInterrupted(t *testing.T) {
	fake := fakePrograms(t)
	writeFile(t, filepath.Join(fake, "eval.sleep"), "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for range 1000 {
			if _, err := os.Stat(filepath.Join(fake, "started")); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	n := &Nix{Flake: shippedFlake}
	defer n.Close()
	_, err := n.Build(ctx, Argument{Flake: ".#web"}, nil)
	hinttest.Error(t, err, context.Canceled, "evaluate")
	if !strings.Contains(readFile(t, filepath.Join(fake, "log")), "interrupted") {
		t.Error("nix was not interrupted")
	}
}

// TestWriteFlake compares the hash with the hash that `nix hash path` printed for the
// same files. Nix rejects references with a wrong hash.
func TestWriteFlake(t *testing.T) {
	const want = "sha256-+61k5Q2qEfzrOJC8FnuGcTTxPQ9fLLBTM8D8pxcSQp0="
	for _, name := range []string{"a", "b c"} {
		dir := filepath.Join(t.TempDir(), name)
		expression, reference, err := writeFlake(shippedFlake, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(expression, want) || !strings.HasPrefix(reference, "path:/") || strings.Contains(reference, " ") {
			t.Errorf("got %s, %s", expression, reference)
		}
		err = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st, err := os.Lstat(name)
			if err == nil && !st.ModTime().Equal(time.Unix(1, 0)) {
				t.Errorf("%s is of %v", name, st.ModTime())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if readFile(t, filepath.Join(dir, "flake.nix")) != "{ }\n" {
			t.Error("no flake at the top")
		}
	}
}

func TestInstallable(t *testing.T) {
	for flake, want := range map[string]string{
		".#web":                           ".#nixosConfigurations.web",
		".#nixosConfigurations.web":       ".#nixosConfigurations.web",
		`.#"web.example.org"`:             `.#nixosConfigurations."web.example.org"`,
		`.#nixosConfigurations."a.b"`:     `.#nixosConfigurations."a.b"`,
		".":                               ".#nixosConfigurations.default",
		"github:org/repo":                 "github:org/repo#nixosConfigurations.default",
		"github:org/repo/v1?dir=x#web":    "github:org/repo/v1?dir=x#nixosConfigurations.web",
		".#packages.x86_64-linux.web":     ".#packages.x86_64-linux.web",
		".#a.config.system.build.vm":      ".#a.config.system.build.vm",
		"git+ssh://git@example.org/r#web": "git+ssh://git@example.org/r#nixosConfigurations.web",
	} {
		if got, _ := installableOf(flake); got != want {
			t.Errorf("%s: got %s, want %s", flake, got, want)
		}
	}
}

// TestNixMessage checks nixMessage with real output of Nix 2.8.0, 2.26.3 and 2.34.8.
func TestNixMessage(t *testing.T) {
	for _, c := range []struct {
		said  string
		eval  bool
		want  string
		place string
	}{
		{"", true, "", ""},
		{"warning: Git tree '/x' is dirty\n", true, "", ""},
		{"\x1b[31;1merror:\x1b[0m undefined variable '\x1b[35;1mnope\x1b[0m'\n\n       at \x1b[35;1m/tmp/bad.nix:2:27\x1b[0m:\n\n            1| {\n            2|   enable = nope;\n             |            ^\n(use '--show-trace' to show detailed location information)\n",
			true, "undefined variable 'nope'", "/tmp/bad.nix:2:27"},
		{"error: The option `services.nginx.enbale' does not exist.\n(use '--show-trace' to show detailed location information)\n",
			true, "The option `services.nginx.enbale' does not exist.", ""},
		{"error:\n       … while calling the 'derivationStrict' builtin\n         at «nix-internal»/derivation-internal.nix:37:12:\n           36|\n           37|   strict = derivationStrict drvAttrs;\n             |            ^\n           38|\n\n" +
			"       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n\n" +
			"       error: syntax error, unexpected '}', expecting end of file\n       at /tmp/syn.nix:3:2:\n            2|   services.nginx.enable = true;\n            3| }}\n             |  ^\n            4|\n",
			true, "syntax error, unexpected '}', expecting end of file", "/tmp/syn.nix:3:2"},
		{"error: flake 'git+file:///uf' does not provide attribute 'nixosConfigurations.wbe'\n       Did you mean web?\n",
			true, "flake 'git+file:///uf' does not provide attribute 'nixosConfigurations.wbe' Did you mean web?", ""},
		{"error: builder for '/nix/store/x-b.drv' failed with exit code 7;\n       last 1 log lines:\n       > oh no\n       For full logs, run 'nix log /nix/store/x-b.drv'.\nerror: 1 dependencies of derivation '/nix/store/y.drv' failed to build\n",
			false, "builder for '/nix/store/x-b.drv' failed with exit code 7; last 1 log lines: > oh no", ""},
		{"error: Cannot build '/nix/store/x-nginx.conf.drv'.\n       Reason: platform mismatch\n       Required system: 'aarch64-linux'\n       Current system: 'x86_64-linux'\nerror: Cannot build '/nix/store/y.drv'.\n       Reason: 1 dependency failed.\n",
			false, "Cannot build '/nix/store/x-nginx.conf.drv'. Reason: platform mismatch Required system: 'aarch64-linux' Current system: 'x86_64-linux'", ""},
		{"error:\n       Failed assertions:\n       - The fileSystems option does not specify your root file system.\n", true,
			"Failed assertions: - The fileSystems option does not specify your root file system.", ""},
	} {
		want := c.want
		if c.place != "" {
			want += " at " + c.place
		}
		if got := nixMessage(c.said, c.eval); got != want {
			t.Errorf("%q:\n got %s\nwant %s", c.said, got, want)
		}
	}
	long := nixMessage("error: "+strings.Repeat("ü", 1000), true)
	if len(long) > maxNixMessage+len("…") || !strings.HasSuffix(long, "ü…") {
		t.Errorf("a long message is %d bytes: %s", len(long), long)
	}
}

func FuzzNixMessage(f *testing.F) {
	f.Add("error: a\n\n       at /x.nix:1:2:\n", true)
	f.Add("error:\n       … while\n         at /x:1:2:\n\n       error: b\n", false)
	f.Fuzz(func(t *testing.T, said string, last bool) {
		if got := nixMessage(said, last); strings.Contains(got, "\n") || len(got) > maxNixMessage+len("… at ")+len(said) {
			t.Errorf("%q", got)
		}
	})
}

func TestTail(t *testing.T) {
	var end tail
	var all strings.Builder
	for i := range 50_000 {
		line := fmt.Sprintf("line %d\n", i)
		end.Write([]byte(line))
		all.WriteString(line)
	}
	if got := end.String(); len(got) < tailSize || len(got) > 2*tailSize || !strings.HasSuffix(all.String(), got) {
		t.Errorf("kept %d bytes", len(got))
	}
}

func TestBuilderSystems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machines")
	writeFile(t, file, "# none\nssh://a aarch64-linux,armv7l-linux /key 4 1 kvm\n\nssh-ng://b - - 2 # all\n")
	for builders, want := range map[string][]string{
		"":                        nil,
		"@" + file:                {"aarch64-linux", "armv7l-linux", "own"},
		"@/nowhere":               nil,
		"ssh://x":                 {"own"},
		"ssh://x a-b ; ssh://y c": {"a-b", "c"},
		"ssh://x a-b\n@" + file:   {"a-b", "aarch64-linux", "armv7l-linux", "own"},
	} {
		if got := builderSystems(builders, "own"); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", builders, got, want)
		}
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
