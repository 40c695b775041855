package nixbuild

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/limit"
)

const unzipMeta = `[{"paths":["` + outA + `"],"name":"unzip","description":"Extraction utility","homepages":["http://www.info-zip.org"],
	"licenses":[{"spdxId":"Info-ZIP","fullName":"Info-ZIP License","url":null}],"maintainers":[{"name":"Tristan Ross","email":null}],"cpe":null,
	"patches":["CVE-2014-8139.diff","CVE-2014-8139-2.diff","28-cve-2022-0529-and-cve-2022-0530.patch","dont-hardcode-cc.patch"]}]`

func TestParseMeta(t *testing.T) {
	all, err := parseMeta([]byte(unzipMeta))
	if err != nil {
		t.Fatal(err)
	}
	want := &Meta{Name: "unzip", Description: "Extraction utility", Homepages: []string{"http://www.info-zip.org"},
		Licenses: []License{{SPDX: "Info-ZIP", FullName: "Info-ZIP License"}}, Maintainers: []Maintainer{{Name: "Tristan Ross"}},
		Patches: []string{"CVE-2014-8139.diff", "CVE-2014-8139-2.diff", "28-cve-2022-0529-and-cve-2022-0530.patch", "dont-hardcode-cc.patch"}}
	if got := all[outA]; len(all) != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	fixes := []Fix{{"CVE-2014-8139", "CVE-2014-8139.diff"}, {"CVE-2022-0529", want.Patches[2]}, {"CVE-2022-0530", want.Patches[2]}}
	if got := want.Fixes(); !reflect.DeepEqual(got, fixes) {
		t.Errorf("fixes %v", got)
	}
	// A wrapper without licences must not replace the package that it wraps.
	both := `[{"paths":["` + outA + `"],"licenses":[{"spdxId":"MIT"}]},{"paths":["` + outA + `"],"name":"wrapper"}]`
	if all, err = parseMeta([]byte(both)); err != nil || all[outA].Name != "" {
		t.Errorf("%+v, %v", all[outA], err)
	}
	for data, want := range map[string]string{`{}`: "read what nix eval prints", `[{"paths":["/etc/passwd"]}]`: "read what nix eval prints"} {
		if _, err := parseMeta([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", data, err)
		}
	}
	for size, ok := range map[int]bool{limit.FlakeMeta - 1: true, limit.FlakeMeta: true, limit.FlakeMeta + 1: false} {
		if _, err := parseMeta([]byte("[]" + strings.Repeat(" ", size-2))); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// FuzzParseMeta checks that parseMeta reads or refuses every input, and that each
// fix contains the name of a CVE.
func FuzzParseMeta(f *testing.F) {
	f.Add([]byte(unzipMeta))
	f.Add([]byte(`[{"paths":[],"patches":["cve_2020_12345","CVE-1-2"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseMeta(data)
		if err != nil {
			return
		}
		for p, m := range all {
			for _, fix := range m.Fixes() {
				if !strings.HasPrefix(fix.CVE, "CVE-") || strings.ContainsAny(fix.CVE, " \n\"") {
					t.Errorf("%s: %q", p, fix)
				}
			}
		}
	})
}

func TestNixMeta(t *testing.T) {
	fake := fakePrograms(t)
	writeFile(t, filepath.Join(fake, "names"), `["web"]`)
	writeFile(t, filepath.Join(fake, "eval"), unzipMeta)
	n := &Nix{Flake: shippedFlake, Store: "/mnt"}
	defer n.Close()
	const shipped = "/source?narHash=sha256-%2B61k5Q2qEfzrOJC8FnuGcTTxPQ9fLLBTM8D8pxcSQp0%3D#nixosConfigurations.base"
	for _, tt := range []struct {
		argument             Argument
		installable, modules string
		impure               bool
	}{
		{Argument{Flake: ".#web"}, ".#nixosConfigurations.web", "", false},
		{Argument{Flake: ".#nixosConfigurations.web.config.system.build.toplevel"}, ".#nixosConfigurations.web", "", false},
		{Argument{Flake: "nixpkgs#hello"}, "nixpkgs#hello", "", false},
		{Argument{File: "/etc/a b.nix"}, shipped, `(/. + "/etc/a b.nix")`, true},
		{Argument{}, shipped, "", false},
	} {
		writeFile(t, filepath.Join(fake, "log"), "")
		all, err := n.evalMeta(t.Context(), tt.argument, []string{"a\"b", "unzip"}, "x86_64-linux")
		if err != nil || all[outA] == nil {
			t.Errorf("%v: %v, %v", tt.argument, all, err)
		}
		log := readFile(t, filepath.Join(fake, "log"))
		for _, want := range []string{"/nix/meta.nix\") { names = [ \"a\\\"b\" \"unzip\" ]; modules = [ " + tt.modules + " ]; system = \"x86_64-linux\"; }\n", tt.installable + "\n"} {
			if !strings.Contains(log, want) {
				t.Errorf("%v: no %q in\n%s", tt.argument, want, log)
			}
		}
		if strings.Contains(log, "--impure\n") != tt.impure {
			t.Errorf("%v: with --impure: %t", tt.argument, !tt.impure)
		}
	}
	// evalMeta must shorten the list of names so that it fits into one argument.
	writeFile(t, filepath.Join(fake, "log"), "")
	names := make([]string, 60_000)
	for i := range names {
		names[i] = "abc"
	}
	if _, err := n.evalMeta(t.Context(), Argument{Flake: ".#web"}, names, ""); err != nil {
		t.Error(err)
	}
	if log := readFile(t, filepath.Join(fake, "log")); len(log) > 128<<10 || !strings.Contains(log, "system = null; }") {
		t.Errorf("%d bytes", len(log))
	}
}

// TestMeta checks which arguments Meta evaluates for a closure, for which packages it asks, and that
// it returns only store paths of the closure.
func TestMeta(t *testing.T) {
	fake := fakePrograms(t)
	writeFile(t, filepath.Join(fake, "names"), `["web"]`)
	writeFile(t, filepath.Join(fake, "eval"), strings.ReplaceAll(unzipMeta, `"paths":["`+outA+`"]`, `"paths":["`+outA+`","`+drvB+`"]`))
	n := &Nix{Flake: shippedFlake, Store: "/mnt"}
	defer n.Close()
	c := &closure.Closure{Paths: []closure.Info{{Path: outA}, {Path: outB}}}
	arguments := []Argument{{Flake: ".#arm", System: "aarch64-linux"}, {Flake: ".#web", System: "x86_64-linux"}, {File: "/etc/web.nix"}}
	for system, want := range map[string]struct {
		evaluated []string // elements of the commands that Nix must run
		not       string
	}{
		"x86_64-linux": {[]string{".#nixosConfigurations.web\n", `modules = [ (/. + "/etc/web.nix") ]; system = "x86_64-linux"`}, "arm"},
		"":             {[]string{".#arm\n", `modules = [  ]; system = "aarch64-linux"`, `modules = [ (/. + "/etc/web.nix") ]; system = null`}, "nothing is left out"},
	} {
		writeFile(t, filepath.Join(fake, "log"), "")
		all, err := n.Meta(t.Context(), arguments, c, system)
		if err != nil || len(all) != 1 || all[outA] == nil {
			t.Errorf("%q: %v, %v", system, all, err)
		}
		log := readFile(t, filepath.Join(fake, "log"))
		for _, w := range append(want.evaluated, `names = [ "nixos-system-web" ];`) {
			if !strings.Contains(log, w) {
				t.Errorf("%q: no %q in\n%s", system, w, log)
			}
		}
		if strings.Contains(log, want.not) {
			t.Errorf("%q: evaluated %s:\n%s", system, want.not, log)
		}
	}
}
