package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/layers"
)

func samplePacked(s string) layers.Packed {
	return layers.Packed{DiffID: digest.FromString(s), Digest: digest.FromString("z" + s), Size: 10, UncompressedSize: 20}
}

func sampleRecipe(s string) layers.Recipe {
	return layers.NewNamedRecipe(layers.DefaultCompression(), "test", 1, s)
}

func TestCacheRemembers(t *testing.T) {
	c := Open(t.TempDir())
	if _, ok := c.Layer(sampleRecipe("a")); ok {
		t.Fatal("an empty cache knows a layer")
	}
	if err := c.PutLayer(sampleRecipe("a"), samplePacked("a")); err != nil {
		t.Fatal(err)
	}
	if p, ok := c.Layer(sampleRecipe("a")); !ok || p != samplePacked("a") {
		t.Errorf("got %+v, %v", p, ok)
	}
	if _, ok := c.WriteOnly().Layer(sampleRecipe("a")); ok {
		t.Error("a cache that is not to be believed answers")
	}
	var none *Cache
	if _, ok := none.Layer(sampleRecipe("a")); ok || none.PutLayer(sampleRecipe("a"), samplePacked("a")) != nil {
		t.Error("no cache is not an empty one")
	}
}

// TestCacheDropsWhatIsCorrupt checks that the cache does not return a truncated, changed or swapped
// entry, and that it removes the entry's file.
func TestCacheDropsWhatIsCorrupt(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, file, other string){
		"truncated": func(t *testing.T, file, _ string) { must(t, os.Truncate(file, 40)) },
		"empty":     func(t *testing.T, file, _ string) { must(t, os.Truncate(file, 0)) },
		"changed": func(t *testing.T, file, _ string) {
			b, err := os.ReadFile(file)
			must(t, err)
			for i, c := range b {
				if c == '1' {
					b[i] = '2'
				}
			}
			must(t, os.WriteFile(file, b, 0o644))
		},
		"another's": func(t *testing.T, file, other string) { must(t, os.Rename(other, file)) },
		"huge":      func(t *testing.T, file, _ string) { must(t, os.Truncate(file, 1<<30)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := Open(t.TempDir())
			must(t, c.PutLayer(sampleRecipe("a"), samplePacked("a")))
			must(t, c.PutLayer(sampleRecipe("b"), samplePacked("b")))
			file := c.path(folderLayers, sampleRecipe("a").String())
			spoil(t, file, c.path(folderLayers, sampleRecipe("b").String()))
			if p, ok := c.Layer(sampleRecipe("a")); ok {
				t.Errorf("believed: %+v", p)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCacheManyWriters checks that readers never see an incomplete entry.
func TestCacheManyWriters(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := Open(dir)
			for i := range 50 {
				key := fmt.Sprint(i % 5)
				if err := c.PutLayer(sampleRecipe(key), samplePacked(key)); err != nil {
					t.Error(err)
				}
				if p, ok := c.Layer(sampleRecipe(key)); !ok || p != samplePacked(key) {
					t.Errorf("%s: %+v, %v", key, p, ok)
				}
			}
		})
	}
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(dir, "*", "*", ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := Open(t.TempDir())
	must(t, c.PutLayer(sampleRecipe("a"), samplePacked("a")))
	shard := filepath.Dir(c.path(folderLayers, sampleRecipe("a").String()))
	old := time.Now().Add(-time.Hour)
	for i := range 3 * maxEntriesPerShard {
		name := filepath.Join(shard, fmt.Sprintf("%d.json", i))
		must(t, os.WriteFile(name, nil, 0o644))
		must(t, os.Chtimes(name, old, old))
	}
	must(t, c.PutLayer(sampleRecipe("a"), samplePacked("a")))
	files, err := os.ReadDir(shard)
	must(t, err)
	if len(files) > maxEntriesPerShard {
		t.Errorf("%d entries in a shard", len(files))
	}
	if _, ok := c.Layer(sampleRecipe("a")); !ok {
		t.Error("the newest entry is gone")
	}
}

func TestCacheInfoAndPrune(t *testing.T) {
	c := Open(filepath.Join(t.TempDir(), "not", "there"))
	if folders, err := c.Info(); err != nil || len(folders) != 0 {
		t.Errorf("a cache that was never used: %v, %v", folders, err)
	}
	for i := range 10 {
		must(t, c.PutLayer(sampleRecipe(fmt.Sprint(i)), samplePacked("x")))
	}
	old := time.Now().Add(-48 * time.Hour)
	must(t, os.Chtimes(c.path(folderLayers, sampleRecipe("3").String()), old, old))
	folders, err := c.Info()
	if err != nil || len(folders) != 1 || folders[0].Name != folderLayers || folders[0].Entries != 10 || folders[0].Bytes == 0 {
		t.Errorf("%+v, %v", folders, err)
	}
	if n, _, err := c.Prune(time.Now().Add(-24 * time.Hour)); n != 1 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	if n, bytes, err := c.Prune(time.Now().Add(time.Hour)); n != 9 || bytes == 0 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
}
