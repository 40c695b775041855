//go:build linux

package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files in testdata are real output of Nix 2.8, 2.26 and 2.34.
func TestReason(t *testing.T) {
	config := t.TempDir()
	for _, name := range []string{"undef.nix", "syntax.nix", "arg.nix"} {
		write(t, filepath.Join(config, name), "")
	}
	const failed = "building leaf.drv: failed with exit code 1: nginx: configuration file test failed\nthe end of its log:\n> log line of leaf\n> nginx: configuration file test failed"
	for name, want := range map[string]string{
		"dependency":      failed,
		"builder":         failed,
		"quoted":          failed,
		"hash":            "building fixed.drv: hash mismatch:\n  specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n     got:    sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=",
		"assertion":       "Failed assertions:\n- services.x: set y.\n- The other, with\n  a second line.",
		"undefined":       "undefined variable 'foo' at /config/undef.nix:2:7",
		"flake-undefined": "undefined variable 'foo' at /config/undef.nix:2:7",
		"flake-syntax":    "syntax error, unexpected '}' at /config/syntax.nix:3:1",
		"missing-module":  "path '/config/missing.nix' does not exist",
		"option-type":     "A definition for option `services.x.enable' is not of type `boolean'. Definition values:\n- In `/config/type.nix': \"yes\"",
		"option-noopt":    "The option `services.x.enabel' does not exist. Definition values:\n- In `/config/noopt.nix': true\n\nDid you mean `services.x.enable'?",
		"option-nodef":    "The option `y' was accessed but has no value defined. Try setting the option.",
		"option-arg": "attribute 'pkgs' missing at /nix/store/y6q6h2fki0prn1fxyqi2l0kk5hxr0g7x-source/lib/modules.nix:731:13" +
			" (while evaluating the module argument `pkgs' in \"/config/arg.nix\")",
	} {
		files, err := filepath.Glob("testdata/nix-errors/" + name + "-*.txt")
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: %d outputs, %v", name, len(files), err)
		}
		for _, file := range files {
			out, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := want
			if strings.HasSuffix(file, "missing-module-2.8.txt") {
				want = "getting status of '/config/missing.nix': No such file or directory"
			}
			readLog := func(drv string) string {
				if strings.Contains(file, "quoted") {
					t.Errorf("%s: the log was read, and Nix had said it", file)
				}
				if !strings.HasSuffix(drv, "-leaf.drv") {
					t.Errorf("%s: the log of %s", file, drv)
				}
				return "log line of leaf\nnginx: configuration file test failed\n\n"
			}
			got := reason(strings.ReplaceAll(string(out), "/config", config), config, readLog)
			if got = strings.ReplaceAll(got, config, "/config"); got != want {
				t.Errorf("%s:\ngot  %q\nwant %q", file, got, want)
			}
		}
	}
}

func TestReasonForms(t *testing.T) {
	none := func(string) string { return "" }
	for _, tc := range []struct{ out, want string }{
		{"building...\n", ""},
		{"error:\n", ""},
		{"warning: error: unable to download 'x'; retrying\n", ""},
		{"error: undefined variable 'foo'\n       at «string»:1:1:\n", "undefined variable 'foo' at string:1:1"},
		// An error that follows from another one which Nix did not print.
		{"error: 1 dependencies of derivation '/nix/store/x-a.drv' failed to build\n", "1 dependencies of derivation '/nix/store/x-a.drv' failed to build"},
		{"error: builder for '/nix/store/x-a.drv' failed due to signal 9 (Killed)\n", "building a.drv: failed due to signal 9 (Killed)"},
		{"error: builder for '/nix/store/x-a.drv' failed to produce output path '/nix/store/y-a'\n", "building a.drv: failed to produce output path '/nix/store/y-a'"},
	} {
		if got := reason(tc.out, "/config", none); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.out, got, tc.want)
		}
	}
	long := reason("error: a\n"+strings.Repeat("       - In `/config/x.nix': 1\n", 1000), "/config", none)
	if len(long) > maxReason+8 || !strings.HasPrefix(long, "a\n- In") || !strings.HasSuffix(long, ": 1\n…") {
		t.Errorf("%d bytes: …%s", len(long), long[len(long)-40:])
	}
}
