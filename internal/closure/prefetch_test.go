package closure

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/nar/nartest"
)

func prefetchAll(t testing.TB, src Source, c *Closure) (stop func()) {
	t.Helper()
	return Prefetch(t.Context(), src, c.Paths)
}

// free reports whether all memory and all slots are free.
func (a *ahead) free() bool {
	if !a.memory.TryAcquire(maxAheadAll) {
		return false
	}
	a.memory.Release(maxAheadAll)
	if !a.slots.TryAcquire(maxAhead) {
		return false
	}
	a.slots.Release(maxAhead)
	return len(a.nars) == 0
}

func TestPrefetch(t *testing.T) {
	want := dump(t, sampleStore(t))
	f := newFakeCache(t, "xz")
	const latency = 100 * time.Millisecond
	f.handle = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/nar/") {
			time.Sleep(latency)
		}
		return false
	}
	c := f.open(t, CacheOptions{})
	cl, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	stop := prefetchAll(t, c, cl)
	if got := dump(t, c); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if d := time.Since(start); d > 5*latency {
		t.Errorf("7 NARs took %v with a latency of %v", d, latency)
	}
	stop()
	if n := f.count("/nar/"); n != 7 {
		t.Errorf("%d NARs were fetched", n)
	}
	// Without a prefetch, the cache must download the NARs again.
	if got := dump(t, c); got != want {
		t.Error("another tree")
	}
	if n := f.count("/nar/"); n != 14 || !c.ahead.free() {
		t.Errorf("%d NARs were fetched, free: %v", n, c.ahead.free())
	}
}

// TestPrefetchFails checks that a walk downloads a NAR itself if the prefetch of this
// NAR has failed. The function stop must free the memory of NARs that no walk has used.
func TestPrefetchFails(t *testing.T) {
	want := dump(t, sampleStore(t))
	f := newFakeCache(t, "xz")
	var once sync.Map
	f.handle = func(w http.ResponseWriter, r *http.Request) bool {
		if _, there := once.LoadOrStore(r.URL.Path, true); there || !strings.HasPrefix(r.URL.Path, "/nar/") {
			return false
		}
		http.NotFound(w, r)
		return true
	}
	c := f.open(t, CacheOptions{})
	cl, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
	if err != nil {
		t.Fatal(err)
	}
	stop := prefetchAll(t, c, cl)
	for n := 0; f.count("/nar/") < 7; n++ {
		if n > 1000 {
			t.Fatal("no prefetch")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := dump(t, c); got != want {
		t.Error("another tree")
	}
	stop()
	prefetchAll(t, c, cl)()
	if !c.ahead.free() {
		t.Error("not all was given back")
	}
	// Two layers prefetch the same paths at the same time. One walk is cancelled.
	stop1, stop2 := prefetchAll(t, c, cl), prefetchAll(t, c, cl)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Walk(ctx, c, &cl.Paths[0], &nartest.Recorder{})
	stop1()
	if got := dump(t, c); got != want {
		t.Error("another tree")
	}
	stop2()
	if !c.ahead.free() {
		t.Error("not all was given back")
	}
}
