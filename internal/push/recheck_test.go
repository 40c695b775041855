package push

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// TestReuseCheckSample checks that a push makes the given share of the reused layers again, rounded
// up. Each push must choose the layers at random, so that nobody can predict which layers it
// checks.
func TestReuseCheckSample(t *testing.T) {
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	images := []PlannedSystem{sampleImage(t, src, "amd64", nil), sampleImage(t, src, "arm64", nil)}
	first, err := Push(t.Context(), reg.open(t), images, sampleOptions(nil))
	must(t, err)

	check := func(share float64, images []PlannedSystem) (Result, string) {
		t.Helper()
		repo := reg.open(t)
		opts := sampleOptions(cache.Open(t.TempDir()))
		opts.Reuse = []*Remote{NewRemote(repo, "latest")}
		opts.ReuseCheck = share
		src.reads.Store(0)
		r, err := Push(t.Context(), repo, images, opts)
		must(t, err)
		var which string
		for i, l := range r.Layers {
			if l.Checked {
				if l.Outcome != Reused {
					t.Errorf("layer %d is %s and checked", i, l.Outcome)
				}
				which += fmt.Sprint(i, " ")
			}
		}
		return r, which
	}
	checked := func(r Result) (n int) {
		for _, l := range r.Layers {
			if l.Checked {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		share float64
		want  int // number of checked layers of 12
	}{{0.01, 1}, {0.25, 3}, {0.26, 4}, {1, 12}} {
		r, _ := check(c.share, images)
		if r.Unchanged || count(r, Reused) != 12 || checked(r) != c.want || r.Index.Digest != first.Index.Digest {
			t.Errorf("share %v: %d reused, %d checked, %s", c.share, count(r, Reused), checked(r), r.Index.Digest)
		}
	}
	if r, _ := check(0, images); !r.Unchanged || src.reads.Load() != 0 {
		t.Errorf("without a check: %+v, %d reads", r, src.reads.Load())
	}
	seen := map[string]bool{}
	for range 40 { // the chance that 40 pushes choose the same one of 12 layers is 1 in 10^42
		_, which := check(0.01, images)
		seen[which] = true
	}
	if len(seen) < 2 {
		t.Errorf("40 pushes, and always the same layer is checked")
	}
}

// TestReuseCheckFindsWrongClaims checks claims that only packing can disprove: the blob exists with
// the right digest and size, but belongs to another layer.
func TestReuseCheckFindsWrongClaims(t *testing.T) {
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	image := sampleImage(t, src, "amd64", nil)
	reg := newMemoryRegistry(t)
	cache := cache.Open(t.TempDir())
	first, err := Push(t.Context(), reg.open(t), []PlannedSystem{image}, sampleOptions(cache))
	must(t, err)
	a, b := first.Layers[0], first.Layers[1]
	must(t, cache.PutLayer(a.Layer.Recipe, b.Packed))

	opts := sampleOptions(cache)
	opts.Tags = []string{"checked"}
	opts.ReuseCheck = 1
	repo := reg.open(t)
	_, err = Push(t.Context(), repo, []PlannedSystem{image}, opts)
	if !errors.Is(err, oci.ErrOtherContent) {
		t.Fatalf("a wrong layer was reused: %v", err)
	}
	if _, err := repo.Resolve(t.Context(), "checked"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("the tag is there: %v", err)
	}
	if _, ok := cache.Layer(a.Layer.Recipe); ok {
		t.Error("the cache still has the wrong entry")
	}
	again, err := Push(t.Context(), reg.open(t), []PlannedSystem{image}, opts)
	must(t, err)
	if again.Index.Digest != first.Index.Digest {
		t.Errorf("then %s, not %s", again.Index.Digest, first.Index.Digest)
	}
}
