package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/engine/enginetest"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

func TestMain(m *testing.M) {
	if os.Getenv(enginetest.DirVariable) != "" {
		enginetest.Main()
		return
	}
	os.Exit(m.Run())
}

// world is an engine for tests, and the content of its store.
type world struct {
	t   *testing.T
	dir string
}

func newWorld(t *testing.T) *world {
	w := &world{t, t.TempDir()}
	t.Setenv(enginetest.DirVariable, w.dir)
	return w
}

func (w *world) open(engine Program) *Engine {
	e := New(engine)
	program, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	e.command, e.Platform = program, "linux/arm64"
	return e
}

func (w *world) read(file string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return string(data)
}

// testLayer is a layer that counts how often it is made.
type testLayer struct {
	data   []byte
	digest digest.Digest // of data
	made   atomic.Int64
	wrong  bool // if true, the layer is made with other bytes than before
}

func newLayer(size int, seed uint64) *testLayer {
	data := make([]byte, size)
	chacha := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = chacha.Read(data)
	return &testLayer{data: data, digest: digest.FromBytes(data)}
}

func (l *testLayer) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.digest, Size: int64(len(l.data))}
}

func (l *testLayer) pack(_ context.Context, w io.Writer) (layers.Packed, error) {
	l.made.Add(1)
	data, d := l.data, l.digest
	if l.wrong {
		data = bytes.Repeat([]byte{1}, len(data))
		d = digest.FromBytes(data)
	}
	_, err := w.Write(data)
	return layers.Packed{DiffID: d, Digest: d, Size: int64(len(data)), UncompressedSize: int64(len(data))}, err
}

func blobOf(t *testing.T, mediaType string, v any) oci.Blob {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return oci.Blob{Data: data, Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}}
}

// put puts an image with these layers. The engine gets the layers in offered by their
// digests, with Offer. It packs the layers in made with PutLayer.
func (w *world) put(e *Engine, offered, made []*testLayer, tags ...string) error {
	w.t.Helper()
	ctx := w.t.Context()
	p := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	config, m := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	add := func(l *testLayer) {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l.data))
		m.Layers = append(m.Layers, l.descriptor())
	}
	for _, l := range offered {
		e.Offer(l.descriptor(), l.pack)
		add(l)
	}
	for _, l := range made {
		packed, err := e.PutLayer(ctx, nil, l.pack)
		if err != nil || packed.Digest != l.descriptor().Digest {
			w.t.Fatalf("put layer: %v, %v", packed, err)
		}
		add(l)
	}
	c := blobOf(w.t, ocispec.MediaTypeImageConfig, config)
	m.Config = c.Descriptor
	image := blobOf(w.t, ocispec.MediaTypeImageManifest, m)
	listed := image.Descriptor
	listed.Platform = &p
	index := blobOf(w.t, ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{listed}})
	if err := errors.Join(e.PutBlob(ctx, c), e.PutManifest(ctx, image, ""), e.PutManifest(ctx, index, "")); err != nil {
		w.t.Fatal(err)
	}
	for _, t := range tags {
		if err := e.PutManifest(ctx, index, t); err != nil {
			w.t.Fatal(err)
		}
	}
	return e.Commit(ctx)
}

// TestPull: the engine must ask only for the layers that it lacks. A layer with a known
// digest must be made once, when the engine asks for it. A small layer that was packed for
// its digest must not be made again.
func TestPull(t *testing.T) {
	most := newLayer(maxKept+1, 3)
	for _, engine := range []Program{Docker, Podman} {
		t.Run(string(engine), func(t *testing.T) {
			w := newWorld(t)
			known, small, large := newLayer(1000, 1), newLayer(2000, 2), &testLayer{data: most.data, digest: most.digest}
			if err := w.put(w.open(engine), []*testLayer{known}, []*testLayer{small, large}, "web:1", "web:2"); err != nil {
				t.Fatal(err)
			}
			for what, l := range map[string]*testLayer{"known": known, "small": small} {
				if n := l.made.Load(); n != 1 {
					t.Errorf("the %s layer was made %d times", what, n)
				}
			}
			if n := large.made.Load(); n != 2 { // once to compute the digest, once for the engine
				t.Errorf("the large layer was made %d times", n)
			}
			if a, b := w.read("names/web_1"), w.read("names/web_2"); a != b || !strings.HasPrefix(a, "sha256:") {
				t.Errorf("the engine's images: web:1 %q, web:2 %q", a, b)
			}
			names, err := os.ReadDir(filepath.Join(w.dir, "names"))
			if err != nil || len(names) != 2 {
				t.Errorf("the engine has the names %v, %v", names, err)
			}
			// The next image has one additional layer.
			changed := newLayer(3000, 4)
			if err := w.put(w.open(engine), []*testLayer{known, small, large, changed}, nil, "web:1"); err != nil {
				t.Fatal(err)
			}
			if known.made.Load() != 1 || small.made.Load() != 1 || large.made.Load() != 2 || changed.made.Load() != 1 {
				t.Errorf("an engine that has three of four layers: made %d, %d, %d and %d times", known.made.Load(), small.made.Load(), large.made.Load(), changed.made.Load())
			}
			if strings.Contains(w.read("log"), "--tls-verify=false") != (engine == Podman) {
				t.Errorf("commands:\n%s", w.read("log"))
			}
			if !strings.Contains(w.read("log"), "--platform linux/arm64 ") {
				t.Errorf("commands:\n%s", w.read("log"))
			}
		})
	}
}

// TestUnreached: an engine that cannot reach this machine must get an archive.
func TestUnreached(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.dir, "remote"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	e := w.open(Docker)
	var warned error
	e.Warn = func(err error) { warned = err }
	known, made := newLayer(1000, 1), newLayer(2000, 2)
	if err := w.put(e, []*testLayer{known}, []*testLayer{made}, "web:1"); err != nil {
		t.Fatal(err)
	}
	if warned == nil || !strings.Contains(warned.Error(), "did not ask for the image") {
		t.Errorf("warned of %v", warned)
	}
	archive := w.read("loaded")
	for _, want := range []string{"manifest.json", `"web:1"`, string(known.data), string(made.data), known.descriptor().Digest.Encoded()} {
		if !strings.Contains(archive, want) {
			t.Errorf("the archive of %d bytes has no %.20q", len(archive), want)
		}
	}
}

// TestOtherContent: a layer that is made with other bytes than before must end the pull. The
// error must name the layer, and no image may get the name.
func TestOtherContent(t *testing.T) {
	w := newWorld(t)
	l := newLayer(100_000, 1)
	l.wrong = true
	err := w.put(w.open(Docker), []*testLayer{l}, nil, "web:1")
	if !errors.Is(err, oci.ErrOtherContent) || !strings.Contains(err.Error(), l.descriptor().Digest.String()) {
		t.Errorf("the error is %v", err)
	}
	if w.read("names/web_1") != "" {
		t.Error("the image has its name")
	}
}

// TestHeldBack checks that a client gets all bytes of a layer only if its digest is right.
func TestHeldBack(t *testing.T) {
	want := []byte("0123456789")
	for name, content := range map[string]string{
		"the layer":       "0123456789",
		"as many bytes":   "012345678x",
		"fewer bytes":     "012345678",
		"more bytes":      "01234567890",
		"many more bytes": "0123456789" + strings.Repeat("x", 100_000),
		"nothing":         "",
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			d := digest.FromString(content)
			e := New(Docker)
			e.Offer(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(want), Size: int64(len(want))}, func(_ context.Context, w io.Writer) (layers.Packed, error) {
				for piece := range slices.Chunk([]byte(content), size) {
					if _, err := w.Write(piece); err != nil {
						return layers.Packed{}, err
					}
				}
				return layers.Packed{Digest: d, Size: int64(len(content))}, nil
			})
			var failed error
			s := &server{engine: e, repository: "nixoci/secret", failed: func(err error) { failed = err }}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/nixoci/secret/blobs/"+string(digest.FromBytes(want)), nil))
			if right := content == string(want); right != (failed == nil) || right != (w.Body.String() == string(want)) || !right && !errors.Is(failed, oci.ErrOtherContent) {
				t.Errorf("%s, %d at once: the client gets %q, and the error is %v", name, size, w.Body, failed)
			}
		}
	}
}

// TestServer: a client that does not know the name of the repository must get nothing.
func TestServer(t *testing.T) {
	e := New(Docker)
	l := newLayer(10, 1)
	e.Offer(l.descriptor(), l.pack)
	s := &server{engine: e, repository: "nixoci/secret", failed: func(err error) { t.Error(err) }}
	for path, want := range map[string]int{
		"GET /v2/": 200,
		"GET /v2/nixoci/secret/blobs/" + l.descriptor().Digest.String():  200,
		"HEAD /v2/nixoci/secret/blobs/" + l.descriptor().Digest.String(): 200,
		"GET /v2/nixoci/other/blobs/" + l.descriptor().Digest.String():   404,
		"GET /v2/nixoci/secret/manifests/latest":                         404,
		"GET /v2/_catalog":                                               404,
		"PUT /v2/nixoci/secret/manifests/latest":                         405,
		"GET /v2/nixoci/secret/../secret/blobs/sha256:aa":                404,
	} {
		method, target, _ := strings.Cut(path, " ")
		w := httptest.NewRecorder()
		q, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.ServeHTTP(w, q)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
		if method == http.MethodHead && w.Body.Len() > 0 {
			t.Errorf("%s has a body", path)
		}
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]string{
		"docker-daemon:web":                    "docker web:latest",
		"docker-daemon:web:1.2":                "docker web:1.2",
		"docker-daemon:ghcr.io/org/web:1.2":    "docker ghcr.io/org/web:1.2",
		"docker-daemon:localhost:5000/web":     "docker localhost:5000/web:latest",
		"containers-storage:web:1.2":           "podman web:1.2",
		"docker-daemon:":                       "",
		"docker-daemon:Web":                    "",
		"docker-daemon:web:1.2:3":              "",
		"docker-daemon:web@" + string(aDigest): "",
		"containers-storage:[overlay@/x]web":   "",
	} {
		if !IsDestination(s) {
			t.Errorf("%s is no destination", s)
		}
		engine, tag, err := Parse(s)
		if got := strings.TrimSpace(fmt.Sprint(engine, " ", tag)); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%s: %q, %v", s, got, err)
		}
	}
	if IsDestination("oci:web") || IsDestination("docker-daemon") {
		t.Error("other destinations are not an engine's")
	}
}

const aDigest = digest.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
