package layout

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type memory map[string][]byte

func (m memory) Get(folder, key string, v any) bool {
	data, ok := m[folder+key]
	return ok && json.Unmarshal(data, v) == nil
}

func (m memory) Put(folder, key string, v any) (err error) {
	m[folder+key], err = json.Marshal(v)
	return err
}

// TestDamagedBlob checks that a layout hashes a blob unless Memory contains the file's inode,
// size and times. The layout must treat a damaged blob as missing, and must warn once.
func TestDamagedBlob(t *testing.T) {
	dir := t.TempDir()
	data := []byte("a layer")
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	file := filepath.Join(dir, "blobs/sha256", d.Digest.Encoded())
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{file: string(data), filepath.Join(dir, "oci-layout"): layoutJSON, filepath.Join(dir, "index.json"): emptyIndex} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	known := memory{}
	var warned []error
	has := func() bool {
		t.Helper()
		l, err := OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		warned = nil
		l.Memory, l.Warn = known, func(err error) { warned = append(warned, err) }
		for range 3 { // ask several times, expect one warning
			if ok, err := l.HasBlob(t.Context(), d); err != nil || ok != (len(warned) == 0) {
				t.Fatalf("HasBlob = %v, %v; warnings %v", ok, err, warned)
			}
		}
		return len(warned) == 0
	}
	if !has() || len(known) != 1 {
		t.Fatalf("a whole blob is not there, or %d are known", len(known))
	}
	// As long as the file is not touched, its stamp must stay the same.
	for k := range known {
		kept := known[k]
		delete(known, k)
		if !has() || string(known[k]) != string(kept) {
			t.Error("the file has another stamp although nobody touched it")
		}
	}
	// Change one byte, and keep the size and the modification time.
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	before, err := stampOf(file)
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now == before; { // repeat, because the clocks of some file systems are coarse
		if err := os.WriteFile(file, []byte("a liver"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, st.ModTime(), st.ModTime()); err != nil {
			t.Fatal(err)
		}
		if now, err = stampOf(file); err != nil {
			t.Fatal(err)
		}
	}
	if has() || len(warned) != 1 || !strings.Contains(warned[0].Error(), "damaged") {
		t.Errorf("a damaged blob counts as there; warnings %v", warned)
	}
}

// TestBegunLayout: if a build is killed before its first image is complete, it must leave no
// layout or a valid one.
func TestBegunLayout(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"the index alone":      {"index.json": emptyIndex},
		"the index and marker": {"index.json": emptyIndex, "oci-layout": layoutJSON},
		"a blob too":           {"index.json": emptyIndex, "oci-layout": layoutJSON, "blobs/sha256/" + digest.FromString("x").Encoded(): "x"},
	} {
		dir := t.TempDir()
		for file, content := range files {
			file = filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := OpenLayout(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l.Close()
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"mine":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLayout(dir); err == nil {
		t.Error("somebody's index.json is taken for a layout")
	}
}
