package push

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
)

// TestConcurrentPushes starts twenty pushes at once. They push two versions to two tags of one
// repository and share one cache. In the end each tag must name its version, with the same digest
// as after a single push.
func TestConcurrentPushes(t *testing.T) {
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	versions := [][]PlannedSystem{
		{sampleImage(t, src, "amd64", nil), sampleImage(t, src, "arm64", nil)},
		{sampleImage(t, src, "amd64", map[string]string{"bash-5.2": "patched"}), sampleImage(t, src, "arm64", map[string]string{"bash-5.2": "patched"})},
	}
	want := make([]Result, len(versions))
	for i, images := range versions {
		var err error
		want[i], err = Push(t.Context(), newMemoryRegistry(t).open(t), images, sampleOptions(nil))
		must(t, err)
	}
	reg := newMemoryRegistry(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		v := i % len(versions)
		wg.Go(func() {
			repo := reg.open(t)
			opts := sampleOptions(cache.Open(dir))
			opts.Tags = []string{fmt.Sprint("v", v)}
			opts.Reuse = []*Remote{NewRemote(repo, opts.Tags[0])}
			got, err := Push(t.Context(), repo, versions[v], opts)
			if err != nil || got.Index.Digest != want[v].Index.Digest {
				t.Errorf("push %d: %s, want %s: %v", i, got.Index.Digest, want[v].Index.Digest, err)
			}
		})
	}
	wg.Wait()
	for v := range versions {
		d, err := reg.open(t).Resolve(t.Context(), fmt.Sprint("v", v))
		must(t, err)
		if d.Digest != want[v].Index.Digest {
			t.Errorf("tag v%d is %s, want %s", v, d.Digest, want[v].Index.Digest)
		}
		for _, l := range want[v].Layers {
			if p, ok := cache.Open(dir).Layer(l.Layer.Recipe); !ok || p != l.Packed {
				t.Errorf("the cache says %+v, %v of a layer that is %+v", p, ok, l.Packed)
			}
		}
	}
}
