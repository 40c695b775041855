package layout

import (
	"archive/tar"
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

func spaces(text string, n int) string { return text + strings.Repeat(" ", n-len(text)) }

func TestMarkerSize(t *testing.T) {
	limittest.Around(t, limit.LayoutFile, "more than 4096 bytes", func(n int) error {
		return checkLayout(writeDir(t, map[string]string{"oci-layout": spaces(layoutVersion, n)}))
	})
}

// TestDockerSizes checks the size limits of a docker-archive: of the config, and of
// manifest.json.
func TestDockerSizes(t *testing.T) {
	read := func(manifest, config string) error {
		src, err := OpenImage("docker-archive:" + writeTar(t, map[string]string{"manifest.json": manifest, "c.json": config, "l.tar": "x"}))
		if err == nil {
			err = src.Close()
		}
		return err
	}
	const manifest = `[{"Config":"c.json","Layers":["l.tar"]}]`
	limittest.Around(t, limit.Config, "larger than 8388608 bytes", func(n int) error { return read(manifest, spaces("{}", n)) })
	limittest.Around(t, limit.Manifest, "larger than 4194304 bytes", func(n int) error { return read(spaces(manifest, n), "{}") })
}

func TestArchiveEntries(t *testing.T) {
	files, _ := sourceFiles(t, "layer")
	name := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buffered := bufio.NewWriter(f)
	w := tar.NewWriter(buffered)
	for file, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: file, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	written := len(files)
	limittest.Around(t, limit.ArchiveEntries, "more than 100000 entries", func(n int) error {
		// Around's numbers grow, so the archive only needs a few more entries. Without the two empty
		// blocks at its end, a tar is valid too.
		for ; written < n; written++ {
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint("x/", written)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := buffered.Flush(); err != nil {
			t.Fatal(err)
		}
		src, err := OpenImage("oci-archive:" + name)
		if err == nil {
			err = src.Close()
		}
		return err
	})
}
