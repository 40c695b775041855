package nixbuild

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/limit"
)

// TestParseMetadata checks parseMetadata with the output of nix flake metadata from
// Nix 2.8, 2.26 and 2.34. Only the names of directories were changed.
func TestParseMetadata(t *testing.T) {
	const narHash = "sha256-4TnYYX4UXXFHd4HaEAcY5Y+ziB9NcTMjpHcYhY1QSQo="
	for name, c := range map[string]struct {
		data string
		want Origin
	}{
		"a clean repository": {
			data: `{"locked":{"type":"git","url":"file:///src/web","ref":"refs/heads/main","rev":"0123456789abcdef0123456789abcdef01234567","revCount":3,"lastModified":1700000000,"narHash":"` + narHash + `"},
				"locks":{"nodes":{"root":{"inputs":{"nixpkgs":"nixpkgs_2"}},"nixpkgs_2":{"locked":{"type":"github","owner":"NixOS","repo":"nixpkgs","rev":"fedcba9876543210fedcba9876543210fedcba98","lastModified":1,"narHash":"` + narHash + `"}}},"root":"root","version":7}}`,
			want: Origin{
				URL:      "git+file:///src/web?narHash=sha256-4TnYYX4UXXFHd4HaEAcY5Y%2BziB9NcTMjpHcYhY1QSQo%3D&ref=refs%2Fheads%2Fmain&rev=0123456789abcdef0123456789abcdef01234567",
				Revision: "0123456789abcdef0123456789abcdef01234567", NarHash: narHash,
				Nixpkgs: "github:NixOS/nixpkgs/fedcba9876543210fedcba9876543210fedcba98?narHash=sha256-4TnYYX4UXXFHd4HaEAcY5Y%2BziB9NcTMjpHcYhY1QSQo%3D",
				Inputs: []Input{{Name: "nixpkgs_2", Revision: "fedcba9876543210fedcba9876543210fedcba98", NarHash: narHash,
					URL: "github:NixOS/nixpkgs/fedcba9876543210fedcba9876543210fedcba98?narHash=sha256-4TnYYX4UXXFHd4HaEAcY5Y%2BziB9NcTMjpHcYhY1QSQo%3D"}},
			},
		},
		"a dirty repository": {
			data: `{"locked":{"type":"git","url":"file:///src/web","dirtyRev":"0123456789abcdef0123456789abcdef01234567-dirty","dirtyShortRev":"0123456-dirty","lastModified":1700000000,"submodules":true},"locks":{"nodes":{"root":{}},"root":"root","version":7}}`,
			want: Origin{URL: "git+file:///src/web?submodules=1", Dirty: true},
		},
		"a directory": {
			data: `{"locked":{"type":"path","path":"/src/my web","lastModified":1700000000,"narHash":"` + narHash + `","dir":"sub"},"locks":{"nodes":{"root":{"inputs":{"a":["b","c"]}}},"root":"root"}}`,
			want: Origin{URL: "path:/src/my%20web?dir=sub&lastModified=1700000000&narHash=sha256-4TnYYX4UXXFHd4HaEAcY5Y%2BziB9NcTMjpHcYhY1QSQo%3D", NarHash: narHash},
		},
		"tarballs": {
			data: `{"locked":{"type":"tarball","url":"https://example.org/web.tar.gz?x=1","lastModified":5},"locks":{"nodes":{"r":{},"data":{"locked":{"type":"file","url":"file+https://example.org/a"},"flake":false}},"root":"r"}}`,
			want: Origin{URL: "tarball+https://example.org/web.tar.gz?x=1&lastModified=5", Inputs: []Input{{Name: "data", URL: "file+https://example.org/a"}}},
		},
	} {
		got, err := parseMetadata([]byte(c.data))
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, c.want)
		}
	}
	for data, want := range map[string]string{
		`{`:                                     "read what nix flake metadata prints",
		`{"locked":{"type":"path"},"locks":{}}`: `"path" has no path`,
		`{"locked":{"type":"git","url":"https://a#b"},"locks":{}}`:                                                "no URL",
		`{"locked":{"type":"carrier-pigeon"},"locks":{}}`:                                                         "carrier-pigeon",
		`{"locked":{"type":"path","path":"/a"},"locks":{"nodes":{"x":{"locked":{"type":"github","owner":"a"}}}}}`: "input x",
	} {
		if _, err := parseMetadata([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

func TestMetadataLimits(t *testing.T) {
	text := `{"locked":{"type":"path","path":"/a"},"locks":{}}`
	for size, ok := range map[int]bool{limit.FlakeLock - 1: true, limit.FlakeLock: true, limit.FlakeLock + 1: false} {
		if _, err := parseMetadata([]byte(text + strings.Repeat(" ", size-len(text)))); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for n, ok := range map[int]bool{limit.FlakeInputs - 1: true, limit.FlakeInputs: true, limit.FlakeInputs + 1: false} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"i%d":{"locked":{"type":"path","path":"/i"}},`, i)
		}
		s, err := parseMetadata([]byte(`{"locked":{"type":"path","path":"/a"},"locks":{"nodes":{` + b.String() + `"root":{}},"root":"root"}}`))
		if (err == nil) != ok || ok && len(s.Inputs) != n {
			t.Errorf("%d inputs: %v", n, err)
		}
	}
}

// FuzzParseMetadata checks that parseMetadata reads or refuses every lock file, and
// that no URL contains a character that would end a flake reference.
func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"locked":{"type":"git","url":"file:///src/web","ref":"main","rev":"01"},"locks":{"nodes":{"root":{"inputs":{"nixpkgs":"n"}},"n":{"locked":{"type":"github","owner":"a/b","repo":"c","rev":"1","dir":"x y"}}},"root":"root"}}`))
	f.Add([]byte(`{"locked":{"type":"path","path":"/a b","lastModified":1.5,"narHash":true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseMetadata(data)
		if err != nil {
			return
		}
		again, err := parseMetadata(data)
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%s is read as %+v and %+v", data, s, again)
		}
		for _, in := range append(slices.Clone(s.Inputs), Input{URL: s.URL}) {
			if strings.ContainsAny(in.URL, " \n\x00#") {
				t.Errorf("%s: the URL is %q", data, in.URL)
			}
		}
	})
}

// TestNixSource checks how Build asks Nix for the source. If the source changes
// during the evaluation, Build must fail.
func TestNixSource(t *testing.T) {
	fake := fakePrograms(t)
	writeFile(t, filepath.Join(fake, "eval"), "["+drvJSON("x86_64-linux", "x86_64-linux", drvA)+"]")
	writeFile(t, filepath.Join(fake, "build"), outA+"\n")
	writeFile(t, filepath.Join(fake, "names"), `["web"]`)
	writeFile(t, filepath.Join(fake, "metadata"), `{"locked":{"type":"path","path":"/src","narHash":"sha256-AA=="},"locks":{"nodes":{"root":{"inputs":{"nixpkgs":"n"}},"n":{"locked":{"type":"path","path":"/pkgs"}}},"root":"root"}}`)
	n := &Nix{Flake: shippedFlake, Store: "/mnt", Sources: true}
	defer n.Close()
	built, err := n.Build(t.Context(), Argument{Flake: ".#web"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Built{System: "x86_64-linux", Path: outA, Argument: Argument{Flake: ".#web"}, Derivation: drvA, Attribute: "nixosConfigurations.web",
		Source: &Origin{URL: "path:/src?narHash=sha256-AA%3D%3D", NarHash: "sha256-AA==", Inputs: []Input{{Name: "n", URL: "path:/pkgs"}}}}
	if !reflect.DeepEqual(built, []Built{want}) {
		t.Errorf("built %+v from %+v", built, built[0].Source)
	}
	if log := readFile(t, filepath.Join(fake, "log")); !strings.Contains(log, "\nflake\nmetadata\n--json\n--store\n/mnt\n--\n.\n") {
		t.Errorf("asked:\n%s", log)
	}

	// For a file and the base system, Inputs are those of the shipped flake. URL is
	// empty, because the shipped flake is in a temporary directory.
	file := filepath.Join(t.TempDir(), "web.nix")
	writeFile(t, file, "{ }\n")
	n.Nixpkgs = "path:/pkgs"
	built, err = n.Build(t.Context(), Argument{File: file}, []string{"x86_64-linux"})
	if err != nil {
		t.Fatal(err)
	}
	s := built[0].Source
	if s.File != file || s.FileDigest.Hex() != "sha256:1d6faa9e1a76d13f3ab8558a3640158b1f0a54f624a4e37ddc3ef41ed4191058" || s.URL != "" || s.Nixpkgs != "path:/pkgs" {
		t.Errorf("the source of a file is %+v", s)
	}
	if _, err := n.Build(t.Context(), Argument{File: file + ".missing"}, []string{"x86_64-linux"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}

	// Now the fake nix reports another narHash at each call.
	writeFile(t, filepath.Join(fake, "metadata.changes"), "")
	_, err = n.Build(t.Context(), Argument{Flake: ".#web"}, nil)
	hinttest.Error(t, err, nil, "the source changed while Nix evaluated it")
	writeFile(t, filepath.Join(fake, "metadata"), "none")
	_, err = n.Build(t.Context(), Argument{Flake: ".#web"}, nil)
	hinttest.Error(t, err, nil, "find the source: read what nix flake metadata prints")
	writeFile(t, filepath.Join(fake, "metadata.exit"), "1")
	writeFile(t, filepath.Join(fake, "metadata.err"), "error: no such flake\n")
	_, err = n.Build(t.Context(), Argument{Flake: ".#web"}, nil)
	hinttest.Error(t, err, nil, "nix flake metadata: exit status 1: no such flake")
}
