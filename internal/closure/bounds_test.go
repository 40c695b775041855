package closure

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
	"github.com/nixoci/nixoci/internal/nar/nartest"
)

// peakMemory returns the largest amount of memory by which f increases the heap. It
// uses the same settings of the garbage collector as the program.
func peakMemory(f func()) int64 {
	percent, heap := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	limit.SetMemory(func(string) string { return "" })
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(heap)
	}()
	var before, m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, int64(m.HeapAlloc)-int64(before.HeapAlloc))
			select {
			case <-stop:
				done <- peak
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	return <-done
}

// wantMemory fails the test if f needs more than limit.Memory.
func wantMemory(t *testing.T, f func()) {
	t.Helper()
	if peak := peakMemory(f); peak > limit.Memory {
		t.Errorf("%d MB, more than %d", peak/1e6, int64(limit.Memory)/1e6)
	} else {
		t.Logf("%d MB", peak/1e6)
	}
}

// direct is a RoundTripper that calls a function instead of using the network. So
// tests can run in synctest, where waiting takes no real time.
type direct func(r *http.Request) (*http.Response, error)

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) { return d(r) }

// of returns the response of the fake cache to r, without a network.
func (f *fakeCache) of(r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	f.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request, resp.ContentLength = r, int64(rec.Body.Len())
	return resp
}

func text(resp *http.Response) string {
	b, _ := io.ReadAll(resp.Body) // reading cannot fail, because the body is in memory
	return string(b)
}

// drip is a response body. Read returns text[:at] at once, and each further byte
// after a pause. If pause is 0, Read returns no further bytes.
type drip struct {
	r     *http.Request
	text  string
	at    int
	pause time.Duration
}

func (d *drip) Read(p []byte) (int, error) {
	if d.at > 0 {
		n := copy(p, d.text[:d.at])
		d.text, d.at = d.text[n:], d.at-n
		return n, nil
	}
	if len(d.text) == 0 {
		return 0, io.EOF
	}
	var after <-chan time.Time
	if d.pause > 0 {
		after = time.After(d.pause)
	}
	select {
	case <-d.r.Context().Done():
		return 0, context.Cause(d.r.Context())
	case <-after:
		p[0], d.text = d.text[0], d.text[1:]
		return 1, nil
	}
}

func (d *drip) Close() error { return nil }

func nothing(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

func directCache(t *testing.T, o CacheOptions, f direct) *BinaryCache {
	t.Helper()
	o.Transport, o.Keys = f, sampleKeys(t)
	c, err := OpenBinaryCache("http://cache.example", o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCacheTime checks that nixoci gives up after at most three minutes when a cache
// sends nothing or sends too slowly. One request without an answer must not be a
// failure.
func TestCacheTime(t *testing.T) {
	f := newFakeCache(t, "none")
	top := sampleTop(t)
	isNAR := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/nar/") }
	tests := map[string]struct {
		speed  int64
		serve  func(n int64, r *http.Request) (*http.Response, error) // answers the n-th request, n ≥ 1; nil means the response of the fake cache
		want   string                                                 // expected error, "" if no error is expected
		at     time.Duration                                          // minimum time until the result
		before time.Duration                                          // maximum time until the result
	}{
		"no answer at all": {serve: func(int64, *http.Request) (*http.Response, error) { return nil, errors.New("silence") },
			want: "no answer for 1m0s", at: 2 * time.Minute, before: limit.Operation},
		"no first answer": {serve: func(n int64, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, errors.New("silence")
			}
			return nil, nil
		}, at: limit.Answer, before: limit.Answer + time.Second},
		"a stalled NAR goes on": {serve: func(n int64, r *http.Request) (*http.Response, error) {
			if !isNAR(r) || r.Header.Get("Range") != "" {
				return nil, nil
			}
			resp := f.of(r)
			resp.Body = &drip{r: r, text: text(resp), at: 100}
			return resp, nil
		}, at: limit.LeastSpeedIn, before: 2 * limit.LeastSpeedIn},
		"a byte a second": {serve: func(n int64, r *http.Request) (*http.Response, error) {
			if !isNAR(r) {
				return nil, nil
			}
			resp := f.of(r)
			resp.Body = &drip{r: r, text: text(resp), pause: time.Second}
			return resp, nil
		}, want: "too slow", at: 2 * limit.LeastSpeedIn, before: 3 * limit.LeastSpeedIn},
		"a narinfo, a byte a second": {serve: func(n int64, r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, ".narinfo") {
				return nil, nil
			}
			resp := f.of(r)
			resp.Body = &drip{r: r, text: text(resp), pause: time.Second}
			return resp, nil
		}, want: "too slow", at: 2 * limit.LeastSpeedIn, before: 3 * limit.LeastSpeedIn},
		"a byte a second where that is enough": {speed: 1, serve: func(n int64, r *http.Request) (*http.Response, error) {
			if !isNAR(r) {
				return nil, nil
			}
			resp := f.of(r)
			resp.Body = &drip{r: r, text: text(resp), pause: 900 * time.Millisecond}
			return resp, nil
		}, at: time.Minute, before: 24 * time.Hour},
		"a byte in twenty seconds where any speed is enough": {speed: -1, serve: func(n int64, r *http.Request) (*http.Response, error) {
			if !isNAR(r) {
				return nil, nil
			}
			resp := f.of(r)
			resp.Body = &drip{r: r, text: text(resp), pause: 20 * time.Second}
			return resp, nil
		}, at: time.Minute, before: 240 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				c := directCache(t, CacheOptions{MinSpeed: tt.speed}, func(r *http.Request) (*http.Response, error) {
					resp, err := tt.serve(n.Add(1), r)
					switch {
					case err != nil:
						return nothing(r)
					case resp == nil:
						return f.of(r), nil
					}
					return resp, nil
				})
				start := time.Now()
				cl, err := c.Closure(t.Context(), []StorePath{top})
				if err == nil {
					small := cl.Info(top)
					for i := range cl.Paths { // find the smallest path, because simulating slow bytes takes long
						if p := &cl.Paths[i]; p.NarSize < small.NarSize {
							small = p
						}
					}
					err = Walk(t.Context(), c, small, &nartest.Recorder{})
				}
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if d := time.Since(start); d < tt.at || d > tt.before {
					t.Errorf("after %s", d)
				}
			})
		})
	}
}

// narinfoWith returns a reader for an unsigned narinfo with n references to paths
// that do not exist. Each seed gives other references. The reader generates the text
// while the caller reads.
func narinfoWith(p StorePath, seed, n int) io.Reader {
	return io.MultiReader(
		strings.NewReader("StorePath: "+string(p)+"\nURL: nar/x\nCompression: none\nNarHash: "+(Hash{}).Nix32()+"\nNarSize: 1\nReferences:"),
		&references{seed: seed, left: n}, strings.NewReader("\n"))
}

type references struct {
	seed, left int
	text, rest []byte // text is the current reference; rest is the part of text that Read has not returned
}

func (r *references) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.rest) == 0 {
			if r.left == 0 {
				break
			}
			r.left--
			r.text = fmt.Appendf(r.text[:0], " %08d%024d-x", r.seed, r.left)
			r.rest = r.text
		}
		copied := copy(p[n:], r.rest)
		r.rest = r.rest[copied:]
		n += copied
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func numbered(seed, i int) StorePath {
	return StorePath(fmt.Sprintf("/nix/store/%08d%024d-x", seed, i))
}

func all(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// floodCache returns a cache in which every narinfo has n references to new paths.
func floodCache(t *testing.T, n int) *BinaryCache {
	t.Helper()
	var seed atomic.Int64
	return directCache(t, CacheOptions{NoSignatures: true}, func(r *http.Request) (*http.Response, error) {
		var text io.Reader = strings.NewReader("StoreDir: /nix/store\n")
		if hash, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), ".narinfo"); ok {
			text = narinfoWith(StorePath("/nix/store/"+hash+"-x"), int(seed.Add(1)), n)
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(text), ContentLength: -1, Request: r}, nil
	})
}

// TestCacheFlood checks that nixoci stops reading a cache in which every narinfo
// refers to new paths. Meanwhile nixoci must use few goroutines and little memory.
func TestCacheFlood(t *testing.T) {
	for _, n := range []int{100, 10_000, 119_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := floodCache(t, n)
			var most atomic.Int64
			inner := c.fetch.client.Transport
			c.fetch.client.Transport = direct(func(r *http.Request) (*http.Response, error) {
				most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
				return inner.RoundTrip(r)
			})
			wantMemory(t, func() {
				_, err := c.Closure(t.Context(), []StorePath{numbered(0, 0)})
				hinttest.Error(t, err, errTooManyPaths, "cache.example")
			})
			if most.Load() > 300 {
				t.Errorf("%d goroutines", most.Load())
			}
		})
	}
}

func TestNarinfoSize(t *testing.T) {
	top := numbered(0, 0)
	limittest.Around(t, limit.Narinfo, "more than 4194304 bytes", func(n int) error {
		text := all(t, narinfoWith(top, 1, 0))
		text += "X: " + strings.Repeat("x", n-len(text)-4) + "\n"
		c := directCache(t, CacheOptions{NoSignatures: true}, func(r *http.Request) (*http.Response, error) {
			body := text
			if strings.HasSuffix(r.URL.Path, cacheInfoFile) {
				body = "StoreDir: /nix/store\n"
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: r}, nil
		})
		_, err := c.Closure(t.Context(), []StorePath{top})
		return err
	})
}

func TestNarinfoSignatures(t *testing.T) {
	sig := "Sig: x:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + "\n"
	for _, n := range []int{limit.Signatures - 1, limit.Signatures, limit.Signatures + 1} {
		_, err := ParseNarinfo([]byte(all(t, narinfoWith(rowA, 0, 1)) + strings.Repeat(sig, n)))
		if (err != nil) != (n > limit.Signatures) {
			t.Errorf("%d signatures: %v", n, err)
		}
	}
}

// TestMeter checks that a meter accepts exactly as much as each limit allows, and
// nothing more.
func TestMeter(t *testing.T) {
	refs := make([]StorePath, 1000)
	sig := strings.Repeat("s", 1<<20)
	for name, tt := range map[string]struct {
		info Info
		n    int // how often the meter must accept info
	}{
		"paths":      {Info{}, limit.Paths},
		"references": {Info{References: refs}, limit.References / len(refs)},
		"signatures": {Info{Signatures: []string{sig}}, limit.PathText / len(sig)},
		"CA":         {Info{CA: sig}, limit.PathText / len(sig)},
		"deriver":    {Info{Deriver: sig}, limit.PathText / len(sig)},
	} {
		var m meter
		for i := range tt.n {
			if err := m.add(&tt.info); err != nil {
				t.Fatalf("%s: %d: %v", name, i, err)
			}
		}
		if err := m.add(&tt.info); err == nil {
			t.Errorf("%s: %d are taken", name, tt.n+1)
		}
	}
}

// TestWindows checks that nixoci decompresses only a few NARs with large windows at
// the same time.
func TestWindows(t *testing.T) {
	if n := xzWindow(nil); n != usualWindow {
		t.Errorf("of nothing: %d", n)
	}
	data := make([]byte, 1<<20)
	big := xzWithWindow(xzOf(t, data), 28)
	if n := xzWindow(big[:headSize]); n != 64<<20 {
		t.Fatalf("window of %d", n)
	}
	wantMemory(t, func() {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				d, err := newXZ(t.Context(), bytes.NewReader(big))
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Close()
				n, err := io.Copy(io.Discard, d)
				if err != nil || n != int64(len(data)) {
					t.Errorf("%d bytes: %v", n, err)
				}
			})
		}
		wg.Wait()
	})
	if _, err := newXZ(t.Context(), bytes.NewReader(xzWithWindow(xzOf(t, data), 29))); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("a window of 96 MiB: %v", err)
	}
	// All window memory must be free again.
	release, err := limit.AcquireWindow(t.Context(), limit.Windows)
	if err != nil {
		t.Fatal(err)
	}
	// A goroutine that waits for memory must return when its context ends.
	ctx, cancel := context.WithCancelCause(t.Context())
	boom := errors.New("boom")
	cancel(boom)
	if _, err := newXZ(ctx, bytes.NewReader(big)); !errors.Is(err, boom) {
		t.Error(err)
	}
	release()
}

// graphOf returns a reader for a graph file with n store paths, in the form that Nix
// writes. Most paths have ten references. All have a signature and a deriver. The
// reader generates the text while the caller reads.
func graphOf(n int) io.Reader {
	i := 0
	return &made{next: func() []byte {
		if i == n {
			return nil
		}
		var b []byte
		b = append(b, map[bool]string{true: "[", false: ","}[i == 0]...)
		b = fmt.Appendf(b, `{"path":"%s","narHash":"sha256:%064x","narSize":%d,"references":[`, numbered(0, i), i, i+1)
		for k := range min(i, 10) {
			b = fmt.Appendf(b, `%s"%s"`, strings.Repeat(",", min(k, 1)), numbered(0, i-1-k))
		}
		b = fmt.Appendf(b, `],"deriver":"%s.drv","signatures":["cache.example-1:%086d=="],"registrationTime":1,"ultimate":false}`, numbered(1, i), i)
		if i++; i == n {
			b = append(b, ']')
		}
		return b
	}}
}

// made is a reader for the pieces that next returns. It ends when next returns no
// bytes.
type made struct {
	next func() []byte
	buf  []byte
}

func (m *made) Read(p []byte) (int, error) {
	if len(m.buf) == 0 {
		if m.buf = m.next(); len(m.buf) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, m.buf)
	m.buf = m.buf[n:]
	return n, nil
}

// TestGraphMemory checks that a usual graph needs at most 1,000 bytes for each store
// path. The test measures exactly how much memory the graph keeps. The peak during
// reading may be 50 % higher. It includes garbage, so it depends on when the garbage
// collector runs.
func TestGraphMemory(t *testing.T) {
	const n = 20_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var c *Closure
	peak := peakMemory(func() {
		infos, err := graphDecoder{}.read(graphOf(n))
		if err != nil {
			t.Fatal(err)
		}
		if c, err = New(nil, infos); err != nil {
			t.Fatal(err)
		}
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	runtime.KeepAlive(c)
	t.Logf("kept %d, at the peak %d bytes for a store path", kept/n, peak/n)
	if kept > n*1000 {
		t.Errorf("%d bytes are kept for a store path", kept/n)
	}
	if peak > n*1500 {
		t.Errorf("%d bytes for a store path at the peak", peak/n)
	}
}

// TestGraphValue checks the limit for the size of one JSON value, and the limit for
// the size of the file.
func TestGraphValue(t *testing.T) {
	one := all(t, graphOf(1))
	for size, want := range map[int]string{limit.GraphPath / 2: "", 2 * limit.GraphPath: "a value of more than 4194304 bytes"} {
		pad := `{"x":"` + strings.Repeat("x", size) + `","closure":` + one + `}`
		if _, err := ParseGraph([]byte(pad)); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	// Check the limit for the size of the file. nixoci reads spaces faster than strings, so the
	// file has strings only at the limit.
	spaces := []byte(",0" + strings.Repeat(" ", 1_000_000))
	texts := bytes.Repeat([]byte(`,"`+strings.Repeat("x", 1000)+`"`), 1000)
	chunk := -1
	long := made{next: func() []byte {
		chunk++
		switch {
		case chunk == 0:
			return []byte(`{"closure":` + one + `,"x":[0`)
		case chunk < limit.GraphFile/len(spaces):
			return spaces
		}
		return texts
	}}
	if _, err := (graphDecoder{}).read(&long); err == nil || err.Error() != fmt.Sprintf("more than %d bytes", limit.GraphFile) {
		t.Error(err)
	}
}

// TestSpecialFiles checks that nixoci reports an error if it finds a named pipe
// instead of a file. nixoci must not wait for a writer to the pipe.
func TestSpecialFiles(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETRC", fifo)
	if _, err := netrcUser("x"); !errors.Is(err, limit.ErrSpecial) {
		t.Errorf("netrc: %v", err)
	}
	if _, err := OpenGraph(fifo, "/"); !errors.Is(err, limit.ErrSpecial) {
		t.Errorf("graph: %v", err)
	}
	if err := (&nixConfig{}).file(fifo, 0); !errors.Is(err, limit.ErrSpecial) {
		t.Errorf("nix.conf: %v", err)
	}
	// Make a store with a named pipe instead of a database.
	root := t.TempDir()
	db := filepath.Join(root, "nix/var/nix/db")
	writeFile(t, filepath.Join(db, "schema"), "10\n")
	if err := syscall.Mkfifo(filepath.Join(db, "db.sqlite"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocal(root); !errors.Is(err, limit.ErrSpecial) {
		t.Errorf("database: %v", err)
	}
	// Make a file:// cache with a named pipe instead of nix-cache-info.
	cache := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(cache, cacheInfoFile), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := OpenBinaryCache("file://"+cache, CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Closure(t.Context(), []StorePath{rowA}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("file cache: %v", err)
	}
}
