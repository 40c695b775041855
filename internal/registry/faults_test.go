package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/oci/ocitest"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

// inBubble runs f in a synctest bubble, with a client of a repository on a server for h.
func inBubble(t *testing.T, h http.Handler, o Options, f func(t *testing.T, r *Repository)) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := registrytest.Serve(h)
		defer stop()
		o.Dial = l.Dial
		r := openAt(t, "http://"+registrytest.PipeAddr, o)
		defer r.Close()
		f(t, r)
	})
}

// first returns a function that answers the first n requests that match with h. It lets all other
// requests pass.
func first(n int, match func(r *http.Request) bool, h http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	var left atomic.Int64
	left.Store(int64(n))
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !match(r) || left.Add(-1) < 0 {
			return false
		}
		h(w, r)
		return true
	}
}

func method(m string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m }
}

func answer(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		registrytest.Refuse(w, status, "SOME_CODE", "some message")
	}
}

func cut(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }

func hang(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// TestUploadFaults breaks the upload of a layer in one place. In the end the blob must be stored
// and committed once, and no session may be open.
func TestUploadFaults(t *testing.T) {
	data := ocitest.Content(2_000_000)
	d := digest.FromBytes(data).String()
	date := time.Date(2000, 1, 1, 0, 0, 7, 0, time.UTC).Format(http.TimeFormat) // the time in a bubble begins at 2000-01-01 00:00:00
	tests := map[string]struct {
		before   func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool
		packs    int
		min, max time.Duration
		err      string // a part of the error's text; "" for success
		commits  int
	}{
		"nothing": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool { return nil }, packs: 1, commits: 1},
		"POST answers 429 and seconds": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(2, method("POST"), answer(429, "Retry-After", "20"))
		}, packs: 1, min: 40 * time.Second, max: 40 * time.Second, commits: 1},
		"POST answers 503 and a date": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("POST"), answer(503, "Retry-After", date))
		}, packs: 1, min: 7 * time.Second, max: 7 * time.Second, commits: 1},
		"POST answers 429 and an hour": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("POST"), answer(429, "Retry-After", "3600"))
		}, err: "asks to wait 1h0m0s"},
		"POST answers 500 always": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1000, method("POST"), answer(500))
		}, min: 3 * time.Second, max: 15 * time.Second, err: "500 Internal Server Error: SOME_CODE: some message (6 attempts)"},
		"POST is cut": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(3, method("POST"), cut)
		}, packs: 1, min: time.Second, max: 10 * time.Second, commits: 1},
		"POST hangs always": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1000, method("POST"), hang)
		}, min: 90 * time.Second, max: 100 * time.Second, err: "no answer from the registry (3 attempts)"},
		"POST is forbidden": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1000, method("POST"), answer(403))
		}, err: "403 Forbidden"},
		"PATCH answers 500 at once": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PATCH"), answer(500))
		}, packs: 2, min: 100 * time.Millisecond, max: time.Second, commits: 1},
		"PATCH is cut half-way": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(2, method("PATCH"), func(w http.ResponseWriter, r *http.Request) {
				io.CopyN(io.Discard, r.Body, 1_000_000)
				cut(w, r)
			})
		}, packs: 3, min: 300 * time.Millisecond, max: 2 * time.Second, commits: 1},
		"PATCH is taken but not answered": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PATCH"), hang)
		}, packs: 2, min: commitTimeout, max: commitTimeout + time.Second, commits: 1},
		"PATCH stalls": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PATCH"), func(w http.ResponseWriter, r *http.Request) {
				io.CopyN(io.Discard, r.Body, 1_000_000)
				time.Sleep(10 * stallTimeout) // this server would not notice that the client has closed the connection
				cut(w, r)
			})
		}, packs: 2, min: stallTimeout, max: stallTimeout + time.Second, commits: 1},
		"PATCH answers before the end": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PATCH"), func(w http.ResponseWriter, r *http.Request) {
				io.CopyN(io.Discard, r.Body, 1000)
				w.WriteHeader(202)
			})
		}, packs: 2, min: 100 * time.Millisecond, max: time.Second, commits: 1},
		"PATCH is redirected": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PATCH"), func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Location", r.URL.String())
				w.WriteHeader(307)
			})
		}, packs: 2, commits: 1},
		"PUT answers 500": {before: func(*registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(2, method("PUT"), answer(500))
		}, packs: 1, min: 300 * time.Millisecond, max: 2 * time.Second, commits: 1},
		"PUT is done, its answer lost": {before: func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PUT"), func(w http.ResponseWriter, r *http.Request) {
				f.Upload(httptest.NewRecorder(), r)
				cut(w, r)
			})
		}, packs: 1, commits: 1},
		"PUT is done, and answered with 404": {before: func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PUT"), func(w http.ResponseWriter, r *http.Request) {
				f.Upload(httptest.NewRecorder(), r)
				registrytest.Refuse(w, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
			})
		}, packs: 1, commits: 1},
		"session is lost before PUT": {before: func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PUT"), func(w http.ResponseWriter, r *http.Request) {
				f.Mu.Lock()
				clear(f.Sessions)
				f.Mu.Unlock()
				registrytest.Refuse(w, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
			})
		}, packs: 2, min: 100 * time.Millisecond, max: time.Second, commits: 1},
		"received wrongly, always": {before: func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1000, method("PUT"), func(w http.ResponseWriter, r *http.Request) {
				registrytest.Refuse(w, 400, "DIGEST_INVALID", "provided digest did not match uploaded content")
			})
		}, packs: 1 + maxRestarts, min: 300 * time.Millisecond, max: 3 * time.Second, err: "DIGEST_INVALID: provided digest did not match uploaded content"},
		"stored as something else": {before: func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1, method("PUT"), func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Docker-Content-Digest", digest.FromString("else").String())
				w.WriteHeader(201)
			})
		}, packs: 2, min: 100 * time.Millisecond, max: time.Second, commits: 1},
		"stored as something else, always": {before: func(f *registrytest.Registry) func(http.ResponseWriter, *http.Request) bool {
			return first(1000, method("PUT"), func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Docker-Content-Digest", digest.FromString("else").String())
				w.WriteHeader(201)
			})
		}, packs: 1 + maxRestarts, min: 300 * time.Millisecond, max: 3 * time.Second, err: "the registry stored something else: " + digest.FromString("else").String() + " instead of " + d},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := registrytest.New()
			f.Before = tt.before(f)
			inBubble(t, f, Options{}, func(t *testing.T, r *Repository) {
				start, packs := time.Now(), 0
				got, err := r.PutLayer(t.Context(), nil, ocitest.Packing(data, &packs))
				took := time.Since(start)
				if tt.err == "" && (err != nil || got != ocitest.PackedOf(data)) {
					t.Fatalf("PutLayer = %v, %v", got, err)
				}
				if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) ||
					!strings.HasPrefix(err.Error(), "upload a layer to 127.0.0.1:5000/app/system: ")) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if packs != tt.packs {
					t.Errorf("packed %d times, want %d", packs, tt.packs)
				}
				if took < tt.min || took > tt.max {
					t.Errorf("took %v, want %v to %v", took, tt.min, tt.max)
				}
				if f.Commits[d] != tt.commits || f.Open() != 0 && tt.err == "" {
					t.Errorf("%d commits, want %d; %d sessions are open: %q", f.Commits[d], tt.commits, f.Open(), f.Log)
				}
				if tt.commits == 1 {
					sameBytes(t, "blob", f.Blobs["app/system@"+d], data)
				}
				if tt.err == "" && took > 0 && r.Stats().Retries == 0 {
					t.Error("retries are not counted")
				}
			})
		})
	}
}

// steady reads at a constant speed.
type steady struct {
	io.ReadCloser
	speed int // bytes per second
}

func (s steady) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 512)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.speed))
	return n, err
}

// TestSlowIsNotHanging checks transfers at a constant speed. If the registry is slightly faster
// than the least speed, the client must send and read whole layers, however long this takes, even
// if the layer itself is produced slowly. If the registry is slightly slower than the least speed,
// the client must give up.
func TestSlowIsNotHanging(t *testing.T) {
	for _, least := range []int64{0, 8192} {
		o := Options{MinSpeed: least}
		usual := int(cmp.Or(least, limit.LeastSpeed))
		data := ocitest.Content(400 * usual) // the transfer takes more than six minutes at the least speed
		// Buffers make the transfer slightly uneven, so leave a margin of a fifth.
		for _, speed := range []int{usual * 6 / 5, usual * 5 / 6} {
			var ranges bool
			f := newFake(func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.Method == http.MethodPatch:
					r.Body = steady{r.Body, speed}
				case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
					rest := data
					var from int
					// A registry that supports ranges could send a few bytes to each request,
					// without end.
					if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 && ranges {
						rest = data[from:]
						w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
						w.Header().Set("Content-Length", fmt.Sprint(len(rest)))
						w.WriteHeader(http.StatusPartialContent)
					} else {
						w.Header().Set("Content-Length", fmt.Sprint(len(rest)))
					}
					io.Copy(flusher{w}, steady{io.NopCloser(bytes.NewReader(rest)), speed})
					return true
				}
				return false
			})
			whole := time.Duration(len(data)) * time.Second / time.Duration(speed)
			fast := speed > usual
			check := func(t *testing.T, what string, took time.Duration, err error, slow error) {
				t.Helper()
				switch {
				case fast && (err != nil || took < whole*9/10):
					t.Errorf("%s at %d B/s: %v, after %s", what, speed, err, took)
				case !fast && (!errors.Is(err, slow) || took > limit.Operation):
					t.Errorf("%s at %d B/s, least %d: %v, after %s", what, speed, usual, err, took)
				}
			}
			inBubble(t, f, o, func(t *testing.T, r *Repository) {
				for name, pause := range map[string]time.Duration{"send": 0, "send what comes slowly": 2 * stallTimeout} {
					start, packs := time.Now(), 0
					pack := ocitest.Packing(data, &packs)
					_, err := r.PutLayer(t.Context(), nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
						time.Sleep(pause)
						return pack(ctx, w)
					})
					check(t, name, time.Since(start)-time.Duration(packs)*pause, err, errTooSlow) // do not count the time for packing
					if fast && packs != 1 {
						t.Errorf("%s at %d B/s: packed %d times", name, speed, packs)
					}
				}
			})
			for _, ranges = range []bool{false, true} {
				inBubble(t, f, o, func(t *testing.T, r *Repository) {
					start := time.Now()
					rc, err := r.GetBlob(t.Context(), ocitest.BlobOf(data, "x").Descriptor)
					if err == nil {
						_, err = io.Copy(io.Discard, rc)
						rc.Close()
					}
					check(t, fmt.Sprintf("read, ranges %t,", ranges), time.Since(start), err, errStalled)
				})
			}
		}
	}
}

// flusher is a ResponseWriter that flushes after each write.
type flusher struct{ http.ResponseWriter }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if e := http.NewResponseController(f.ResponseWriter).Flush(); err == nil {
		err = e
	}
	return n, err
}

// TestSilence checks a registry that answers nothing. A push looks up its tag, gets an error, and
// begins to upload. Both operations together must take less than limit.Operation. After an answer
// or a pause, the time must start again from zero.
func TestSilence(t *testing.T) {
	var speaks atomic.Bool
	f := newFake(func(w http.ResponseWriter, r *http.Request) bool {
		if speaks.Load() {
			return false
		}
		hang(w, r)
		return true
	})
	inBubble(t, f, Options{}, func(t *testing.T, r *Repository) {
		resolve := func() (took time.Duration) {
			start := time.Now()
			if _, err := r.Resolve(t.Context(), "latest"); err == nil {
				t.Error("an answer")
			}
			return time.Since(start)
		}
		three, one := resolve(), resolve()
		if three+one >= limit.Operation || one != answerTimeout {
			t.Errorf("it gave up after %v and then %v", three, one)
		}
		if none := resolve(); none != 0 {
			t.Errorf("it was asked again, for %v", none)
		}
		time.Sleep(2 * maxPause) // no request is sent
		if again := resolve(); again < 3*answerTimeout {
			t.Errorf("after a pause it gave up after %v", again)
		}
		speaks.Store(true)
		resolve()
		speaks.Store(false)
		if again := resolve(); again < 3*answerTimeout {
			t.Errorf("it gave up after %v, although there was an answer", again)
		}
	})
}

// TestClosingIsSilence checks that the client sends no more requests after two minutes of silence.
// The registry answers nothing in this time, but it closes connections.
func TestClosingIsSilence(t *testing.T) {
	closes := atomic.Bool{}
	f := newFake(func(w http.ResponseWriter, r *http.Request) bool {
		if closes.Load() {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
		return true
	})
	inBubble(t, f, Options{}, func(t *testing.T, r *Repository) {
		resolve := func() {
			if _, err := r.Resolve(t.Context(), "v1"); err == nil {
				t.Error("there was no answer, and no error")
			}
		}
		resolve()
		closes.Store(true)
		time.Sleep(25 * time.Second)
		resolve()
		closes.Store(false)
		time.Sleep(30 * time.Second) // longer than maxPause since the last request without an answer, but not since the last closed connection
		start := time.Now()
		resolve()
		if took := time.Since(start); took != 0 {
			t.Errorf("it was asked again, for %v", took)
		}
	})
}

// TestRetryAfterHoldsForAll checks that a Retry-After for one request also delays
// another request.
func TestRetryAfterHoldsForAll(t *testing.T) {
	f := newFake(first(1, method("HEAD"), answer(429, "Retry-After", "30")))
	inBubble(t, f, Options{}, func(t *testing.T, r *Repository) {
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { r.Resolve(t.Context(), "v1") })
		wg.Go(func() {
			time.Sleep(5 * time.Second)
			packs := 0
			if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(10), &packs)); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took < 30*time.Second {
				t.Errorf("a request was sent after %v", took)
			}
		})
		wg.Wait()
	})
}

// TestPackFails checks that the client does not try a layer again if packing fails.
func TestPackFails(t *testing.T) {
	for _, n := range []int{0, 10, 1_000_000} {
		f := registrytest.New()
		inBubble(t, f, Options{}, func(t *testing.T, r *Repository) {
			boom := fmt.Errorf("narHash does not match: %w", io.ErrUnexpectedEOF) // the client would retry io.ErrUnexpectedEOF alone
			packs := 0
			_, err := r.PutLayer(t.Context(), nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
				packs++
				w.Write(ocitest.Content(n))
				return layers.Packed{}, boom
			})
			if !errors.Is(err, boom) || packs != 1 {
				t.Errorf("%v after packing %d times", err, packs)
			}
			if f.Open() != 0 || len(f.Blobs) != 0 || f.Deleted != 1 {
				t.Errorf("%d sessions, %d blobs, %d deleted", f.Open(), len(f.Blobs), f.Deleted)
			}
		})
	}
	t.Run("another digest than before", func(t *testing.T) {
		f := registrytest.New()
		r := serve(t, f, Options{})
		want, packs := ocitest.PackedOf(ocitest.Content(11)), 0
		_, err := r.PutLayer(t.Context(), &want, ocitest.Packing(ocitest.Content(10), &packs))
		if !errors.Is(err, oci.ErrOtherContent) || !strings.Contains(err.Error(), want.Digest.String()) || packs != 1 || len(f.Blobs) != 0 || f.Open() != 0 {
			t.Errorf("%v after packing %d times", err, packs)
		}
	})
}

// TestReadInstead checks a body whose transport calls Read and not WriteTo.
func TestReadInstead(t *testing.T) {
	data, packs := ocitest.Content(300_000), 0
	b := newPackBody(t.Context(), ocitest.Packing(data, &packs), func() {})
	got, err := io.ReadAll(struct{ io.Reader }{b})
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "body", got, data)
	if packed, err := b.finish(); err != nil || packed != ocitest.PackedOf(data) || packs != 1 {
		t.Errorf("%v, %v", packed, err)
	}
	b = newPackBody(t.Context(), ocitest.Packing(data, &packs), func() {})
	b.Read(make([]byte, 10))
	b.Close()
	if _, err := b.finish(); err == nil || !b.broken() {
		t.Errorf("closed early: %v", err)
	}
	b = newPackBody(t.Context(), ocitest.Packing(data, &packs), func() {})
	b.Close()
	if _, err := b.WriteTo(io.Discard); err == nil {
		t.Error("packed after Close")
	}
}

// TestLimits starts more transfers than the limits allow. It checks how many run at once.
func TestLimits(t *testing.T) {
	var packing, mostPacking atomic.Int64
	f := registrytest.New()
	inBubble(t, f, Options{Transfers: 3}, func(t *testing.T, r *Repository) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				_, err := r.PutLayer(t.Context(), nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
					n := packing.Add(1)
					defer packing.Add(-1)
					for m := mostPacking.Load(); n > m && !mostPacking.CompareAndSwap(m, n); m = mostPacking.Load() {
					}
					time.Sleep(time.Second)
					data := fmt.Appendf(nil, "layer %d", i)
					w.Write(data)
					return ocitest.PackedOf(data), nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := f.Open(); n != 3+sessionsAhead {
			t.Errorf("%d sessions are open, want %d", n, 3+sessionsAhead)
		}
		wg.Wait()
		if mostPacking.Load() != 3 {
			t.Errorf("%d layers were packed at once, want 3", mostPacking.Load())
		}
	})
}

func newTokens(lifetime time.Duration) *registrytest.Tokens {
	return registrytest.NewTokens(registrytest.New(), lifetime)
}

func TestTokens(t *testing.T) {
	keychain := password{"ann", "s3cret"}
	t.Run("one token for all", func(t *testing.T) {
		k := newTokens(time.Hour)
		inBubble(t, k, Options{Keychain: keychain}, func(t *testing.T, r *Repository) {
			if _, err := r.Resolve(t.Context(), "v1"); !errors.Is(err, oci.ErrNotFound) {
				t.Fatal(err)
			}
			if n := r.Stats().Requests; n != 3 {
				t.Errorf("%d requests to find out that there is nothing, want 3", n)
			}
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					packs := 0
					if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(1000+i), &packs)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if k.Exchanged() != 1 {
				t.Errorf("%d tokens were asked for", k.Exchanged())
			}
		})
	})
	t.Run("replaced before it expires", func(t *testing.T) {
		k := newTokens(time.Minute)
		inBubble(t, k, Options{Keychain: keychain}, func(t *testing.T, r *Repository) {
			packs := 0
			for i := range 10 {
				time.Sleep(29 * time.Second)
				if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(1000+i), &packs)); err != nil {
					t.Fatal(err)
				}
			}
			if packs != 10 || r.Stats().Retries != 0 || k.Exchanged() < 4 || k.Exchanged() > 6 {
				t.Errorf("packed %d times, %d retries, %d tokens", packs, r.Stats().Retries, k.Exchanged())
			}
		})
	})
	t.Run("revoked in the middle", func(t *testing.T) {
		k := newTokens(time.Hour)
		inBubble(t, k, Options{Keychain: keychain}, func(t *testing.T, r *Repository) {
			k.Before = first(1, method("POST"), func(w http.ResponseWriter, r *http.Request) {
				k.Revoke() // revoke the token between POST and PATCH
				k.Upload(w, r)
			})
			packs := 0
			if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(1000), &packs)); err != nil {
				t.Fatal(err)
			}
			if packs != 2 || k.Exchanged() != 2 || k.Open() != 0 {
				t.Errorf("packed %d times, %d tokens, %d sessions", packs, k.Exchanged(), k.Open())
			}
			k.Revoke()
			if err := r.PutManifest(t.Context(), ocitest.BlobOf([]byte("{}"), "x"), "v1"); err != nil {
				t.Error(err) // the client must send the body again with a new token
			}
		})
	})
	t.Run("mount wants more", func(t *testing.T) {
		k := newTokens(time.Hour)
		data := ocitest.Content(10)
		d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: 10}
		k.Blobs["other/one@"+d.Digest.String()] = data
		inBubble(t, k, Options{Keychain: keychain, MountFrom: []string{"other/one"}}, func(t *testing.T, r *Repository) {
			if ok, err := r.HasBlob(t.Context(), d); !ok || err != nil || k.Exchanged() != 1 {
				t.Errorf("HasBlob = %v, %v with %d tokens", ok, err, k.Exchanged())
			}
		})
	})
	t.Run("mount is not allowed", func(t *testing.T) {
		k := newTokens(time.Hour)
		k.Refuse = "repository:other/one:pull"
		d := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1}
		inBubble(t, k, Options{Keychain: keychain, MountFrom: []string{"other/one"}}, func(t *testing.T, r *Repository) {
			if ok, err := r.HasBlob(t.Context(), d); ok || err != nil {
				t.Errorf("HasBlob = %v, %v", ok, err)
			}
			packs := 0
			if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(10), &packs)); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("not for this repository", func(t *testing.T) {
		k := newTokens(time.Hour)
		k.Refuse = "repository:app/system:push,pull"
		inBubble(t, k, Options{Keychain: keychain}, func(t *testing.T, r *Repository) {
			packs := 0
			_, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(10), &packs))
			if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || !strings.Contains(hint.Of(err), "do not cover 127.0.0.1:5000/app/system") || packs != 0 {
				t.Errorf("%v (hint: %s)", err, hint.Of(err))
			}
		})
	})
	t.Run("wrong password", func(t *testing.T) {
		k := newTokens(time.Hour)
		inBubble(t, k, Options{Keychain: password{"ann", "wr0ng"}}, func(t *testing.T, r *Repository) {
			_, err := r.Resolve(t.Context(), "v1")
			if err == nil || !strings.Contains(err.Error(), "wrong password") || strings.Contains(err.Error(), "wr0ng") || !strings.Contains(hint.Of(err), "are not accepted") {
				t.Errorf("%v (hint: %s)", err, hint.Of(err))
			}
		})
	})
	t.Run("none", func(t *testing.T) {
		inBubble(t, newTokens(time.Hour), Options{}, func(t *testing.T, r *Repository) {
			_, err := r.Resolve(t.Context(), "v1")
			if err == nil || hint.Of(err) != "log in with `nixoci login 127.0.0.1:5000`" {
				t.Errorf("%v (hint: %s)", err, hint.Of(err))
			}
		})
	})
}

// TestHiddenFromStrangers checks a registry that answers 404 to requests without credentials.
func TestHiddenFromStrangers(t *testing.T) {
	f := newFake(func(w http.ResponseWriter, r *http.Request) bool {
		_, _, known := r.BasicAuth()
		if !known && r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			registrytest.Refuse(w, 401, "UNAUTHORIZED", "")
			return true
		}
		if !known {
			registrytest.Refuse(w, 404, "MANIFEST_UNKNOWN", "")
		}
		return !known
	})
	m := []byte(`{"mediaType":"x"}`)
	f.Manifests["app/system:v1"], f.Types["app/system:v1"] = m, "x/y"
	r := serve(t, f, Options{Keychain: password{"ann", "s3cret"}})
	if d, err := r.Resolve(t.Context(), "v1"); err != nil || d.Digest != digest.FromBytes(m) {
		t.Errorf("Resolve = %v, %v", d, err)
	}
}

// TestRedirects checks that the client sends no credentials to the host of a redirect.
func TestRedirects(t *testing.T) {
	data := ocitest.Content(1000)
	var leaked atomic.Value
	storage := registrytest.New()
	storage.Blobs["b@"+digest.FromBytes(data).String()] = data
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := r.Header.Get("Authorization"); h != "" {
			leaked.Store(r.Method + " " + h)
		}
		if strings.Contains(r.URL.Path, "/uploads/") {
			storage.ServeHTTP(w, r)
			return
		}
		w.Write(data)
	}))
	defer elsewhere.Close()
	f := newFake(func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u != "ann" || p != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			registrytest.Refuse(w, 401, "UNAUTHORIZED", "")
			return true
		}
		switch {
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, elsewhere.URL+"/bucket?signature=s", http.StatusTemporaryRedirect)
			return true
		case r.Method == http.MethodPost:
			storage.Sessions["s"] = []byte{}
			w.Header().Set("Location", elsewhere.URL+"/v2/b/blobs/uploads/s?_state=a%2Bb")
			w.WriteHeader(202)
			return true
		}
		return false
	})
	r := serve(t, f, Options{Keychain: password{"ann", "s3cret"}})
	rc, err := r.GetBlob(t.Context(), ocispec.Descriptor{Digest: digest.FromBytes(data), Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(rc)
	rc.Close()
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "blob", got, data)
	packs, other := 0, ocitest.Content(500)
	if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(other, &packs)); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "uploaded", storage.Blobs["b@"+digest.FromBytes(other).String()], other)
	if h := leaked.Load(); h != nil {
		t.Errorf("the other host saw %v", h)
	}
}

// TestSchemes checks connections to registries with and without TLS.
func TestSchemes(t *testing.T) {
	f := registrytest.New()
	f.Manifests["app/system:v1"], f.Types["app/system:v1"] = []byte(`{"mediaType":"x"}`), "x/y"
	s := httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = quiet
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	plain := httptest.NewServer(f)
	defer plain.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	// The certificate of httptest covers example.com, which is not a loopback
	// address.
	to := func(s *httptest.Server) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
		}
	}
	tests := map[string]struct {
		url  string
		o    Options
		hint string
	}{
		"own authority":                   {"https://example.com", Options{CAFile: ca, Dial: to(s)}, ""},
		"unknown authority":               {"https://example.com", Options{Dial: to(s)}, "--ca-file"},
		"unknown authority, insecure":     {"https://example.com", Options{Insecure: true, Dial: to(s)}, ""},
		"plain http":                      {"https://example.com", Options{Dial: to(plain)}, "--insecure"},
		"plain http, insecure":            {"https://example.com", Options{Insecure: true, Dial: to(plain)}, ""},
		"plain http on this machine":      {plain.URL, Options{}, ""},
		"TLS on this machine":             {s.URL, Options{CAFile: ca}, ""},
		"nothing listens on this machine": {"http://127.0.0.1:1", Options{}, "nothing listens"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := openAt(t, tt.url, tt.o)
			_, err := r.Resolve(t.Context(), "v1")
			if (err == nil) != (tt.hint == "") || !strings.Contains(hint.Of(err), tt.hint) {
				t.Errorf("%v (hint: %s)", err, hint.Of(err))
			}
			if err != nil {
				return
			}
			packs := 0
			if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(1_000_000), &packs)); err != nil || packs != 1 {
				t.Errorf("%v after packing %d times", err, packs)
			}
		})
	}
	if _, err := Open(name.Repository{}, Options{CAFile: "/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "--ca-file") {
		t.Errorf("no CA file: %v", err)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		io.WriteString(w, `{"errors":[{"code":"BAD\u001b[2J","message":"`)
		for range 1000 {
			io.WriteString(w, `long\n `)
		}
		io.WriteString(w, `"}]}`)
	}
	r := serve(t, http.HandlerFunc(h), Options{})
	err := r.PutManifest(t.Context(), ocitest.BlobOf([]byte("{}"), "x"), "v1") // the answer to a HEAD would have no text
	if err == nil || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x1b") || !strings.Contains(err.Error(), "long long") {
		t.Errorf("error %q", err)
	}
	var re *ResponseError
	if !errors.As(err, &re) || re.Status != 400 {
		t.Errorf("error %#v", re)
	}
	secret := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "http://user:passw0rd@"+r.Host+"/upload?signature=s3cret")
			w.WriteHeader(202)
			return
		}
		w.WriteHeader(403)
	}), Options{})
	if err := secret.PutBlob(t.Context(), ocitest.BlobOf([]byte("{}"), "x")); err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "passw0rd") {
		t.Errorf("error %v", err)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{"localhost": true, "localhost:5000": true, "a.localhost": true, "127.0.0.1:5000": true, "127.9.9.9": true,
		"[::1]:5000": true, "::1": true, "localhost.example.com": false, "10.0.0.1:5000": false, "ghcr.io": false, "127.0.0.1.example.com": false} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v", host, got)
		}
	}
}

// TestNoDowngrade checks a registry with TLS that names addresses without TLS. If the address is
// the registry's own, as with many registries behind a proxy, the client must use it with TLS. If
// the address is on another host, the client must refuse it.
func TestNoDowngrade(t *testing.T) {
	var plainRequests atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { plainRequests.Add(1) }))
	defer plain.Close()
	f := registrytest.New()
	f.Before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPost:
			f.Mu.Lock()
			f.Sessions["s"] = []byte{}
			f.Mu.Unlock()
			w.Header().Set("Location", "http://"+r.Host+"/v2/app/system/blobs/uploads/s?_state=a%2Bb")
			w.WriteHeader(202)
			return true
		case r.Method == http.MethodGet:
			http.Redirect(w, r, plain.URL+"/bucket", http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	s := httptest.NewTLSServer(f)
	defer s.Close()
	r := openAt(t, "https://example.com", Options{Insecure: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "example.com:") {
			addr = s.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	packs := 0
	if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(10), &packs)); err != nil {
		t.Error(err)
	}
	_, err := r.GetBlob(t.Context(), ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1})
	if err == nil || !strings.Contains(err.Error(), "redirect from https to "+plain.URL+"/bucket refused") || plainRequests.Load() != 0 {
		t.Errorf("error %v after %d requests in plain text", err, plainRequests.Load())
	}
}

// TestTLSIsNotLeft checks a registry with TLS that names an address of another host without TLS.
// The client must send no request there, and must not retry. The error must say what to fix.
func TestTLSIsNotLeft(t *testing.T) {
	var plainRequests atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plainRequests.Add(1)
		io.WriteString(w, `{"token":"x"}`)
	}))
	defer plain.Close()
	elsewhere := plain.URL + "/v2/app/system/blobs/uploads/s"
	for _, tt := range []struct {
		name   string
		answer func(f *registrytest.Registry, w http.ResponseWriter, r *http.Request) bool
	}{
		{"the upload's Location", func(f *registrytest.Registry, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			w.Header().Set("Location", elsewhere)
			w.WriteHeader(http.StatusAccepted)
			return true
		}},
		{"a redirect of the upload", func(f *registrytest.Registry, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPatch {
				return false
			}
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
			return true
		}},
		{"the Location after the bytes", func(f *registrytest.Registry, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPatch {
				return false
			}
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", elsewhere)
			w.WriteHeader(http.StatusAccepted)
			return true
		}},
		{"the token server", func(f *registrytest.Registry, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+plain.URL+`/token",service="s"`)
			registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "")
			return true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plainRequests.Store(0)
			var answered atomic.Int64
			f := registrytest.New()
			f.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if !tt.answer(f, w, r) {
					return false
				}
				answered.Add(1)
				return true
			}
			s := httptest.NewUnstartedServer(f)
			s.Config.ErrorLog = quiet
			s.StartTLS()
			defer s.Close()
			r := openAt(t, "https://example.com", Options{Insecure: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "example.com:") {
					addr = s.Listener.Addr().String()
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}})
			packs := 0
			_, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(10), &packs))
			if err == nil || !strings.Contains(err.Error(), "directs to "+plain.URL) || !strings.Contains(hint.Of(err), "proxy") {
				t.Errorf("error %v, hint %q", err, hint.Of(err))
			}
			if plainRequests.Load() != 0 {
				t.Errorf("%d requests in plain text", plainRequests.Load())
			}
			if answered.Load() != 1 {
				t.Errorf("asked %d times", answered.Load())
			}
		})
	}
}
