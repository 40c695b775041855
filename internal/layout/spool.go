package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

// spool keeps blobs in a private directory until they are moved or copied to the destination.
type spool struct {
	dir       string
	remove    func() error // removes dir; if this process is killed, a later process removes dir
	transfers *semaphore.Weighted

	mu        sync.Mutex
	blobs     map[digest.Digest]int64 // size of each blob in dir
	manifests map[digest.Digest]oci.Blob
	tags      map[string]digest.Digest
}

// newSpool creates a directory in parent. parent must be on the destination's file system,
// because blobs are moved by renaming.
func newSpool(parent string) (*spool, error) {
	dir, remove, err := atomicfile.TempDir(parent)
	if err != nil {
		return nil, err
	}
	return &spool{dir: dir, remove: remove, transfers: semaphore.NewWeighted(int64(oci.Transfers(0))), blobs: map[digest.Digest]int64{},
		manifests: map[digest.Digest]oci.Blob{}, tags: map[string]digest.Digest{}}, nil
}

func (s *spool) path(d digest.Digest) string { return filepath.Join(s.dir, d.Encoded()) }

func (s *spool) has(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.blobs[d]
	return ok
}

// PutLayer implements [oci.Destination].
func (s *spool) PutLayer(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	release, err := oci.Acquire(ctx, s.transfers)
	if err != nil {
		return layers.Packed{}, err
	}
	defer release()
	var packed layers.Packed
	_, err = s.write(func(w io.Writer) (d digest.Digest, n int64, err error) {
		packed, err = pack(ctx, w)
		if err == nil && want != nil && packed != *want {
			err = oci.OtherContent(want.Digest, packed.Digest)
		}
		return packed.Digest, packed.Size, err
	})
	if err != nil {
		return layers.Packed{}, err
	}
	return packed, nil
}

// PutBlob implements [oci.Destination].
func (s *spool) PutBlob(ctx context.Context, b oci.Blob) error {
	if s.has(b.Descriptor.Digest) {
		return context.Cause(ctx)
	}
	_, err := s.write(func(w io.Writer) (digest.Digest, int64, error) {
		_, err := w.Write(b.Data)
		return b.Descriptor.Digest, int64(len(b.Data)), err
	})
	return err
}

// PutManifest implements [oci.Destination].
func (s *spool) PutManifest(ctx context.Context, b oci.Blob, tag string) error {
	if err := s.PutBlob(ctx, b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifests[b.Descriptor.Digest] = b
	if tag != "" {
		s.tags[tag] = b.Descriptor.Digest
	}
	return nil
}

// write calls f and stores the bytes that f writes. The file gets the digest that f returns
// as its name.
func (s *spool) write(f func(w io.Writer) (digest.Digest, int64, error)) (d digest.Digest, err error) {
	tmp, err := atomicfile.Create(s.dir)
	if err != nil {
		return "", full(s.dir, fmt.Errorf("create blob: %w", err))
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	w := &oci.CountingWriter{W: tmp}
	d, n, err := f(w)
	if w.Err != nil {
		return "", full(s.dir, fmt.Errorf("write blob: %w", w.Err))
	}
	if err != nil {
		return "", err
	}
	if w.N != n {
		return "", fmt.Errorf("write blob %s: %d bytes were packed, %d written", d, n, w.N)
	}
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("write blob %q: %w", d, err)
	}
	if err := atomicfile.Commit(tmp, s.path(d)); err != nil {
		return "", full(s.dir, fmt.Errorf("write blob %s: %w", d, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = n
	return d, nil
}

// full adds a hint if err means that the disk is full.
func full(dir string, err error) error {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, e) {
			return hint.Add(err, "no space is left in "+filepath.Dir(dir)+"; the unfinished image was removed")
		}
	}
	return err
}

// image contains an image manifest as bytes and parsed.
type image struct {
	manifest oci.Blob
	doc      ocispec.Manifest
}

// contents lists the blobs and manifests that were put. Archives use the order of this list.
// It depends only on the image.
type contents struct {
	order  []ocispec.Descriptor // first layers in the order of the manifests, then configs, manifests, indexes; each blob once
	images []image
	top    []ocispec.Descriptor // entries of index.json: first the tagged manifests by tag, then those that no index lists
}

// contents reads the manifests that PutManifest stored. It fails if one lists a blob for
// which have is false.
func (s *spool) contents(have func(ocispec.Descriptor) bool) (*contents, error) {
	s.mu.Lock()
	manifests, tags := maps.Clone(s.manifests), maps.Clone(s.tags)
	s.mu.Unlock()
	r := contentsReader{manifests: manifests, have: have, listed: map[digest.Digest]bool{}, visited: map[digest.Digest]bool{}}
	for _, t := range sortedKeys(tags) {
		if err := r.read(tags[t]); err != nil {
			return nil, err
		}
	}
	// Read indexes first, because the order of manifests is that of the indexes.
	for _, wantIndex := range []bool{true, false} {
		for _, d := range sortedKeys(manifests) {
			if isIndex(manifests[d].Descriptor.MediaType) != wantIndex {
				continue
			}
			if err := r.read(d); err != nil {
				return nil, err
			}
		}
	}
	return &contents{order: r.order(), images: r.images, top: r.top(tags)}, nil
}

// contentsReader collects the blobs and manifests that a spool's manifests list.
type contentsReader struct {
	manifests map[digest.Digest]oci.Blob
	have      func(ocispec.Descriptor) bool

	images          []image
	layers, configs []ocispec.Descriptor
	imageManifests  []ocispec.Descriptor
	indexes         []ocispec.Descriptor
	listed          map[digest.Digest]bool // listed by an index
	visited         map[digest.Digest]bool
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == mediatype.DockerList
}

// read reads a manifest, or an index and all manifests in it.
func (r *contentsReader) read(d digest.Digest) error {
	b, ok := r.manifests[d]
	if !ok {
		return fmt.Errorf("manifest %s is missing", d)
	}
	if r.visited[d] {
		return nil
	}
	r.visited[d] = true
	own := ocispec.Descriptor{MediaType: b.Descriptor.MediaType, Digest: d, Size: int64(len(b.Data))}
	if isIndex(own.MediaType) {
		var doc ocispec.Index
		if err := json.Unmarshal(b.Data, &doc); err != nil {
			return fmt.Errorf("read index %s: %w", d, err)
		}
		for _, m := range doc.Manifests {
			r.listed[m.Digest] = true
			if err := r.read(m.Digest); err != nil {
				return fmt.Errorf("index %s: %w", d, err)
			}
		}
		r.indexes = append(r.indexes, own)
		return nil
	}
	var doc ocispec.Manifest
	if err := json.Unmarshal(b.Data, &doc); err != nil {
		return fmt.Errorf("read manifest %s: %w", d, err)
	}
	for _, l := range append([]ocispec.Descriptor{doc.Config}, doc.Layers...) {
		if !r.have(l) {
			return fmt.Errorf("manifest %s: blob %s is missing", d, l.Digest)
		}
	}
	r.layers = append(r.layers, doc.Layers...)
	r.configs = append(r.configs, doc.Config)
	r.imageManifests = append(r.imageManifests, own)
	r.images = append(r.images, image{b, doc})
	return nil
}

// top returns the value of contents.top.
func (r *contentsReader) top(tags map[string]digest.Digest) (top []ocispec.Descriptor) {
	tagged := map[digest.Digest]bool{}
	for _, t := range sortedKeys(tags) {
		tagged[tags[t]] = true
		d := r.manifests[tags[t]].Descriptor
		d.Annotations = map[string]string{ocispec.AnnotationRefName: t}
		top = append(top, d)
	}
	for _, d := range sortedKeys(r.manifests) {
		if !r.listed[d] && !tagged[d] {
			untagged := r.manifests[d].Descriptor
			untagged.Annotations = nil
			top = append(top, untagged)
		}
	}
	return top
}

// order returns the value of contents.order.
func (r *contentsReader) order() (all []ocispec.Descriptor) {
	seen := map[digest.Digest]bool{}
	for _, d := range slices.Concat(r.layers, r.configs, r.imageManifests, r.indexes) {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			all = append(all, d)
		}
	}
	return all
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
