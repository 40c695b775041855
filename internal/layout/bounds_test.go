package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
)

// TestIndexSize checks the size limit of index.json: just below, at and above the limit. A
// sparse file of 8 GB must be refused without reading it.
func TestIndexSize(t *testing.T) {
	for size, wantErr := range map[int64]bool{limit.LayoutIndex - 1: false, limit.LayoutIndex: false, limit.LayoutIndex + 1: true, 8 << 30: true} {
		dir := t.TempDir()
		text := `{"schemaVersion":2,"manifests":[]}`
		if size <= limit.LayoutIndex {
			text += strings.Repeat(" ", int(size)-len(text))
		}
		writeFiles(t, dir, map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": text})
		if err := os.Truncate(filepath.Join(dir, "index.json"), size); err != nil {
			t.Fatal(err)
		}
		_, err := (&Layout{root: dir}).readIndex()
		if (err != nil) != wantErr {
			t.Errorf("%d bytes: %v", size, err)
		}
		_, err = OpenImage("oci:" + dir)
		if large := err != nil && strings.Contains(err.Error(), "larger than"); large != wantErr {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSpecialFiles: if a file is a named pipe, opening must fail at once instead of waiting.
// A blob behind a symlink must be refused, because the blob is not in the layout.
func TestSpecialFiles(t *testing.T) {
	for _, name := range []string{"oci-layout", "index.json"} {
		dir := t.TempDir()
		writeFiles(t, dir, map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"schemaVersion":2,"manifests":[]}`})
		if err := errors.Join(os.Remove(filepath.Join(dir, name)), syscall.Mkfifo(filepath.Join(dir, name), 0o600)); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLayout(dir)
		if err == nil {
			_, err = l.Resolve(t.Context(), "v1")
			l.Close()
		}
		if !errors.Is(err, limit.ErrSpecial) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "index.json" {
			if _, err := OpenImage("oci:" + dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("read %s: %v", name, err)
			}
		}
	}
	fifo := filepath.Join(t.TempDir(), "image.tar")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"oci-archive:", "docker-archive:"} {
		if _, err := OpenImage(kind + fifo); !errors.Is(err, limit.ErrSpecial) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	dir, elsewhere := t.TempDir(), t.TempDir()
	writeFiles(t, dir, map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"schemaVersion":2,"manifests":[]}`})
	if err := os.Symlink(elsewhere, filepath.Join(dir, "blobs")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImage("oci:" + dir); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("read: %v", err)
	}
	img := newImage(t, "x", "amd64")
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = img.put(t.Context(), l, img.inOrder(), "v1")
	if err == nil {
		err = l.Commit(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("write: %v", err)
	}
	if found, err := os.ReadDir(elsewhere); err != nil || len(found) > 0 {
		t.Errorf("written outside: %v, %v", found, err)
	}
}

// TestDockerLayers: if a docker-archive lists the same layer many times, the reader must hash
// it only once. The number of layers must be limited.
func TestDockerLayers(t *testing.T) {
	for n, wantErr := range map[int]bool{limit.ImageLayers - 1: false, limit.ImageLayers: false, limit.ImageLayers + 1: true, 100_000: true} {
		name := writeTar(t, map[string]string{
			"manifest.json": `[{"Config":"c.json","Layers":["l.tar"` + strings.Repeat(`,"l.tar"`, n-1) + `]}]`,
			"c.json":        "{}",
			"l.tar":         strings.Repeat("x", 1<<16),
		})
		_, err := OpenImage("docker-archive:" + name)
		if want := fmt.Sprintf("lists %d layers", n); (err != nil) != wantErr || wantErr && !strings.Contains(err.Error(), want) {
			t.Errorf("%d layers: %v", n, err)
		}
	}
}

func FuzzOpenImage(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"x"}]}`), []byte(`[{"Config":"c","Layers":["l"]}]`))
	f.Add([]byte("null"), []byte("[null]"))
	f.Fuzz(func(t *testing.T, index, docker []byte) {
		dir := t.TempDir()
		writeFiles(t, dir, map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": string(index), "manifest.json": string(docker), "c": "{}", "l": "l"})
		if src, err := OpenImage("oci:" + dir); err == nil {
			src.GetManifest(t.Context(), src.TagOrDigest)
			src.Close()
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if s, err := newDockerReader("x", dirFiles{root}); err == nil {
			if _, err := s.GetManifest(t.Context(), ""); err != nil {
				t.Error(err)
			}
		}
		if l, err := OpenLayout(dir); err == nil {
			l.Resolve(t.Context(), "v1")
			l.Close()
		}
	})
}
