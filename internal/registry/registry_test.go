package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/oci/ocitest"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

// TestRegistries pushes to two independent implementations of a registry, and reads from them.
func TestRegistries(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"fake":                 registrytest.New(),
		"go-containerregistry": ggcr.New(ggcr.Logger(quiet)),
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, h, Options{})
			ctx := t.Context()

			if _, err := r.Resolve(ctx, "v1"); !errors.Is(err, oci.ErrNotFound) {
				t.Fatalf("resolve before the push: %v", err)
			}
			data, calls := ocitest.Content(3_000_000), 0
			got, err := r.PutLayer(ctx, nil, ocitest.Packing(data, &calls))
			if err != nil {
				t.Fatal(err)
			}
			if got != ocitest.PackedOf(data) || calls != 1 {
				t.Errorf("PutLayer = %v after %d calls", got, calls)
			}
			config := ocitest.BlobOf([]byte(`{"os":"linux"}`), ocispec.MediaTypeImageConfig)
			if err := r.PutBlob(ctx, config); err != nil {
				t.Fatal(err)
			}
			m := ocitest.BlobOf([]byte(`{"schemaVersion":2,"mediaType":"`+ocispec.MediaTypeImageManifest+`","config":{"mediaType":"`+
				ocispec.MediaTypeImageConfig+`","digest":"`+config.Descriptor.Digest.String()+`","size":14},"layers":[]}`), ocispec.MediaTypeImageManifest)
			if err := r.PutManifest(ctx, m, ""); err != nil {
				t.Fatal(err)
			}
			if err := r.PutManifest(ctx, m, "v1"); err != nil {
				t.Fatal(err)
			}
			d, err := r.Resolve(ctx, "v1")
			if err != nil || d.Digest != m.Descriptor.Digest || d.Size != m.Descriptor.Size || d.MediaType != m.Descriptor.MediaType {
				t.Errorf("Resolve = %v, %v", d, err)
			}
			for _, target := range []string{"v1", m.Descriptor.Digest.String()} {
				b, err := r.GetManifest(ctx, target)
				if err != nil {
					t.Fatal(err)
				}
				sameBytes(t, "manifest", b.Data, m.Data)
				if b.Descriptor.MediaType != m.Descriptor.MediaType {
					t.Errorf("media type %s", b.Descriptor.MediaType)
				}
			}
			layer := ocispec.Descriptor{Digest: got.Digest, Size: got.Size}
			fresh := openAt(t, "http://"+r.repo.RegistryStr(), Options{})
			if ok, err := fresh.HasBlob(ctx, layer); !ok || err != nil {
				t.Errorf("HasBlob = %v, %v", ok, err)
			}
			if ok, err := fresh.HasBlob(ctx, ocispec.Descriptor{Digest: digest.FromString("no"), Size: 2}); ok || err != nil {
				t.Errorf("HasBlob of another = %v, %v", ok, err)
			}
			rc, err := fresh.GetBlob(ctx, layer)
			if err != nil {
				t.Fatal(err)
			}
			back, err := io.ReadAll(rc)
			if err != nil {
				t.Fatal(err)
			}
			rc.Close()
			sameBytes(t, "layer", back, data)
		})
	}
}

// TestRequests checks the number of requests of a push, because each request costs a round trip.
func TestRequests(t *testing.T) {
	f := registrytest.New()
	r := serve(t, f, Options{})
	ctx := t.Context()
	calls := 0
	if _, err := r.PutLayer(ctx, nil, ocitest.Packing(ocitest.Content(10), &calls)); err != nil {
		t.Fatal(err)
	}
	if n := r.Stats().Requests; n != 3 {
		t.Errorf("a layer took %d requests: %q", n, f.Log)
	}
	if err := r.PutBlob(ctx, ocitest.BlobOf([]byte("{}"), "x")); err != nil {
		t.Fatal(err)
	}
	if n := r.Stats().Requests; n != 5 {
		t.Errorf("layer and config took %d requests: %q", n, f.Log)
	}
	if err := r.PutManifest(ctx, ocitest.BlobOf([]byte("{}"), ocispec.MediaTypeImageIndex), "v1"); err != nil {
		t.Fatal(err)
	}
	before := r.Stats().Requests
	r2 := openAt(t, "http://"+r.repo.RegistryStr(), Options{})
	if _, err := r2.Resolve(ctx, "v1"); err != nil {
		t.Fatal(err)
	}
	// PutManifest asks for the digest of the tag before and after the put.
	if n := r2.Stats().Requests; before != 8 || n != 1 {
		t.Errorf("cold push: %d requests, want 8; unchanged: %d, want 1", before, n)
	}
	if s := r.Stats(); s.BytesSent < 10 || s.BytesReceived < 100 {
		t.Errorf("bytes were not counted: %+v", s)
	}
}

func TestMount(t *testing.T) {
	data := ocitest.Content(100)
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: 100}
	t.Run("from the second", func(t *testing.T) {
		f := registrytest.New()
		f.Blobs["other/two@"+d.Digest.String()] = data
		r := serve(t, f, Options{MountFrom: []string{"other/one", "other/two", "app/system"}})
		if ok, err := r.HasBlob(t.Context(), d); !ok || err != nil {
			t.Fatalf("HasBlob = %v, %v", ok, err)
		}
		sameBytes(t, "mounted", f.Blobs["app/system@"+d.Digest.String()], data)
		// The registry answered the first mount with an open upload session. PutLayer must use this
		// session.
		calls := 0
		if _, err := r.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(10), &calls)); err != nil {
			t.Fatal(err)
		}
		if n := f.Requests("POST"); n != 2 {
			t.Errorf("%d POST requests: %q", n, f.Log)
		}
	})
	t.Run("unused sessions are given back", func(t *testing.T) {
		f := registrytest.New()
		r := serve(t, f, Options{MountFrom: []string{"other/one"}})
		if ok, err := r.HasBlob(t.Context(), d); ok || err != nil {
			t.Fatalf("HasBlob = %v, %v", ok, err)
		}
		r.Close()
		if f.Open() != 0 || f.Deleted != 1 {
			t.Errorf("%d sessions are open, %d were deleted", f.Open(), f.Deleted)
		}
	})
	for _, status := range []int{401, 403, 404, 405} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			f := newFake(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Query().Has("mount") {
					registrytest.Refuse(w, status, "DENIED", "not from there")
					return true
				}
				return false
			})
			r := serve(t, f, Options{MountFrom: []string{"other/one"}})
			for range 2 {
				if ok, err := r.HasBlob(t.Context(), d); ok || err != nil {
					t.Fatalf("HasBlob = %v, %v", ok, err)
				}
			}
			if n := f.Requests("POST"); n != 1 {
				t.Errorf("a repository that refuses was asked %d times", n)
			}
		})
	}
}

func TestReadChecks(t *testing.T) {
	data := ocitest.Content(100_000)
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	flipped := bytes.Clone(data)
	flipped[5000] ^= 1
	tests := map[string]struct {
		serve []byte
		cut   bool
		want  string
	}{
		"good":      {data, false, ""},
		"flipped":   {flipped, false, "the content has digest sha256:"},
		"too long":  {append(bytes.Clone(data), 1), false, "more than 100000 bytes"},
		"too short": {data[:99_999], false, "ended after 99999 of 100000 bytes"},
		"cut":       {data[:50_000], true, "unexpected EOF"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.cut {
					w.Header().Set("Content-Length", "100000")
				}
				w.Write(tt.serve)
				if tt.cut {
					w.(http.Flusher).Flush()
					panic(http.ErrAbortHandler)
				}
			}), Options{})
			rc, err := r.GetBlob(t.Context(), d)
			if err == nil {
				var got []byte
				got, err = io.ReadAll(rc)
				rc.Close()
				if err == nil {
					sameBytes(t, "blob", got, data)
				}
				if errors.Is(err, io.EOF) {
					t.Errorf("%v looks like an end", err)
				}
			}
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), d.Digest.String())):
				t.Errorf("error %v, want one with %q and the digest", err, tt.want)
			}
		})
	}
	t.Run("manifest by digest", func(t *testing.T) {
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"mediaType":"x"}`) }), Options{})
		if _, err := r.GetManifest(t.Context(), d.Digest.String()); err == nil || !strings.Contains(err.Error(), "instead of "+d.Digest.String()) {
			t.Errorf("another manifest was taken: %v", err)
		}
	})
	t.Run("huge manifest", func(t *testing.T) {
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, io.LimitReader(zeroes{}, oci.MaxManifest+1))
		}), Options{})
		if _, err := r.GetManifest(t.Context(), "v1"); err == nil || !strings.Contains(err.Error(), "larger than 4194304 bytes") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("head without a digest", func(t *testing.T) {
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodGet {
				io.WriteString(w, `{"mediaType":"`+ocispec.MediaTypeImageIndex+`"}`)
			}
		}), Options{})
		d, err := r.Resolve(t.Context(), "v1")
		if err != nil || d.MediaType != ocispec.MediaTypeImageIndex || d.Digest != digest.FromString(`{"mediaType":"`+ocispec.MediaTypeImageIndex+`"}`) {
			t.Errorf("Resolve = %v, %v", d, err)
		}
	})
}

var quiet = log.New(io.Discard, "", 0)

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestParseReference(t *testing.T) {
	const d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for in, want := range map[string]string{
		"alpine":                                "index.docker.io/library/alpine:latest",
		"ghcr.io/o/r:v1":                        "ghcr.io/o/r:v1",
		"localhost:5000/a/b":                    "localhost:5000/a/b:latest",
		"h.example/a@" + d:                      "h.example/a@" + d,
		"h.example/a:v2@" + d:                   "h.example/a@" + d,
		"Upper/Case":                            "",
		"h.example/a:":                          "",
		"h.example/a@sha256:123":                "",
		"https://h.example/a":                   "",
		"":                                      "",
		"h.example/" + strings.Repeat("a", 300): "",
	} {
		got, err := ParseReference(in)
		if want == "" {
			if err == nil {
				t.Errorf("ParseReference(%q) = %v, want an error", in, got)
			} else if hint.Of(err) == "" {
				t.Errorf("ParseReference(%q): no hint with %v", in, err)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("ParseReference(%q) = %v, %v, want %s", in, got, err, want)
		}
	}
}

func TestCancelled(t *testing.T) {
	f := registrytest.New()
	r := serve(t, f, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped by the test")
	_, err := r.PutLayer(ctx, nil, func(ctx context.Context, w io.Writer) (got layers.Packed, err error) {
		w.Write(ocitest.Content(10))
		cancel(stop)
		<-ctx.Done()
		return got, ctx.Err()
	})
	if !errors.Is(err, stop) {
		t.Errorf("error %v, want the cause", err)
	}
	if f.Open() != 0 || len(f.Blobs) != 0 {
		t.Errorf("%d sessions and %d blobs are left", f.Open(), len(f.Blobs))
	}
	if n := f.Requests("POST"); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
}
