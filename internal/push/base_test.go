package push

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
	"github.com/nixoci/nixoci/internal/systems"
)

// baseWorld is a registry that has a base image in one repository. The tests push other images that
// are based on this image.
type baseWorld struct {
	*registrytest.Registry
	host string
	src  *treeSource
}

func newBaseWorld(t *testing.T) *baseWorld {
	w := &baseWorld{Registry: registrytest.New(), src: &treeSource{content: map[closure.StorePath][]byte{}}}
	w.Strict = true
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	w.host = strings.TrimPrefix(s.URL, "http://")
	return w
}

func (w *baseWorld) open(t *testing.T, repo string) *registry.Repository {
	t.Helper()
	n, err := name.NewRepository(w.host + "/" + repo)
	must(t, err)
	r, err := registry.Open(n, registry.Options{Retry: atOnce})
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// putBase puts an image with two layers of the given size into repo, under tag.
func (w *baseWorld) putBase(t *testing.T, repo, tag string, size int) {
	t.Helper()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	blob := func(data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
		w.Blobs[repo+"@"+d.Digest.String()] = data
		return d
	}
	text := func(v any) []byte {
		data, err := json.Marshal(v)
		must(t, err)
		return data
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	for n := range 2 {
		var plain, packed bytes.Buffer
		tw := tar.NewWriter(&plain)
		must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("file-%d-%s", n, tag), Size: int64(size), Mode: 0o644}))
		_, err := io.CopyN(tw, zeros{}, int64(size))
		must(t, err)
		must(t, tw.Close())
		z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		must(t, err)
		_, err = z.Write(plain.Bytes())
		must(t, err)
		must(t, z.Close())
		d := blob(packed.Bytes())
		d.MediaType = ocispec.MediaTypeImageLayerGzip
		m.Layers = append(m.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain.Bytes()))
	}
	m.Config = blob(text(config))
	m.Config.MediaType = ocispec.MediaTypeImageConfig
	data := text(m)
	for _, as := range []string{tag, digest.FromBytes(data).String()} {
		w.Manifests[repo+":"+as], w.Types[repo+":"+as] = data, m.MediaType
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// on returns an application that is based on the image that tag names in repo.
func (w *baseWorld) on(t *testing.T, cache *cache.Cache, repo, tag string) (PlannedSystem, error) {
	t.Helper()
	planned := sampleImage(t, w.src, "amd64", nil)
	root := planned.System.Toplevel
	app := &application.Application{Choices: application.Choices{Roots: []closure.StorePath{root}}, Platform: planned.System.Platform, Start: string(root) + "/bin/x"}
	source := &oci.OpenedImage{Reader: w.open(t, repo), Name: repo + ":" + tag, TagOrDigest: tag}
	base, err := systems.NewBaseImage(source, w.host+"/"+repo+":"+tag).For(t.Context(), cache, planned.System.Platform)
	planned.System = manifest.NewApplication(w.src, planned.System.Closure, app).On(base)
	return planned, err
}

func outcomes(r Result) (all []Outcome) {
	for _, l := range r.Base {
		all = append(all, l.Outcome)
	}
	return all
}

// TestBaseIsMounted checks a base image in another repository of the registry. A push must mount
// the layers of the base and read none of them. The same push again must find nothing to do.
func TestBaseIsMounted(t *testing.T) {
	w := newBaseWorld(t)
	w.putBase(t, "them/base", "1", 1<<10)
	local := cache.Open(t.TempDir())
	image, err := w.on(t, local, "them/base", "1")
	must(t, err)
	if n := w.Requests(""); n != 2 { // one request for the manifest and one for its config
		t.Errorf("%d requests to read the base", n)
	}
	repo := w.open(t, "org/web")
	got, err := Push(t.Context(), repo, []PlannedSystem{image}, sampleOptions(local))
	must(t, err)
	if all := outcomes(got); len(all) != 2 || all[0] != Mounted || all[1] != Mounted {
		t.Errorf("outcomes are %v", all)
	}
	for _, l := range got.Base {
		if n := w.Requests("GET /v2/them/base/blobs/" + l.Digest.String()); n != 0 {
			t.Errorf("layer %s of the base was read", l.Digest)
		}
		if w.Commits[l.Digest.String()] != 0 {
			t.Errorf("layer %s of the base was sent", l.Digest)
		}
	}
	w.Mu.Lock()
	w.Log = nil
	w.Mu.Unlock()
	again, err := w.on(t, local, "them/base", "1")
	must(t, err)
	if n := w.Requests(""); n != 1 {
		t.Errorf("%d requests to read a base that this machine knows", n)
	}
	got, err = Push(t.Context(), w.open(t, "org/web"), []PlannedSystem{again}, sampleOptions(local))
	must(t, err)
	if !got.Unchanged {
		t.Error("the same push changed something")
	}

	// If the base is named by a digest and the cache has it, no request is needed.
	w.Mu.Lock()
	w.Log = nil
	w.Mu.Unlock()
	pinned, err := w.on(t, local, "them/base", again.System.Base.Digest.String())
	must(t, err)
	if n := w.Requests(""); n != 0 || pinned.System.Base.Manifest != again.System.Base.Manifest {
		t.Errorf("%d requests to read a base that is pinned and known", n)
	}

	// A machine with an empty cache must prove that the registry's image is unchanged.
	w.Mu.Lock()
	w.Log = nil
	w.Mu.Unlock()
	fresh := sampleOptions(cache.Open(t.TempDir()))
	repo = w.open(t, "org/web")
	fresh.Reuse = []*Remote{NewRemote(repo, "latest")}
	got, err = Push(t.Context(), repo, []PlannedSystem{again}, fresh)
	must(t, err)
	if !got.Unchanged || w.Requests("") > 4 {
		t.Errorf("unchanged: %v, with %d requests", got.Unchanged, w.Requests(""))
	}

	// The next push must put back layers of the base that the registry has lost.
	w.Mu.Lock()
	delete(w.Blobs, "org/web@"+again.System.Base.Layers[0].Digest.String())
	delete(w.Blobs, "org/web@"+again.System.Base.Layers[1].Digest.String())
	w.Mu.Unlock()
	var warned []error
	opts := sampleOptions(local)
	opts.Warn = func(err error) { warned = append(warned, err) }
	got, err = Push(t.Context(), w.open(t, "org/web"), []PlannedSystem{again}, opts)
	must(t, err)
	if all := outcomes(got); got.Unchanged || len(all) != 2 || all[0] != Mounted || len(warned) != 1 {
		t.Errorf("outcomes are %v, warnings %v", all, warned)
	}
}

// TestBaseMoves checks that the image depends on the base's digest and not on its tag. If the tag
// moves to another image, the push must warn.
func TestBaseMoves(t *testing.T) {
	w := newBaseWorld(t)
	w.putBase(t, "them/base", "1", 1<<10)
	cache := cache.Open(t.TempDir())
	push := func() (Result, []error) {
		image, err := w.on(t, cache, "them/base", "1")
		must(t, err)
		var warned []error
		opts := sampleOptions(cache)
		repo := w.open(t, "org/web")
		opts.Reuse, opts.Warn = []*Remote{NewRemote(repo, "latest")}, func(err error) { warned = append(warned, err) }
		r, err := Push(t.Context(), repo, []PlannedSystem{image}, opts)
		must(t, err)
		return r, warned
	}
	first, warned := push()
	if len(warned) != 0 {
		t.Errorf("warnings %v", warned)
	}
	w.putBase(t, "them/base", "1", 2<<10)
	second, warned := push()
	if second.Index.Digest == first.Index.Digest || second.Unchanged {
		t.Error("the image is the same above another base")
	}
	if len(warned) != 1 || !strings.Contains(warned[0].Error(), "has changed: it is ") {
		t.Errorf("warnings %v", warned)
	}
	w.putBase(t, "them/base", "1", 1<<10)
	third, _ := push()
	if third.Index.Digest != first.Index.Digest {
		t.Errorf("with the first base again the image is %s, was %s", third.Index.Digest, first.Index.Digest)
	}
}

// TestBaseIsCopied checks a base image in another registry. A push must copy its layers unchanged.
// If a layer does not match the base's manifest or config, the push must fail and put no manifest.
func TestBaseIsCopied(t *testing.T) {
	const size = 4 << 20
	here, there := newBaseWorld(t), newBaseWorld(t)
	there.putBase(t, "them/base", "1", size)
	there.src = here.src
	image, err := there.on(t, nil, "them/base", "1")
	must(t, err)
	got, err := Push(t.Context(), here.open(t, "org/web"), []PlannedSystem{image}, sampleOptions(nil))
	must(t, err)
	if all := outcomes(got); len(all) != 2 || all[0] != Copied || all[1] != Copied {
		t.Errorf("outcomes are %v", all)
	}
	for _, l := range image.System.Base.Layers {
		if !bytes.Equal(here.Blobs["org/web@"+l.Digest.String()], there.Blobs["them/base@"+l.Digest.String()]) {
			t.Errorf("layer %s is not the base's", l.Digest)
		}
	}
	for what, lie := range map[string]func(l *manifest.BaseLayer){
		"its diffID is":          func(l *manifest.BaseLayer) { l.DiffID = digest.FromString("x") },
		"the content has digest": func(l *manifest.BaseLayer) { flip(there, "them/base@"+l.Digest.String()) },
		"not found":              func(l *manifest.BaseLayer) { delete(there.Blobs, "them/base@"+l.Digest.String()) },
	} {
		t.Run(what, func(t *testing.T) {
			there.putBase(t, "them/base", "1", 1<<10)
			image, err := there.on(t, nil, "them/base", "1")
			must(t, err)
			lie(&image.System.Base.Layers[1])
			empty := newBaseWorld(t)
			_, err = Push(t.Context(), empty.open(t, "org/web"), []PlannedSystem{image}, sampleOptions(nil))
			if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "of the base image") {
				t.Errorf("error %v", err)
			}
			if len(empty.Manifests) != 0 {
				t.Error("a manifest was put")
			}
		})
	}
}

func flip(w *baseWorld, blob string) {
	data := bytes.Clone(w.Blobs[blob])
	data[len(data)/2] ^= 1
	w.Blobs[blob] = data
}

// TestBaseLayersInOrder checks a destination that accepts one layer after the other, such as an
// archive on a pipe. It must get the base's layers before all other layers.
func TestBaseLayersInOrder(t *testing.T) {
	w := newBaseWorld(t)
	w.putBase(t, "them/base", "1", 1<<10)
	image, err := w.on(t, nil, "them/base", "1")
	must(t, err)
	dst := &orderedDestination{Destination: w.open(t, "org/ordered")}
	_, err = Push(t.Context(), dst, []PlannedSystem{image}, sampleOptions(nil))
	must(t, err)
	want := image.System.Base.Layers
	if len(dst.put) < 4 || dst.put[0] != want[0].Digest || dst.put[1] != want[1].Digest {
		t.Errorf("order is %v, the base has %v", dst.put, want)
	}
}

type orderedDestination struct {
	oci.Destination
	put []digest.Digest
}

func (*orderedDestination) Ordered() {}

func (d *orderedDestination) PutLayer(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	p, err := d.Destination.PutLayer(ctx, want, pack)
	d.put = append(d.put, p.Digest)
	return p, err
}
