package verify

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// verified returns the report about the image at source.
func verified(t testing.TB, source string, o Options) *Report {
	t.Helper()
	open := layout.OpenImage
	if strings.HasPrefix(source, "127.0.0.1:") {
		open = func(s string) (*oci.OpenedImage, error) { return registry.OpenImage(s, registry.Options{}) }
	}
	src, err := open(source)
	must(t, err)
	defer src.Close()
	r, err := Image(t.Context(), src, o)
	must(t, err)
	return r
}

// sample is an image of the sample systems that a test can change. After a change of a layer or
// document, sample corrects the digests and sizes that depend on it, as a forger would do. A forger
// cannot hide the change without making the image again from a forged store.
type sample struct {
	t         testing.TB
	dir       string // layout with the original image
	gzip      bool   // whether the layers are compressed
	index     ocispec.Index
	manifests []ocispec.Manifest
	configs   []config
	changed   map[digest.Digest][]byte // blobs that are not in the layout
	gone      map[digest.Digest]bool

	// These functions change the bytes of the documents after sample has encoded them.
	editConfig, editManifest, editIndex func([]byte) []byte
}

// config holds an image's config with all fields that nixoci writes, including the health check.
type config struct {
	Created *time.Time `json:"created,omitempty"`
	ocispec.Platform
	Config struct {
		ocispec.ImageConfig
		Healthcheck json.RawMessage `json:",omitempty"`
	} `json:"config"`
	RootFS  ocispec.RootFS    `json:"rootfs"`
	History []ocispec.History `json:"history"`
}

// shared contains the layouts of the original images. The keys are the arguments of newSampleOf.
// Tests change copies of these layouts.
var shared sync.Map

type sharedLayout struct {
	once sync.Once
	dir  string
}

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Range(func(_, made any) bool {
		os.RemoveAll(made.(*sharedLayout).dir)
		return true
	})
	os.Exit(code)
}

// newSample returns an image of the sample for one system or two, from the store small. All tests
// share the pushed layout. The layers are not compressed, because most tests do not check the
// compression, and decompressing gzip would take most of their time.
func newSample(t testing.TB, systems ...string) *sample {
	t.Helper()
	return newSampleOf(t, small, layers.None, systems...)
}

func newSampleOf(t testing.TB, st *store, compression string, systems ...string) *sample {
	t.Helper()
	var names []string
	for _, system := range systems {
		names = append(names, "sample-"+system)
	}
	found, _ := shared.LoadOrStore(fmt.Sprint(st.cut, st.tinyInit, compression, systems), &sharedLayout{})
	made := found.(*sharedLayout)
	made.once.Do(func() {
		var err error
		made.dir, err = os.MkdirTemp("", "nixoci-sample-")
		must(t, err)
		dst, err := layout.OpenLayout(made.dir)
		must(t, err)
		st.pushTo(t, dst, compression, manifest.Settings{}, names...)
	})
	dir := made.dir
	s := &sample{t: t, dir: dir, gzip: compression == layers.Gzip, changed: map[digest.Digest][]byte{}, gone: map[digest.Digest]bool{}}
	var top ocispec.Index
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	must(t, err)
	must(t, json.Unmarshal(data, &top))
	s.read(top.Manifests[0].Digest, &s.index)
	for _, d := range s.index.Manifests {
		var m ocispec.Manifest
		s.read(d.Digest, &m)
		var c config
		s.read(m.Config.Digest, &c)
		s.manifests, s.configs = append(s.manifests, m), append(s.configs, c)
	}
	return s
}

func (s *sample) blob(d digest.Digest) []byte {
	s.t.Helper()
	if b, ok := s.changed[d]; ok {
		return b
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "blobs/sha256", d.Encoded()))
	must(s.t, err)
	return data
}

func (s *sample) read(d digest.Digest, v any) {
	s.t.Helper()
	must(s.t, json.Unmarshal(s.blob(d), v))
}

func (s *sample) put(data []byte) (digest.Digest, int64) {
	d := digest.FromBytes(data)
	s.changed[d] = data
	return d, int64(len(data))
}

func compact(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	must(t, e.Encode(v))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// layout writes the image to a layout. It returns the layout's name for layout.OpenImage.
func (s *sample) layout() string {
	s.t.Helper()
	for i := range s.manifests {
		config := compact(s.t, s.configs[i])
		if s.editConfig != nil && i == 0 {
			config = s.editConfig(config)
		}
		m := &s.manifests[i]
		m.Config.Digest, m.Config.Size = s.put(config)
		data := compact(s.t, m)
		if s.editManifest != nil && i == 0 {
			data = s.editManifest(data)
		}
		s.index.Manifests[i].Digest, s.index.Manifests[i].Size = s.put(data)
	}
	data := compact(s.t, s.index)
	if s.editIndex != nil {
		data = s.editIndex(data)
	}
	d, size := s.put(data)
	dir := s.t.TempDir()
	blobs := filepath.Join(dir, "blobs/sha256")
	must(s.t, os.MkdirAll(blobs, 0o755))
	entries, err := os.ReadDir(filepath.Join(s.dir, "blobs/sha256"))
	must(s.t, err)
	for _, e := range entries {
		name := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if s.gone[name] || s.changed[name] != nil {
			continue
		}
		must(s.t, os.Link(filepath.Join(s.dir, "blobs/sha256", e.Name()), filepath.Join(blobs, e.Name())))
	}
	for name, data := range s.changed {
		must(s.t, os.WriteFile(filepath.Join(blobs, name.Encoded()), data, 0o644))
	}
	top := ocispec.Index{Manifests: []ocispec.Descriptor{{MediaType: s.index.MediaType, Digest: d, Size: size}}}
	top.SchemaVersion = 2
	must(s.t, os.WriteFile(filepath.Join(dir, "index.json"), compact(s.t, top), 0o644))
	return "oci:" + dir
}

// item holds the raw bytes of one tar entry.
type item struct {
	head    []byte // header blocks, including PAX headers
	content []byte
	name    string
}

var untarred sync.Map // maps the digest of a blob to its tar

func (s *sample) untar(d digest.Digest) []byte {
	s.t.Helper()
	if data, ok := untarred.Load(d); ok {
		return data.([]byte)
	}
	data := s.blob(d)
	if s.gzip {
		z, err := gzip.NewReader(bytes.NewReader(data))
		must(s.t, err)
		data, err = io.ReadAll(z)
		must(s.t, err)
	}
	untarred.Store(d, data)
	return data
}

// tarOf returns the entries in the tar of layer n of platform p.
func (s *sample) tarOf(p, n int) []item {
	s.t.Helper()
	data := bytes.Clone(s.untar(s.manifests[p].Layers[n].Digest))
	var items []item
	var head []byte
	for len(data) > 1024 {
		size, err := strconv.ParseInt(strings.TrimRight(string(data[124:135]), "\x00"), 8, 64)
		must(s.t, err)
		padded := (size + 511) / 512 * 512
		if data[156] == 'x' {
			head = append(head, data[:512+padded]...)
			data = data[512+padded:]
			continue
		}
		h, err := tar.NewReader(bytes.NewReader(append(bytes.Clone(head), data[:512]...))).Next()
		must(s.t, err)
		items = append(items, item{head: append(head, data[:512]...), content: bytes.Clone(data[512 : 512+size]), name: strings.TrimSuffix(h.Name, "/")})
		head = nil
		data = data[512+padded:]
	}
	return items
}

// setTar replaces layer n of platform p with a tar of items. It also updates the digests, sizes and
// other fields that describe the layer.
func (s *sample) setTar(p, n int, items []item) {
	s.t.Helper()
	var b bytes.Buffer
	for _, it := range items {
		b.Write(it.head)
		b.Write(it.content)
		b.Write(make([]byte, -len(it.content)&511))
	}
	b.Write(make([]byte, 1024))
	s.setRawTar(p, n, b.Bytes())
}

func (s *sample) setRawTar(p, n int, data []byte) {
	s.t.Helper()
	blob := data
	if s.gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(data)
		must(s.t, err)
		must(s.t, z.Close())
		blob = b.Bytes()
	}
	diffID := digest.FromBytes(data)
	s.configs[p].RootFS.DiffIDs[n] = diffID
	s.setBlob(p, n, blob)
	l := &s.manifests[p].Layers[n]
	l.Annotations[manifest.AnnotationDiffID] = diffID.String()
	l.Annotations[manifest.AnnotationTarSize] = strconv.Itoa(len(data))
}

func (s *sample) setBlob(p, n int, blob []byte) {
	l := &s.manifests[p].Layers[n]
	l.Digest, l.Size = s.put(blob)
}

// edit calls f with the entries of a layer and the position of one entry. This entry is the first
// one of the first platform whose name ends in suffix.
func (s *sample) edit(suffix string, f func(items []item, at int) []item) int {
	s.t.Helper()
	for n := range s.manifests[0].Layers {
		items := s.tarOf(0, n)
		at := slices.IndexFunc(items, func(it item) bool { return strings.HasSuffix(it.name, suffix) })
		if at >= 0 {
			s.setTar(0, n, f(items, at))
			return n
		}
	}
	s.t.Fatalf("no entry %q", suffix)
	return 0
}

// field replaces the bytes with index from to to-1 of the entry's own header by value, and corrects
// the checksum.
func (it *item) field(from, to int, value string) {
	h := it.head[len(it.head)-512:]
	clear(h[from:to])
	copy(h[from:to], value)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:155], fmt.Sprintf("%06o\x00", sum))
}

func (it *item) setSize() { it.field(124, 136, fmt.Sprintf("%011o", len(it.content))) }

// entry returns an entry in canonical form. A test can change the entry with field.
func entry(typ byte, name string, mode int64, content string) item {
	it := item{head: make([]byte, 512), content: []byte(content), name: name}
	it.head[156] = typ
	copy(it.head[257:], "ustar\x0000")
	it.field(0, 100, name)
	it.field(100, 108, fmt.Sprintf("%07o", mode))
	it.field(108, 116, "0000000")
	it.field(116, 124, "0000000")
	it.field(136, 148, "00000000001")
	it.setSize()
	return it
}

// database runs SQL statements on the Nix database of the first platform.
func (s *sample) database(statements ...string) {
	s.t.Helper()
	s.edit(databaseName, func(items []item, at int) []item {
		file := filepath.Join(s.t.TempDir(), "db.sqlite")
		must(s.t, os.WriteFile(file, items[at].content, 0o600))
		db, err := sql.Open("sqlite", file)
		must(s.t, err)
		for _, q := range statements {
			if _, err := db.ExecContext(s.t.Context(), q); err != nil {
				s.t.Fatalf("%s: %v", q, err)
			}
		}
		must(s.t, db.Close())
		items[at].content, err = os.ReadFile(file)
		must(s.t, err)
		items[at].setSize()
		return items
	})
}

// hex converts a narHash from SRI to the format of the database.
func hex(t testing.TB, sri string) string {
	t.Helper()
	h, err := closure.ParseHash(sri)
	must(t, err)
	return h.Hex()
}

// drop removes layer n of platform p and everything that describes it.
func (s *sample) drop(p, n int) {
	m, c := &s.manifests[p], &s.configs[p]
	m.Layers = slices.Delete(m.Layers, n, n+1)
	c.RootFS.DiffIDs = slices.Delete(c.RootFS.DiffIDs, n, n+1)
	c.History = slices.Delete(c.History, n, n+1)
}
