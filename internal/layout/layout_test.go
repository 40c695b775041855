package layout

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/oci/ocitest"
)

// testImage is an image with small but valid layers.
type testImage struct {
	layers  [][]byte
	packed  []layers.Packed
	configs []oci.Blob
	images  []oci.Blob
	index   oci.Blob
}

// newImage makes an index with a manifest for each architecture in archs. Each manifest has
// three layers. One of these layers is in all manifests.
func newImage(t *testing.T, seed string, archs ...string) *testImage {
	t.Helper()
	img := &testImage{}
	var idx ocispec.Index
	idx.SchemaVersion, idx.MediaType = 2, ocispec.MediaTypeImageIndex
	known := map[digest.Digest]bool{}
	for _, arch := range archs {
		var m ocispec.Manifest
		var cfg ocispec.Image
		m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
		cfg.OS, cfg.Architecture, cfg.RootFS.Type = "linux", arch, "layers"
		for _, what := range []string{"common", arch + " a", arch + " b"} {
			var buf bytes.Buffer
			tw := tar.NewWriter(&buf)
			body := seed + " " + what + strings.Repeat("x", 5000)
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: what, Size: int64(len(body)), Mode: 0o444})
			io.WriteString(tw, body)
			tw.Close()
			diffID := digest.FromBytes(buf.Bytes())
			var blob bytes.Buffer
			zw, _ := gzip.NewWriterLevel(&blob, gzip.NoCompression) // without compression, the bytes are the same in every version of Go
			zw.Write(buf.Bytes())
			zw.Close()
			d := digest.FromBytes(blob.Bytes())
			m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: int64(blob.Len())})
			cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, diffID)
			if !known[d] {
				known[d] = true
				img.layers = append(img.layers, blob.Bytes())
				img.packed = append(img.packed, layers.Packed{DiffID: diffID, Digest: d, Size: int64(blob.Len()), UncompressedSize: int64(buf.Len())})
			}
		}
		config := ocitest.BlobOf(mustJSON(t, cfg), ocispec.MediaTypeImageConfig)
		m.Config = config.Descriptor
		b := ocitest.BlobOf(mustJSON(t, m), ocispec.MediaTypeImageManifest)
		img.configs, img.images = append(img.configs, config), append(img.images, b)
		d := b.Descriptor
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		idx.Manifests = append(idx.Manifests, d)
	}
	img.index = ocitest.BlobOf(mustJSON(t, idx), ocispec.MediaTypeImageIndex)
	return img
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (img *testImage) pack(i int) oci.PackFunc {
	return func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		if _, err := w.Write(img.layers[i]); err != nil {
			return layers.Packed{}, err
		}
		return img.packed[i], nil
	}
}

// put stores the whole image, with the layers in the given order.
func (img *testImage) put(ctx context.Context, d oci.Destination, order []int, tags ...string) error {
	for _, i := range order {
		if _, err := d.PutLayer(ctx, nil, img.pack(i)); err != nil {
			return err
		}
	}
	for _, b := range img.configs {
		if err := d.PutBlob(ctx, b); err != nil {
			return err
		}
	}
	for _, b := range img.images {
		if err := d.PutManifest(ctx, b, ""); err != nil {
			return err
		}
	}
	if err := d.PutManifest(ctx, img.index, ""); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := d.PutManifest(ctx, img.index, tag); err != nil {
			return err
		}
	}
	return nil
}

func (img *testImage) inOrder() (order []int) {
	for i := range img.layers {
		order = append(order, i)
	}
	return order
}

func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "layout")
	first, second := newImage(t, "first", "amd64", "arm64"), newImage(t, "second", "amd64")
	for i, img := range []*testImage{first, second} {
		l, err := OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := img.put(t.Context(), l, img.inOrder(), []string{"v1", "v2"}[i], "latest"); err != nil {
			t.Fatal(err)
		}
		if names := tree(t, dir); i == 0 && slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, ".nixoci-") }) {
			t.Errorf("before Commit there is %q", names)
		}
		if err := l.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if names := tree(t, dir); slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, ".nixoci-") }) {
		t.Errorf("left behind: %q", names)
	}
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for tag, want := range map[string]digest.Digest{"v1": first.index.Descriptor.Digest, "v2": second.index.Descriptor.Digest, "latest": second.index.Descriptor.Digest} {
		if d, err := l.Resolve(t.Context(), tag); err != nil || d.Digest != want {
			t.Errorf("%s is %v, %v, want %s", tag, d.Digest, err, want)
		}
	}
	if _, err := l.Resolve(t.Context(), "v3"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("v3: %v", err)
	}
	if ok, err := l.HasBlob(t.Context(), ocispec.Descriptor{Digest: first.packed[0].Digest, Size: first.packed[0].Size}); !ok || err != nil {
		t.Errorf("HasBlob = %v, %v", ok, err)
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Errorf("another implementation finds: %v", err)
	}
	m, err := idx.IndexManifest()
	if err != nil || len(m.Manifests) != 3 {
		t.Errorf("index.json lists %d manifests, want one for each tag (%v)", len(m.Manifests), err)
	}
}

// TestOpenExisting checks which image of a layout a new image replaces.
func TestOpenExisting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := (Output{Scheme: SchemeLayout, Path: dir}).OpenExisting(t.Context(), []string{"v1"}); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("without a layout: %v", err)
	}
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first, second := newImage(t, "first", "amd64"), newImage(t, "second", "amd64")
	if err := errors.Join(first.put(t.Context(), l, first.inOrder(), "v1"), second.put(t.Context(), l, second.inOrder(), "v2"), l.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		scheme Scheme
		tags   []string
		want   *testImage // nil if there is no such image
		err    string     // another error, not [oci.ErrNotFound]
	}{
		{scheme: SchemeLayout, tags: []string{"v2", "v1"}, want: second},
		{scheme: SchemeLayout, tags: []string{"v3", "v1"}, want: first},
		{scheme: SchemeLayout, tags: []string{"v3"}},
		{scheme: SchemeLayout, err: "lists 2 images"},
		{scheme: SchemeArchive, tags: []string{"v1"}},
	} {
		img, err := Output{Scheme: tt.scheme, Path: dir}.OpenExisting(t.Context(), tt.tags)
		if err != nil {
			if found := errors.Is(err, oci.ErrNotFound); tt.want != nil || found != (tt.err == "") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %q: error %v", tt.scheme, tt.tags, err)
			}
			continue
		}
		b, err := img.GetManifest(t.Context(), img.TagOrDigest)
		img.Close()
		if tt.want == nil || err != nil || b.Descriptor.Digest != tt.want.index.Descriptor.Digest {
			t.Errorf("%s %q opened %s, %v", tt.scheme, tt.tags, img.Name, err)
		}
	}
}

// TestLayoutKeeps adds an image to a layout that another program has written. The content of
// the other program must stay.
func TestLayoutKeeps(t *testing.T) {
	dir := t.TempDir()
	foreign := `{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":1,"mediaType":"x","unknown":{"a":1.50},"annotations":{"org.opencontainers.image.ref.name":"theirs"}}`
	os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion": "1.0.0"}`), 0o644)
	os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"annotations":{"a":"b"},"manifests":[`+foreign+`]}`), 0o644)
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	img := newImage(t, "x", "amd64")
	if err := img.put(t.Context(), l, img.inOrder()); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(filepath.Join(dir, "index.json"))
	for _, want := range []string{foreign, `"annotations":{"a":"b"}`, img.index.Descriptor.Digest.String()} {
		if !strings.Contains(string(data), want) {
			t.Errorf("index.json has lost %s:\n%s", want, data)
		}
	}
	if strings.Contains(string(data), img.images[0].Descriptor.Digest.String()) {
		t.Errorf("index.json lists what is in an index:\n%s", data)
	}
}

func TestLayoutConcurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	var wg sync.WaitGroup
	const writers = 12
	for i := range writers {
		wg.Go(func() {
			img := newImage(t, fmt.Sprint(i%3), "amd64", "arm64")
			l, err := OpenLayout(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			if i%4 == 3 { // every fourth writer closes without Commit
				if _, err := l.PutLayer(t.Context(), nil, img.pack(0)); err != nil {
					t.Error(err)
				}
				return
			}
			if err := img.put(t.Context(), l, img.inOrder(), fmt.Sprint("tag", i)); err != nil {
				t.Error(err)
			} else if err := l.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if m, err := idx.IndexManifest(); err != nil || len(m.Manifests) != writers*3/4 {
		t.Errorf("%d of %d tags are there (%v)", len(m.Manifests), writers*3/4, err)
	}
}

func TestLayoutLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := atomicfile.Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := atomicfile.Lock(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second lock: %v", err)
	}
	unlock()
	unlock, err = atomicfile.Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestLayoutRefuses(t *testing.T) {
	full := t.TempDir()
	os.WriteFile(filepath.Join(full, "thesis.tex"), nil, 0o644)
	future := t.TempDir()
	os.WriteFile(filepath.Join(future, "oci-layout"), []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o644)
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	for dir, want := range map[string]string{full: "neither empty nor an OCI layout", future: `version "2.0.0" is not known`, file: "not a directory"} {
		l, err := OpenLayout(dir)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("OpenLayout: %v, want %q", err, want)
		}
	}
	if names := tree(t, full); len(names) != 1 {
		t.Errorf("left behind: %q", names)
	}
}

// destinations opens each kind of destination at a path.
var destinations = map[string]func(path string) (oci.Destination, error){
	"oci":            func(p string) (oci.Destination, error) { return OpenLayout(p) },
	"oci-archive":    func(p string) (oci.Destination, error) { return CreateArchive(p) },
	"docker-archive": func(p string) (oci.Destination, error) { return CreateDockerArchive(p) },
}

// TestFailures makes every step of every destination fail, and checks that no files remain.
func TestFailures(t *testing.T) {
	boom := errors.New("narHash of /nix/store/x does not match")
	img := newImage(t, "x", "amd64")
	failures := map[string]func(ctx context.Context, cancel context.CancelCauseFunc, d oci.Destination) error{
		"layer cannot be made": func(ctx context.Context, _ context.CancelCauseFunc, d oci.Destination) error {
			_, err := d.PutLayer(ctx, nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
				w.Write([]byte("half"))
				return layers.Packed{}, boom
			})
			return err
		},
		"blob is missing": func(ctx context.Context, _ context.CancelCauseFunc, d oci.Destination) error {
			if err := img.put(ctx, d, []int{0, 1}, "a:b"); err != nil {
				return err
			}
			if err := d.Commit(ctx); err == nil || !strings.Contains(err.Error(), img.packed[2].Digest.String()+" is missing") {
				return fmt.Errorf("committed without a blob: %v", err)
			}
			return boom
		},
		"other than wanted": func(ctx context.Context, _ context.CancelCauseFunc, d oci.Destination) error {
			if _, err := d.PutLayer(ctx, &img.packed[1], img.pack(0)); !errors.Is(err, oci.ErrOtherContent) || !strings.Contains(err.Error(), "made again") {
				return fmt.Errorf("another layer was taken: %v", err)
			}
			return boom
		},
		"interrupted": func(ctx context.Context, cancel context.CancelCauseFunc, d oci.Destination) error {
			if err := img.put(ctx, d, img.inOrder(), "a:b"); err != nil {
				return err
			}
			cancel(boom)
			return d.Commit(ctx)
		},
	}
	for kind, open := range destinations {
		for name, fail := range failures {
			for _, existing := range []bool{false, true} {
				t.Run(fmt.Sprint(kind, "/", name, "/existing=", existing), func(t *testing.T) {
					parent := t.TempDir()
					path := filepath.Join(parent, "image")
					if existing {
						d, err := open(path)
						if err != nil {
							t.Fatal(err)
						}
						old := newImage(t, "old", "amd64")
						if err := old.put(t.Context(), d, old.inOrder(), "a:b"); err != nil {
							t.Fatal(err)
						}
						if err := d.Commit(t.Context()); err != nil {
							t.Fatal(err)
						}
						d.Close()
					}
					before := tree(t, parent)
					d, err := open(path)
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					if err := fail(ctx, cancel, d); !errors.Is(err, boom) {
						t.Errorf("error %v", err)
					}
					if err := d.Close(); err != nil {
						t.Error(err)
					}
					if after := tree(t, parent); !slices.Equal(before, after) {
						t.Errorf("before: %q\nafter: %q", before, after)
					}
				})
			}
		}
	}
}

// TestDiskFull sets a limit on the size of files, to simulate a full disk. The same writes
// fail.
func TestDiskFull(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 4 << 20 // the testing package itself writes less than this
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	for kind, open := range destinations {
		t.Run(kind, func(t *testing.T) {
			parent := t.TempDir()
			d, err := open(filepath.Join(parent, "image"))
			if err != nil {
				t.Fatal(err)
			}
			calls := 0
			_, err = d.PutLayer(t.Context(), nil, ocitest.Packing(ocitest.Content(5<<20), &calls))
			if err == nil || !errors.Is(err, syscall.EFBIG) || !strings.HasPrefix(err.Error(), "write blob: ") {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(hint.Of(err), "no space is left in "+parent) {
				t.Errorf("hint %q", hint.Of(err))
			}
			d.Close()
			if names := tree(t, parent); len(names) != 0 {
				t.Errorf("left behind: %q", names)
			}
		})
	}
}

// TestArchives compares archives whose layers were finished in different orders. It also
// compares them with golden digests.
func TestArchives(t *testing.T) {
	const golden = digest.Digest("sha256:29363ad2bcb434ad47dd0c88e28a2e0498430b0c3ece1308a4c80e1496901626")
	const goldenDocker = digest.Digest("sha256:e7e81bcadd206df71324ed3310cf456417d2f0174def2828a081a487a70f18e2")
	img := newImage(t, "x", "amd64", "arm64")
	dir := t.TempDir()
	for i, order := range [][]int{img.inOrder(), {4, 2, 0, 1, 3}} {
		path := filepath.Join(dir, fmt.Sprint("oci", i))
		got := archive(t, img, order, path, CreateArchive, "v1", "latest")
		if d := digest.FromBytes(got); d != golden {
			t.Errorf("oci-archive in order %v has digest %s, want %s", order, d, golden)
		}
	}
	var pipe bytes.Buffer
	p, err := PipeArchive(&pipe)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.put(t.Context(), p, img.inOrder(), "latest", "v1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if d := digest.FromBytes(pipe.Bytes()); d != golden {
		t.Errorf("the archive in the pipe has digest %s, want %s", d, golden)
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	// docker load without containerd reads manifest.json, and so do older readers.
	for _, c := range []struct {
		tags []string
		want string
	}{
		{[]string{"latest", "v1"}, ""},
		{[]string{"app:v2", "v1", "example.com/app"}, "app:v2 example.com/app:latest"},
	} {
		both := filepath.Join(dir, "both.tar")
		archive(t, img, img.inOrder(), both, CreateArchive, c.tags...)
		f, err := openTar(both)
		if err != nil {
			t.Fatal(err)
		}
		data, err := readAll(f, dockerManifest, 1<<20)
		f.Close()
		var entries []dockerEntry
		if err != nil || json.Unmarshal(data, &entries) != nil || len(entries) != 2 || strings.Join(entries[0].RepoTags, " ") != c.want || len(entries[1].RepoTags) > 0 {
			t.Errorf("%s: %s, %v", c.tags, data, err)
		}
		if scheme := Detect(both); scheme != SchemeArchive {
			t.Errorf("it is a %q", scheme)
		}
	}
	one := newImage(t, "x", "amd64")
	both := filepath.Join(dir, "one.tar")
	archive(t, one, one.inOrder(), both, CreateArchive, "example.com/app:v2")
	asDocker, err := OpenImage("docker-archive:" + both)
	if err != nil {
		t.Fatal(err)
	}
	asDocker.Close()
	twoTags, _ := name.NewTag("example.com/app:v2")
	if ofDocker, err := tarball.ImageFromPath(both, &twoTags); err != nil {
		t.Error(err)
	} else if err := validate.Image(ofDocker); err != nil {
		t.Error(err)
	}

	unpacked := t.TempDir()
	untar(t, &pipe, unpacked)
	idx, err := layout.ImageIndexFromPath(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}

	single := newImage(t, "x", "amd64")
	path := filepath.Join(dir, "docker.tar")
	for _, order := range [][]int{{0, 1, 2}, {2, 0, 1}} {
		got := archive(t, single, order, path, CreateDockerArchive, "app", "example.com/app:v2")
		if d := digest.FromBytes(got); d != goldenDocker {
			t.Errorf("docker-archive in order %v has digest %s, want %s", order, d, goldenDocker)
		}
	}
	if scheme := Detect(path); scheme != SchemeDockerArchive {
		t.Errorf("it is a %q", scheme)
	}
	var dockerPipe bytes.Buffer
	piped, err := PipeDockerArchive(&dockerPipe)
	if err != nil {
		t.Fatal(err)
	}
	defer piped.Close()
	if err := errors.Join(single.put(t.Context(), piped, single.inOrder(), "app", "example.com/app:v2"), piped.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if d := digest.FromBytes(dockerPipe.Bytes()); d != goldenDocker {
		t.Errorf("the docker-archive in the pipe has digest %s, want %s", d, goldenDocker)
	}
	tag, _ := name.NewTag("example.com/app:v2")
	loaded, err := tarball.ImageFromPath(path, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(loaded); err != nil {
		t.Error(err)
	}
	if cfg, err := loaded.ConfigName(); err != nil || cfg.String() != single.configs[0].Descriptor.Digest.String() {
		t.Errorf("config %v, %v", cfg, err)
	}

	two, err := CreateDockerArchive(filepath.Join(dir, "two.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if err := img.put(t.Context(), two, img.inOrder(), "app:v1"); err != nil {
		t.Fatal(err)
	}
	if err := two.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "one platform, not 2") || hint.Of(err) == "" {
		t.Errorf("two platforms: %v", err)
	}
}

func archive(t *testing.T, img *testImage, order []int, path string, create func(path string) (*Archive, error), tags ...string) []byte {
	t.Helper()
	a, err := create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := img.put(t.Context(), a, order, tags...); err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func untar(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	if _, err := CreateArchive("/dev/null"); err == nil || hint.Of(err) != "use - to write to a pipe" {
		t.Errorf("a device: %v", err)
	}
	if _, err := CreateArchive(filepath.Join(t.TempDir(), "no", "such", "directory.tar")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestParseDestination(t *testing.T) {
	tests := []struct {
		in, want string // "kind path tags"
		err      string
	}{
		{"oci:dir", "oci dir []", ""},
		{"oci:/a/b:v1", "oci /a/b [v1]", ""},
		{"oci:dir:v1:latest", "oci dir [v1 latest]", ""},
		{"oci-archive:a.tar", "oci-archive a.tar []", ""},
		{"oci-archive:a.tar:v1", "oci-archive a.tar [v1]", ""},
		{"docker-archive:a.tar", "docker-archive a.tar []", ""},
		{"docker-archive:a.tar:app", "docker-archive a.tar [app:latest]", ""},
		{"docker-archive:a.tar:example.com:5000/app:v1", "docker-archive a.tar [example.com:5000/app:v1]", ""},
		{"-", "oci-archive - []", ""},
		{"oci-archive:-", "oci-archive - []", ""},
		{"docker-archive:-:web:1.2", "docker-archive - [web:1.2]", ""},
		{"oci:-", "", "a layout is a directory"},
		{"", "", "no kind of destination"},
		{"dir", "", "no kind of destination"},
		{"oci:", "", "no path"},
		{"oci::v1", "", "no path"},
		{"oci:dir:", "", `"" is not a tag`},
		{"oci:dir:-v1", "", `"-v1" is not a tag`},
		{"docker-archive:a.tar:UPPER", "", "UPPER"},
		{"docker://host/app", "", `unknown kind "docker"`},
	}
	for _, tt := range tests {
		got, err := ParseDestination(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || hint.Of(err) == "" {
				t.Errorf("ParseDestination(%q): error %v, want %q and a hint", tt.in, err, tt.err)
			}
			continue
		}
		if s := fmt.Sprint(got.Scheme, " ", got.Path, " ", got.Tags); err != nil || s != tt.want {
			t.Errorf("ParseDestination(%q) = %s, %v, want %s", tt.in, s, err, tt.want)
		}
	}
}
