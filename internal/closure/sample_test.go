package closure

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/nar/nartest"
)

// The files in testdata contain one small system in several forms, the sample. Real
// Nix has built this system.

const sampleKeyFile = "testdata/key.pub"

func sampleTop(t testing.TB) StorePath {
	t.Helper()
	p, err := ParseStorePath(strings.TrimSpace(readFile(t, "testdata/toplevel")))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sampleKeys(t testing.TB) TrustedKeys {
	t.Helper()
	keys, err := NewTrustedKeys(readFile(t, sampleKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return keys
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

func sampleCache(t testing.TB, compression string) *BinaryCache {
	t.Helper()
	dir, err := filepath.Abs("testdata/cache/" + compression)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenBinaryCache("file://"+dir, CacheOptions{Keys: sampleKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sampleRoot makes a local store from the NARs and the database of the sample. It
// returns the root of the store.
func sampleRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() { // make directories writable, because TempDir cannot remove files in read-only directories
		filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(p, 0o755)
			}
			return nil
		})
	})
	c := sampleCache(t, "none")
	closure, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range closure.Paths {
		info := &closure.Paths[i]
		to := filepath.Join(root, string(info.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Walk(t.Context(), c, info, unpacker(to)); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(root, "nix/var/nix/db/schema"), schemaVersion)
	writeFile(t, filepath.Join(root, "nix/var/nix/db/db.sqlite"), readFile(t, "testdata/db.sqlite"))
	return root
}

func sampleStore(t testing.TB) *LocalStore {
	t.Helper()
	s, err := OpenLocal(sampleRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unpacker is a Visitor that writes a tree to the directory of this name.
type unpacker string

func (u unpacker) Directory(name string) error {
	return os.Mkdir(filepath.Join(string(u), name), 0o755)
}

func (u unpacker) Symlink(name, target string) error {
	return os.Symlink(target, filepath.Join(string(u), name))
}

func (u unpacker) File(name string, executable bool, size int64, content io.Reader) error {
	mode := fs.FileMode(0o444)
	if executable {
		mode = 0o555
	}
	f, err := os.OpenFile(filepath.Join(string(u), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, content)
	return err
}

// dump returns the closure of the sample as text. The text contains the graph, and
// every entry of every tree.
func dump(t testing.TB, src Source) string {
	t.Helper()
	text, err := dumpOf(t.Context(), src, sampleTop(t))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func dumpOf(ctx context.Context, src Source, top StorePath) (string, error) {
	c, err := src.Closure(ctx, []StorePath{top})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i := range c.Paths {
		p := &c.Paths[i]
		var r nartest.Recorder
		if err := Walk(ctx, src, p, &r); err != nil {
			return "", err
		}
		b.WriteString(strings.Join([]string{string(p.Path), p.NarHash.Hex(), p.CA, p.Deriver, ""}, "\n"))
		for _, r := range p.References {
			b.WriteString("> " + string(r) + "\n")
		}
		b.WriteString(strings.Join(r.Lines, "\n") + "\n")
	}
	return b.String(), nil
}

// TestSourcesAgree checks that all sources return the same graph and trees for
// one system.
func TestSourcesAgree(t *testing.T) {
	want := dump(t, sampleStore(t))
	if n := strings.Count(want, "\nl \"self\""); n != 4 {
		t.Fatalf("the sample has %d links to itself, not 4:\n%s", n, want)
	}
	for c := range decoders {
		t.Run(c, func(t *testing.T) {
			if got := dump(t, sampleCache(t, c)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("graph file", func(t *testing.T) {
		g, err := OpenGraph("testdata/graph/nix-2.8.json", sampleRoot(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := dump(t, g); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestSourcesConcurrent checks that several goroutines can read one source at the
// same time.
func TestSourcesConcurrent(t *testing.T) {
	for name, src := range map[string]Source{"local": sampleStore(t), "cache": sampleCache(t, "zstd")} {
		t.Run(name, func(t *testing.T) {
			want := dump(t, src)
			got := make(chan string)
			for range 8 {
				go func() {
					text, err := dumpOf(context.Background(), src, sampleTop(t))
					if err != nil {
						text = err.Error()
					}
					got <- text
				}()
			}
			for range 8 {
				if text := <-got; text != want {
					t.Errorf("got\n%s\nwant\n%s", text, want)
				}
			}
		})
	}
}

func TestLookup(t *testing.T) {
	local := sampleStore(t)
	for name, src := range map[string]Source{"local": local, "cache": sampleCache(t, "xz"), "walked": struct{ Source }{local}} {
		t.Run(name, func(t *testing.T) {
			c, err := src.Closure(t.Context(), []StorePath{sampleTop(t)})
			if err != nil {
				t.Fatal(err)
			}
			var tree *Info
			for i := range c.Paths {
				if c.Paths[i].Path.Name() == "tree" {
					tree = &c.Paths[i]
				}
			}
			for name, want := range map[string]Entry{
				"":      {Kind: KindDirectory},
				"a":     {Kind: KindDirectory},
				"a/b/x": {Kind: KindFile, Size: 6},
				"run":   {Kind: KindFile, Size: 18, Executable: true},
				"link":  {Kind: KindSymlink, Target: "a/b/x"},
			} {
				if got, err := Lookup(t.Context(), src, tree, name); err != nil || got != want {
					t.Errorf("%q: got %v, %v", name, got, err)
				}
			}
			if got, err := ReadFile(t.Context(), src, tree, "a/b/x", 6); err != nil || string(got) != "hello\n" {
				t.Errorf("got %q, %v", got, err)
			}
			const missing = "(fs.ErrNotExist)"
			for name, want := range map[string]string{
				"nothing":  missing,
				"a/b/x/y":  missing,
				"link/x":   missing,
				"a":        "not a regular file but a directory",
				"link":     "not a regular file but a symlink",
				"large":    "more than the 6 expected",
				"../x":     "not a name below it",
				"/a":       "not a name below it",
				"a//b":     "not a name below it",
				"a/../a.t": "not a name below it",
			} {
				if _, err := ReadFile(t.Context(), src, tree, name, 6); err == nil ||
					!strings.Contains(err.Error(), want) && !(want == missing && errors.Is(err, fs.ErrNotExist)) {
					t.Errorf("%q: got %v, want %q", name, err, want)
				}
			}
		})
	}
}

func sha256Sum(s string) Hash { return sha256.Sum256([]byte(s)) }
