package push

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
	"github.com/nixoci/nixoci/internal/retry"
)

// treeSource is a store in memory, in which each path is one file. It counts how often paths are
// read.
type treeSource struct {
	content map[closure.StorePath][]byte
	reads   atomic.Int64
}

func (s *treeSource) Closure(context.Context, []closure.StorePath) (*closure.Closure, error) {
	return nil, errors.New("not asked for")
}

func (s *treeSource) Tree(_ context.Context, info *closure.Info, v nar.Visitor) error {
	s.reads.Add(1)
	b := s.content[info.Path]
	return v.File("", false, int64(len(b)), bytes.NewReader(b))
}

func storePath(t *testing.T, name, content string) closure.StorePath {
	t.Helper()
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	sum := sha256.Sum256([]byte(name + content))
	hash := make([]byte, 32)
	for i := range hash {
		hash[i] = digits[sum[i]%32]
	}
	p, err := closure.ParseStoreBase(string(hash) + "-" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sampleImage returns a system with some packages. versions sets the content of a package.
func sampleImage(t *testing.T, src *treeSource, arch string, versions map[string]string) PlannedSystem {
	t.Helper()
	var infos []closure.Info
	add := func(name, content string, refs ...closure.StorePath) closure.StorePath {
		p := storePath(t, name, content)
		src.content[p] = []byte(content)
		var archive bytes.Buffer
		w := nar.NewWriter(&archive)
		must(t, w.File("", false, int64(len(content)), strings.NewReader(content)))
		must(t, w.Close())
		infos = append(infos, closure.Info{Path: p, NarHash: sha256.Sum256(archive.Bytes()), NarSize: int64(archive.Len()), References: refs})
		return p
	}
	var refs []closure.StorePath
	for _, n := range []string{"glibc-2.36", "nginx-1.26", "openssl-3.0", "bash-5.2"} {
		refs = append(refs, add(n, strings.Repeat(n+versions[n]+arch, 1000)))
	}
	top := add("nixos-system-web-26.05", fmt.Sprint(arch, versions), refs...)
	c, err := closure.New([]closure.StorePath{top}, infos)
	must(t, err)
	plan, err := plan.New(c, plan.Options{MaxLayers: 10})
	must(t, err)
	return PlannedSystem{Plan: plan, System: &manifest.System{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch}, Toplevel: top, NarHash: c.Info(top).NarHash, Closure: c, Source: src, Own: "init",
	}}
}

// memoryRegistry is a registry that counts requests and can refuse them.
type memoryRegistry struct {
	*httptest.Server
	requests atomic.Int64
	deny     func(*http.Request) bool
	refuse   func(*http.Request) (status int, code string)
	mu       sync.Mutex
	log      []string
}

func newMemoryRegistry(t *testing.T) *memoryRegistry {
	m := &memoryRegistry{}
	h := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		m.mu.Lock()
		m.log = append(m.log, r.Method+" "+r.URL.Path)
		m.mu.Unlock()
		if m.deny != nil && m.deny(r) {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"no"}]}`, http.StatusForbidden)
			return
		}
		if m.refuse != nil {
			if status, code := m.refuse(r); status != 0 {
				http.Error(w, `{"errors":[{"code":"`+code+`","message":"no"}]}`, status)
				return
			}
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func samplePacked(s string) layers.Packed {
	return layers.Packed{DiffID: digest.FromString(s), Digest: digest.FromString("z" + s), Size: 10, UncompressedSize: 20}
}

// atOnce tries a request again without a pause.
var atOnce = retry.Schedule{Delay: func(int) time.Duration { return 0 }}

func (m *memoryRegistry) open(t *testing.T) *registry.Repository {
	t.Helper()
	repo, err := name.NewRepository(strings.TrimPrefix(m.URL, "http://") + "/org/web")
	must(t, err)
	r, err := registry.Open(repo, registry.Options{Retry: atOnce})
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// samplePacker is the packer of most tests. They share its blocks, because allocating them for
// every push would take longer than packing the small samples. A test in a synctest bubble needs
// another packer, because the blocks contain channels.
var samplePacker = layers.NewPacker(0)

func sampleOptions(cache *cache.Cache) Options {
	return Options{Compression: layers.DefaultCompression(), Tags: []string{"latest"}, Cache: cache, Packer: samplePacker}
}

func count(r Result, outcome Outcome) (n int) {
	for _, l := range r.Layers {
		if l.Outcome == outcome {
			n++
		}
	}
	return n
}

func TestPushTwoPlatformsThenNothing(t *testing.T) {
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	images := []PlannedSystem{sampleImage(t, src, "amd64", nil), sampleImage(t, src, "arm64", nil)}
	local := cache.Open(t.TempDir())
	first, err := Push(t.Context(), reg.open(t), images, sampleOptions(local))
	must(t, err)
	if first.Unchanged || count(first, Made) != 12 || len(first.Platforms) != 2 {
		t.Errorf("first push: %+v", first)
	}

	src.reads.Store(0)
	reg.log = nil
	second, err := Push(t.Context(), reg.open(t), images, sampleOptions(local))
	must(t, err)
	if !second.Unchanged || second.Index.Digest != first.Index.Digest || src.reads.Load() != 0 {
		t.Errorf("second push: %+v, %d reads", second, src.reads.Load())
	}
	if len(reg.log) > 1+len(images)+presenceSample {
		t.Errorf("second push: %d requests: %s", len(reg.log), reg.log)
	}

	// A machine with an empty cache must ask the registry.
	reg.log = nil
	repo := reg.open(t)
	opts := sampleOptions(cache.Open(t.TempDir()))
	opts.Reuse = []*Remote{NewRemote(repo, "latest")}
	opts.Packer = nil // Push makes its own packer
	third, err := Push(t.Context(), repo, images, opts)
	must(t, err)
	if !third.Unchanged || third.Index.Digest != first.Index.Digest || src.reads.Load() != 0 || len(reg.log) > 3 {
		t.Errorf("fresh machine: %+v, %d reads, requests %s", third, src.reads.Load(), reg.log)
	}

	// A push without reuse must make all layers, and the digest must be the same.
	fourth, err := Push(t.Context(), reg.open(t), images, sampleOptions(nil))
	must(t, err)
	if fourth.Unchanged || count(fourth, Made) != 12 || fourth.Index.Digest != first.Index.Digest {
		t.Errorf("without reuse: %+v", fourth)
	}
}

func TestPushMakesOnlyWhatChanged(t *testing.T) {
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	before := sampleImage(t, src, "amd64", nil)
	_, err := Push(t.Context(), reg.open(t), []PlannedSystem{before}, sampleOptions(nil))
	must(t, err)

	after := sampleImage(t, src, "amd64", map[string]string{"nginx-1.26": "patched"})
	repo := reg.open(t)
	opts := sampleOptions(cache.Open(t.TempDir()))
	opts.Reuse = []*Remote{NewRemote(repo, "latest")}
	src.reads.Store(0)
	got, err := Push(t.Context(), repo, []PlannedSystem{after}, opts)
	must(t, err)
	// The push must make the layers of nginx and of the toplevel, and the system layer.
	if count(got, Made) != 3 || count(got, Reused) != 3 || src.reads.Load() != 2 {
		t.Errorf("%d made, %d reused, %d paths read", count(got, Made), count(got, Reused), src.reads.Load())
	}
	fresh, err := Push(t.Context(), newMemoryRegistry(t).open(t), []PlannedSystem{after}, sampleOptions(nil))
	must(t, err)
	if fresh.Index.Digest != got.Index.Digest {
		t.Errorf("reused %s, made %s", got.Index.Digest, fresh.Index.Digest)
	}
}

// TestPushKnownButGone checks that a push makes a layer again if the cache knows its result but the
// registry has lost the layer. If the cache entry is wrong, the push must correct it.
func TestPushKnownButGone(t *testing.T) {
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	image := sampleImage(t, src, "amd64", nil)
	cache := cache.Open(t.TempDir())
	first, err := Push(t.Context(), newMemoryRegistry(t).open(t), []PlannedSystem{image}, sampleOptions(cache))
	must(t, err)
	again, err := Push(t.Context(), newMemoryRegistry(t).open(t), []PlannedSystem{image}, sampleOptions(cache))
	must(t, err)
	if count(again, Made) != 6 || again.Index.Digest != first.Index.Digest {
		t.Errorf("another registry: %+v", again)
	}
	wrong := samplePacked("wrong")
	must(t, cache.PutLayer(first.Layers[0].Layer.Recipe, wrong))
	healed, err := Push(t.Context(), newMemoryRegistry(t).open(t), []PlannedSystem{image}, sampleOptions(cache))
	must(t, err)
	if healed.Index.Digest != first.Index.Digest {
		t.Errorf("a wrong cache entry reached the image")
	}
	if p, ok := cache.Layer(first.Layers[0].Layer.Recipe); !ok || p != first.Layers[0].Packed {
		t.Errorf("the wrong entry was not corrected: %+v, %v", p, ok)
	}
}

// TestPushTagsNothingWhenItFails checks two failures. In the first, the content of a path does not
// match its narHash. In the second, the registry refuses a request during the push. No tag may
// change.
func TestPushTagsNothingWhenItFails(t *testing.T) {
	t.Run("corrupt path", func(t *testing.T) {
		reg := newMemoryRegistry(t)
		src := &treeSource{content: map[closure.StorePath][]byte{}}
		image := sampleImage(t, src, "amd64", nil)
		bad := image.System.Closure.Paths[2].Path
		src.content[bad] = bytes.Clone(src.content[bad])
		src.content[bad][7] ^= 1
		_, err := Push(t.Context(), reg.open(t), []PlannedSystem{image}, sampleOptions(cache.Open(t.TempDir())))
		var mismatch *closure.HashMismatchError
		if !errors.As(err, &mismatch) || mismatch.Path != bad || !strings.Contains(err.Error(), string(bad)) {
			t.Errorf("%v", err)
		}
		checkNoManifest(t, reg)
	})
	t.Run("manifest refused", func(t *testing.T) {
		reg := newMemoryRegistry(t)
		reg.deny = func(r *http.Request) bool {
			return r.Method == "PUT" && strings.Contains(r.URL.Path, "/manifests/sha256:")
		}
		src := &treeSource{content: map[closure.StorePath][]byte{}}
		_, err := Push(t.Context(), reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, sampleOptions(nil))
		if err == nil || !strings.Contains(err.Error(), "DENIED") {
			t.Errorf("%v", err)
		}
		reg.deny = nil
		if _, err := reg.open(t).Resolve(t.Context(), "latest"); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("the tag is there: %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		reg := newMemoryRegistry(t)
		ctx, cancel := context.WithCancel(t.Context())
		reg.deny = func(r *http.Request) bool {
			if r.Method == "PATCH" {
				cancel()
			}
			return false
		}
		src := &treeSource{content: map[closure.StorePath][]byte{}}
		opts := sampleOptions(nil)
		opts.WholeLayers = -1
		if _, err := Push(ctx, reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, opts); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		checkNoManifest(t, reg)
	})
}

func checkNoManifest(t *testing.T, reg *memoryRegistry) {
	t.Helper()
	for _, line := range reg.log {
		if strings.HasPrefix(line, "PUT") && strings.Contains(line, "/manifests/") {
			t.Errorf("a manifest was put: %s", line)
		}
	}
}

// TestJoinKeepsBoth checks two machines that join the same index at the same moment. In the end the
// index must list both platforms.
func TestJoinKeepsBoth(t *testing.T) {
	for range 3 {
		inWorld(t, false, func(w *world) {
			images := []PlannedSystem{sampleImage(t, w.src, "amd64", nil), sampleImage(t, w.src, "arm64", nil)}
			var wg sync.WaitGroup
			for _, image := range images {
				wg.Go(func() {
					opts := sampleOptions(nil)
					opts.Tags, opts.Join, opts.Packer = []string{worldTag}, true, nil
					r := w.open()
					defer r.Close()
					if _, err := Push(context.WithoutCancel(t.Context()), r, []PlannedSystem{image}, opts); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			joined := w.tag()
			w.reg = registrytest.New()
			want, err := w.push(images, nil)
			must(t, err)
			if joined != want.Index.Digest {
				t.Errorf("joined %s, pushed in one go %s", joined, want.Index.Digest)
			}
		})
	}
}

// TestPushWhileOthersPushTheSame checks that a push continues if the registry refuses a correct
// manifest. A registry may refuse it while another push writes the same blobs.
func TestPushWhileOthersPushTheSame(t *testing.T) {
	for _, code := range []string{"DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"} {
		reg := newMemoryRegistry(t)
		refused := 0
		reg.refuse = func(r *http.Request) (int, string) {
			if r.Method == "PUT" && strings.Contains(r.URL.Path, "/manifests/sha256:") && refused < 2 {
				refused++
				return http.StatusBadRequest, code
			}
			return 0, ""
		}
		src := &treeSource{content: map[closure.StorePath][]byte{}}
		if _, err := Push(t.Context(), reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, sampleOptions(nil)); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		if refused != 2 {
			t.Errorf("%s: refused %d times", code, refused)
		}
	}
}

// TestMixed checks the order of uploads. The largest layers must come first, every fourth layer
// must be the smallest of the rest, and none may be missing.
func TestMixed(t *testing.T) {
	var todo []*pushedLayer
	for _, size := range []int64{1, 9, 2, 8, 3, 7, 4, 6, 5} {
		todo = append(todo, &pushedLayer{LayerResult: LayerResult{Layer: &layers.Layer{Size: size}}})
	}
	var got []int64
	for _, l := range mixed(todo) {
		got = append(got, l.Layer.Size)
	}
	if want := []int64{9, 8, 7, 1, 6, 5, 4, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
