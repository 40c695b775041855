package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

// forgery holds an image in a registry, which a test changes.
type forgery struct {
	t      *testing.T
	repo   *registry.Repository
	index  ocispec.Index
	amd64  ocispec.Manifest
	config []byte // the original config, until the test changes it
	ids    []digest.Digest
}

func forge(t *testing.T, repo *registry.Repository) *forgery {
	f := &forgery{t: t, repo: repo}
	f.read("latest", &f.index)
	f.read(f.index.Manifests[0].Digest.String(), &f.amd64)
	var err error
	f.config, err = readConfig(t.Context(), repo, f.amd64.Config)
	must(t, err)
	var config ocispec.Image
	must(t, json.Unmarshal(f.config, &config))
	f.ids = config.RootFS.DiffIDs
	return f
}

// setIDs replaces the diffIDs in the config.
func (f *forgery) setIDs(ids []digest.Digest) {
	before, err := json.Marshal(f.ids)
	must(f.t, err)
	after, err := json.Marshal(ids)
	must(f.t, err)
	f.replace(string(before), string(after))
	f.ids = ids
}

func (f *forgery) replace(before, after string) {
	if !bytes.Contains(f.config, []byte(before)) {
		f.t.Fatalf("the config does not have %s", before)
	}
	f.config = bytes.Replace(f.config, []byte(before), []byte(after), 1)
}

func (f *forgery) read(target string, into any) {
	blob, err := f.repo.GetManifest(f.t.Context(), target)
	must(f.t, err)
	must(f.t, json.Unmarshal(blob.Data, into))
}

func (f *forgery) blob(mediaType string, v any) oci.Blob {
	data, raw := v.([]byte)
	if !raw {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // nixoci writes its own JSON like this
		must(f.t, e.Encode(v))
		data = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	}
	return oci.Blob{Data: data, Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}}
}

// put writes the changed image under the tag. Its config, manifest and index match each other.
func (f *forgery) put() {
	config := f.blob(f.amd64.Config.MediaType, f.config)
	must(f.t, f.repo.PutBlob(f.t.Context(), config))
	f.amd64.Config = config.Descriptor
	m := f.blob(f.amd64.MediaType, f.amd64)
	must(f.t, f.repo.PutManifest(f.t.Context(), m, ""))
	f.index.Manifests[0].Digest, f.index.Manifests[0].Size = m.Descriptor.Digest, m.Descriptor.Size
	f.putIndex()
}

func (f *forgery) putIndex() {
	must(f.t, f.repo.PutManifest(f.t.Context(), f.blob(f.index.MediaType, f.index), "latest"))
}

// swap replaces the blob of layer to by the blob of layer from, and keeps the recipe of layer to.
func (f *forgery) swap(to, from int) {
	d, is := f.amd64.Layers[from], f.amd64.Layers[to]
	d.Annotations = maps.Clone(d.Annotations)
	for k, v := range is.Annotations {
		if k != manifest.AnnotationDiffID && k != manifest.AnnotationTarSize {
			d.Annotations[k] = v
		}
	}
	f.amd64.Layers[to] = d
	ids := slices.Clone(f.ids)
	ids[to] = ids[from]
	f.setIDs(ids)
}

// TestForgeryIsFaithful checks that a forgery without changes has the same digest as the original
// image. So the tests below change only what they intend to change.
func TestForgeryIsFaithful(t *testing.T) {
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	first, err := Push(t.Context(), reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, sampleOptions(nil))
	must(t, err)
	forge(t, reg.open(t)).put()
	now, err := reg.open(t).Resolve(t.Context(), "latest")
	must(t, err)
	if now.Digest != first.Index.Digest {
		t.Errorf("it is %s, not %s", now.Digest, first.Index.Digest)
	}
}

// TestForgedTagIsNotBelieved checks an image with the right recipe but with other content. The push
// must not treat this image as unchanged, and must replace it.
func TestForgedTagIsNotBelieved(t *testing.T) {
	last := func(f *forgery) int { return len(f.amd64.Layers) - 1 }
	for name, change := range map[string]func(*forgery){
		"other entrypoint": func(f *forgery) { f.replace(`"Entrypoint":["/sbin/init"]`, `"Entrypoint":["/bin/evil"]`); f.put() },
		"other layer order": func(f *forgery) {
			f.amd64.Layers[0], f.amd64.Layers[1] = f.amd64.Layers[1], f.amd64.Layers[0]
			ids := slices.Clone(f.ids)
			ids[0], ids[1] = ids[1], ids[0]
			f.setIDs(ids)
			f.put()
		},
		"a layer more":               func(f *forgery) { f.amd64.Layers = append(f.amd64.Layers, f.amd64.Layers[0]); f.put() },
		"a layer less":               func(f *forgery) { f.amd64.Layers = f.amd64.Layers[1:]; f.put() },
		"another system layer":       func(f *forgery) { f.swap(last(f), 0); f.put() },
		"an annotation of the index": func(f *forgery) { f.index.Annotations["org.opencontainers.image.title"] = "x"; f.putIndex() },
		"the other platform's image": func(f *forgery) {
			f.index.Manifests[0].Digest = f.index.Manifests[1].Digest
			f.index.Manifests[0].Size = f.index.Manifests[1].Size
			f.putIndex()
		},
		"a platform less":             func(f *forgery) { f.index.Manifests = f.index.Manifests[:1]; f.putIndex() },
		"an annotation of a manifest": func(f *forgery) { f.amd64.Annotations["x"] = "y"; f.put() },
		"a platform twice":            func(f *forgery) { f.index.Manifests = append(f.index.Manifests, f.index.Manifests[0]); f.putIndex() },
		"a platform twice, the other image first": func(f *forgery) {
			d := f.index.Manifests[0]
			d.Digest, d.Size = f.index.Manifests[1].Digest, f.index.Manifests[1].Size
			f.index.Manifests = append([]ocispec.Descriptor{d}, f.index.Manifests...)
			f.putIndex()
		},
		"the platforms swapped": func(f *forgery) {
			f.index.Manifests[0].Platform, f.index.Manifests[1].Platform = f.index.Manifests[1].Platform, f.index.Manifests[0].Platform
			f.putIndex()
		},
		"the other platform's config": func(f *forgery) {
			var other ocispec.Manifest
			f.read(f.index.Manifests[1].Digest.String(), &other)
			var err error
			f.config, err = readConfig(f.t.Context(), f.repo, other.Config)
			must(f.t, err)
			f.put()
		},
		"Docker's index":             func(f *forgery) { f.index.MediaType = mediatype.DockerList; f.putIndex() },
		"Docker's manifest":          func(f *forgery) { f.amd64.MediaType = mediatype.DockerManifest; f.put() },
		"a wrong size of a manifest": func(f *forgery) { f.index.Manifests[0].Size++; f.putIndex() },
		"a config that is none":      func(f *forgery) { f.config = []byte("null"); f.put() },
		"no annotations of layers": func(f *forgery) {
			for i := range f.amd64.Layers {
				f.amd64.Layers[i].Annotations = nil
			}
			f.put()
		},
		"no annotations of the index": func(f *forgery) { f.index.Annotations = nil; f.putIndex() },
		"the recipe of another layer": func(f *forgery) {
			f.amd64.Layers[0].Annotations[manifest.AnnotationRecipe] = f.amd64.Layers[1].Annotations[manifest.AnnotationRecipe]
			f.put()
		},
	} {
		for _, join := range []bool{false, true} {
			if join && (strings.HasSuffix(name, " of the index") || strings.HasPrefix(name, "a platform ") || name == "Docker's index") {
				continue // a joined index also contains platforms of other pushes
			}
			t.Run(name, func(t *testing.T) {
				reg := newMemoryRegistry(t)
				src := &treeSource{content: map[closure.StorePath][]byte{}}
				images := []PlannedSystem{sampleImage(t, src, "amd64", nil), sampleImage(t, src, "arm64", nil)}
				honest, err := Push(t.Context(), reg.open(t), images, sampleOptions(nil))
				must(t, err)
				change(forge(t, reg.open(t)))

				repo := reg.open(t)
				opts := sampleOptions(cache.Open(t.TempDir()))
				opts.Reuse, opts.Join, opts.Settle = []*Remote{NewRemote(repo, "latest")}, join, time.Millisecond
				got, err := Push(t.Context(), repo, images, opts)
				must(t, err)
				if got.Unchanged || got.Index.Digest != honest.Index.Digest {
					t.Errorf("the push gave %s (unchanged: %v), the image is %s", got.Index.Digest, got.Unchanged, honest.Index.Digest)
				}
				now, err := reg.open(t).Resolve(t.Context(), "latest")
				must(t, err)
				if now.Digest != honest.Index.Digest {
					t.Errorf("the tag names %s, the image is %s", now.Digest, honest.Index.Digest)
				}
			})
		}
	}
}

// TestDamagedRegistry checks a push with --reuse-check from a machine with an empty cache. It must
// put back the blobs that the registry has lost or truncated.
func TestDamagedRegistry(t *testing.T) {
	const repo = "org/web"
	for damaged, damage := range map[string]func(reg *registrytest.Registry, blob string){
		"gone": func(reg *registrytest.Registry, blob string) { delete(reg.Blobs, blob) },
		"cut short": func(reg *registrytest.Registry, blob string) {
			reg.Blobs[blob] = reg.Blobs[blob][:len(reg.Blobs[blob])/2]
		},
		"empty": func(reg *registrytest.Registry, blob string) { reg.Blobs[blob] = nil },
	} {
		t.Run(damaged, func(t *testing.T) {
			reg := registrytest.New()
			s := httptest.NewServer(reg)
			defer s.Close()
			open := func() *registry.Repository {
				n, err := name.NewRepository(strings.TrimPrefix(s.URL, "http://") + "/" + repo)
				must(t, err)
				r, err := registry.Open(n, registry.Options{Keychain: account{}, Retry: atOnce})
				must(t, err)
				t.Cleanup(func() { r.Close() })
				return r
			}
			src := &treeSource{content: map[closure.StorePath][]byte{}}
			images := []PlannedSystem{sampleImage(t, src, "amd64", nil), sampleImage(t, src, "arm64", nil)}
			first, err := Push(t.Context(), open(), images, sampleOptions(nil))
			must(t, err)
			must(t, reg.Check(repo, "latest"))
			for _, blob := range slices.Sorted(maps.Keys(reg.Blobs)) {
				good := reg.Blobs[blob]
				damage(reg, blob)
				if reg.Check(repo, "latest") == nil {
					t.Fatalf("without %s the image is whole", blob)
				}
				r := open()
				opts := sampleOptions(cache.Open(t.TempDir()))
				opts.Reuse, opts.ReuseCheck = []*Remote{NewRemote(r, "latest")}, 1
				got, err := Push(t.Context(), r, images, opts)
				must(t, err)
				if got.Index.Digest != first.Index.Digest {
					t.Errorf("%s: the push gave %s", blob, got.Index.Digest)
				}
				if err := reg.Check(repo, "latest"); err != nil {
					t.Errorf("%s is not mended: %v", blob, err)
				}
				reg.Blobs[blob] = good
			}
		})
	}
}

// TestForgedLayerIsFound checks layers whose only source is the registry. If such a layer is small
// and the store is on this machine, the push must make it again. If the layer is wrong, the push
// must fail, whether the image changed or not.
func TestForgedLayerIsFound(t *testing.T) {
	swapped := func(f *forgery, stores []int) {
		for _, i := range stores { // forge all store layers, because the push chooses at random which layers it checks
			f.swap(i, stores[(i+1)%len(stores)])
		}
	}
	resized := func(f *forgery, stores []int) {
		for _, i := range stores {
			f.amd64.Layers[i].Size++
		}
	}
	for name, c := range map[string]struct {
		versions map[string]string
		change   func(*forgery, []int)
	}{
		"unchanged image":              {nil, swapped},
		"changed image":                {map[string]string{"bash-5.2": "patched"}, swapped},
		"wrong sizes":                  {nil, resized},
		"wrong sizes in another image": {map[string]string{"bash-5.2": "patched"}, resized},
	} {
		t.Run(name, func(t *testing.T) {
			reg := newMemoryRegistry(t)
			src := &treeSource{content: map[closure.StorePath][]byte{}}
			_, err := Push(t.Context(), reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, sampleOptions(nil))
			must(t, err)
			f := forge(t, reg.open(t))
			c.change(f, storeLayers(f.amd64))
			f.put()
			before, err := reg.open(t).Resolve(t.Context(), "latest")
			must(t, err)

			repo := reg.open(t)
			opts := sampleOptions(cache.Open(t.TempDir()))
			opts.Reuse, opts.SampleClaims = []*Remote{NewRemote(repo, "latest")}, true
			_, err = Push(t.Context(), repo, []PlannedSystem{sampleImage(t, src, "amd64", c.versions)}, opts)
			if !errors.Is(err, oci.ErrOtherContent) || !strings.Contains(err.Error(), "sha256:") {
				t.Errorf("the push ended with %v", err)
			}
			now, err := reg.open(t).Resolve(t.Context(), "latest")
			must(t, err)
			if now.Digest != before.Digest {
				t.Errorf("the tag moved to %s", now.Digest)
			}
		})
	}
}

// storeLayers returns the indexes of the layers with store paths, which are all layers except the
// system layer.
func storeLayers(m ocispec.Manifest) []int {
	var all []int
	for i := range m.Layers[:len(m.Layers)-1] {
		all = append(all, i)
	}
	return all
}

// pushedSample pushes the sample image for amd64 to a new registry.
func pushedSample(t *testing.T) (*memoryRegistry, *treeSource, []PlannedSystem, Result) {
	t.Helper()
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	images := []PlannedSystem{sampleImage(t, src, "amd64", nil)}
	result, err := Push(t.Context(), reg.open(t), images, sampleOptions(nil))
	must(t, err)
	return reg, src, images, result
}

// TestSignatureIsRequired checks a push with a key. The push must not use an image without a
// signature by this key. It must use an image with such a signature, and make no random sample of
// its layers again.
func TestSignatureIsRequired(t *testing.T) {
	reg, src, images, first := pushedSample(t)
	for name, signed := range map[string]bool{"signed": true, "not signed": false} {
		t.Run(name, func(t *testing.T) {
			repo := reg.open(t)
			opts := sampleOptions(cache.Open(t.TempDir()))
			opts.Signed = func(_ context.Context, _ oci.Reader, d ocispec.Descriptor) error {
				if d.Digest != first.Index.Digest {
					t.Errorf("asked for the signature of %s", d.Digest)
				}
				if !signed {
					return errors.New("no signature")
				}
				return nil
			}
			opts.AddReuse(NewRemote(repo, "latest"))
			opts.SampleClaims = true
			var warned []error
			opts.Warn = func(err error) { warned = append(warned, err) }
			src.reads.Store(0)
			got, err := Push(t.Context(), repo, images, opts)
			must(t, err)
			if got.Unchanged != signed || got.Index.Digest != first.Index.Digest {
				t.Errorf("unchanged: %v, %s", got.Unchanged, got.Index.Digest)
			}
			if signed && (src.reads.Load() != 0 || len(warned) > 0) {
				t.Errorf("%d paths were read; warnings: %v", src.reads.Load(), warned)
			}
			if !signed && (count(got, Reused) > 0 || len(warned) == 0) {
				t.Errorf("%d layers reused without a signature; warnings: %v", count(got, Reused), warned)
			}
		})
	}
}

// TestSignatureOfNewestImages checks that a push with a signature check reuses no layer of an unsigned
// image that it found by itself.
func TestSignatureOfNewestImages(t *testing.T) {
	reg, _, images, first := pushedSample(t)
	for name, signed := range map[string]bool{"signed": true, "not signed": false} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			opts := sampleOptions(cache.Open(t.TempDir()))
			opts.Tags = []string{"other"}
			opts.Signed = func(_ context.Context, _ oci.Reader, d ocispec.Descriptor) error {
				if asked.Add(1); d.Digest != first.Index.Digest || !signed {
					return errors.New("no signature")
				}
				return nil
			}
			repo := reg.open(t)
			opts.ReuseNewest = repo
			got, err := Push(t.Context(), repo, images, opts)
			must(t, err)
			if reused := count(got, Reused) > 0; reused != signed || asked.Load() == 0 {
				t.Errorf("%d layers reused, %d signatures checked", count(got, Reused), asked.Load())
			}
		})
	}
}

// TestLostPiecesArePutBack checks that a push notices and puts back parts of an image that the
// registry has lost.
func TestLostPiecesArePutBack(t *testing.T) {
	setup := func(t *testing.T) (*memoryRegistry, *treeSource, []PlannedSystem, Result, *cache.Cache) {
		reg := newMemoryRegistry(t)
		src := &treeSource{content: map[closure.StorePath][]byte{}}
		images := []PlannedSystem{sampleImage(t, src, "amd64", nil), sampleImage(t, src, "arm64", nil)}
		local := cache.Open(t.TempDir())
		first, err := Push(t.Context(), reg.open(t), images, sampleOptions(local))
		must(t, err)
		return reg, src, images, first, local
	}
	for name, fresh := range map[string]bool{"a machine that pushed it": false, "a fresh machine": true} {
		t.Run("manifest, "+name, func(t *testing.T) {
			reg, _, images, first, local := setup(t)
			lost := "/manifests/" + first.Platforms[1].Digest.String()
			put := false
			reg.refuse = func(r *http.Request) (int, string) {
				switch {
				case !strings.HasSuffix(r.URL.Path, lost) || put:
				case r.Method == http.MethodPut:
					put = true
				default:
					return http.StatusNotFound, "MANIFEST_UNKNOWN"
				}
				return 0, ""
			}
			repo := reg.open(t)
			opts := sampleOptions(local)
			if fresh {
				opts.Cache = cache.Open(t.TempDir())
			}
			opts.Reuse = []*Remote{NewRemote(repo, "latest")}
			var warned []error
			opts.Warn = func(err error) { warned = append(warned, err) }
			got, err := Push(t.Context(), repo, images, opts)
			must(t, err)
			if got.Unchanged || !put || got.Index.Digest != first.Index.Digest {
				t.Errorf("unchanged: %v, put back: %v", got.Unchanged, put)
			}
			if len(warned) == 0 || !strings.Contains(warned[0].Error(), first.Platforms[1].Digest.String()) {
				t.Errorf("warnings: %v", warned)
			}
		})
	}
	t.Run("layer that a manifest lists", func(t *testing.T) {
		reg, src, _, first, _ := setup(t)
		lost := first.Layers[0].Packed.Digest.String()
		there := false
		reg.refuse = func(r *http.Request) (int, string) {
			switch {
			case there:
			case r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, lost):
				return http.StatusNotFound, "BLOB_UNKNOWN"
			case r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/uploads"):
				there = true // any upload is enough
			case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
				return http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN"
			}
			return 0, ""
		}
		repo := reg.open(t)
		opts := sampleOptions(cache.Open(t.TempDir()))
		opts.Tags = []string{"again"}
		opts.Reuse = []*Remote{NewRemote(repo, "again"), NewRemote(repo, "latest")}
		got, err := Push(t.Context(), repo, []PlannedSystem{sampleImage(t, src, "amd64", nil)}, opts)
		must(t, err)
		if count(got, Made) == 0 {
			t.Error("nothing was made again")
		}
	})
}

// TestUnchangedRequests checks a machine with an empty cache. To prove that an image is unchanged,
// the push may send one request for the index and one for each platform. It must make no layer.
func TestUnchangedRequests(t *testing.T) {
	for _, archs := range [][]string{{"amd64"}, {"amd64", "arm64"}, {"amd64", "arm64", "riscv64"}} {
		reg := newMemoryRegistry(t)
		src := &treeSource{content: map[closure.StorePath][]byte{}}
		var images []PlannedSystem
		for _, arch := range archs {
			images = append(images, sampleImage(t, src, arch, nil))
		}
		first, err := Push(t.Context(), reg.open(t), images, sampleOptions(nil))
		must(t, err)
		for name, cache := range map[string]*cache.Cache{"no cache": nil, "an empty cache": cache.Open(t.TempDir())} {
			reg.log = nil
			src.reads.Store(0)
			repo := reg.open(t)
			opts := sampleOptions(cache)
			opts.Reuse = []*Remote{NewRemote(repo, "latest")}
			got, err := Push(t.Context(), repo, images, opts)
			must(t, err)
			if !got.Unchanged || got.Index.Digest != first.Index.Digest {
				t.Errorf("%d platforms, %s: unchanged: %v, %s instead of %s", len(archs), name, got.Unchanged, got.Index.Digest, first.Index.Digest)
			}
			log := slices.DeleteFunc(slices.Clone(reg.log), func(l string) bool { return l == "GET /v2/" }) // ignore the request that finds out the login method
			if len(log) > 1+len(archs) {
				t.Errorf("%d platforms, %s: %d requests: %s", len(archs), name, len(log), strings.Join(log, ", "))
			}
			if n := src.reads.Load(); n > int64(len(archs)) { // the push reads the toplevels for the system layers
				t.Errorf("%d platforms, %s: %d store paths were read", len(archs), name, n)
			}
		}
	}
}

// TestFewRequests checks that the push sends no request for a layer if a manifest in the repository
// lists this layer.
func TestFewRequests(t *testing.T) {
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	first, err := Push(t.Context(), reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, sampleOptions(nil))
	must(t, err)
	reg.log = nil
	repo := reg.open(t)
	opts := sampleOptions(cache.Open(t.TempDir()))
	opts.Tags = []string{"new"}
	opts.ReuseNewest = repo
	opts.Reuse = []*Remote{NewRemote(repo, "new")}
	got, err := Push(t.Context(), repo, []PlannedSystem{sampleImage(t, src, "amd64", nil)}, opts)
	must(t, err)
	if got.Index.Digest != first.Index.Digest || count(got, Made) != 0 {
		t.Errorf("%d layers made for a new tag of the same image", count(got, Made))
	}
	for _, l := range reg.log {
		if strings.HasPrefix(l, "HEAD") && strings.Contains(l, "/blobs/") || strings.HasPrefix(l, "POST") {
			t.Errorf("request %s", l)
		}
	}
}

// TestFewRequestsForAnUpdate checks the number of requests of an update under a new tag: two for
// each changed layer that is sent whole, three for each layer that is streamed, and ten more.
// Unchanged layers must cost none.
func TestFewRequestsForAnUpdate(t *testing.T) {
	reg := newMemoryRegistry(t)
	src := &treeSource{content: map[closure.StorePath][]byte{}}
	_, err := Push(t.Context(), reg.open(t), []PlannedSystem{sampleImage(t, src, "amd64", nil)}, sampleOptions(nil))
	must(t, err)
	after := []PlannedSystem{sampleImage(t, src, "amd64", map[string]string{"bash-5.2": "patched"})}
	want, err := Push(t.Context(), newMemoryRegistry(t).open(t), after, sampleOptions(nil))
	must(t, err)
	for name, c := range map[string]struct {
		whole int64
		each  int // number of requests for each layer
	}{"whole": {0, 2}, "streamed": {-1, 3}} {
		t.Run(name, func(t *testing.T) {
			reg.log = nil
			repo := reg.open(t)
			opts := sampleOptions(nil)
			opts.Tags, opts.WholeLayers = []string{name}, c.whole
			opts.Reuse = []*Remote{NewRemote(repo, name), NewRemote(repo, "latest")}
			got, err := Push(t.Context(), repo, after, opts)
			must(t, err)
			made := count(got, Made)
			if made == 0 || made == len(got.Layers) || got.Index.Digest != want.Index.Digest {
				t.Errorf("%d of %d layers made, %s; pushed alone %s", made, len(got.Layers), got.Index.Digest, want.Index.Digest)
			}
			// Four requests read two tags, a manifest and a config. Six requests write: two for the
			// config, one each for manifest and index, two for the tag.
			if n := len(reg.log); n != 10+c.each*made {
				t.Errorf("%d requests for %d layers: %s", n, made, strings.Join(reg.log, ", "))
			}
		})
	}
}
