package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
)

// Layout is an OCI image layout in a directory. What is put into it comes to
// those that are there already; other processes may do the same meanwhile.
type Layout struct {
	*spool
	root    string
	created bool // by us: it goes away again if nothing is committed

	// Memory, if any, spares hashing blobs that did not change since.
	Memory Memory

	// Warn, if any, is told of damaged blobs.
	Warn func(error)

	committed atomic.Bool
	checked   sync.Map // digest.Digest → func() bool: whether the file is the blob
}

var _ oci.Destination = (*Layout)(nil)

// Name is the layout's, for people.
func (l *Layout) Name() string { return "oci:" + l.root }

// OpenLayout opens the layout in dir, or prepares to make one there.
func OpenLayout(dir string) (*Layout, error) {
	l := &Layout{root: dir}
	// Another process may remove a directory that it has made for nothing.
	for range 10 {
		_, err := os.Lstat(dir)
		l.created = errors.Is(err, fs.ErrNotExist)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("create OCI layout: %w", err)
		}
		if err := checkLayout(dir); err != nil {
			return nil, err
		}
		l.spool, err = newSpool(dir)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open OCI layout: %w", err)
		}
	}
	return nil, fmt.Errorf("open OCI layout: %s is removed again and again", dir)
}

// checkLayout refuses a directory that has something else in it.
func checkLayout(dir string) error {
	entries, err := os.ReadDir(dir) // first: another process writes the marker before any blob
	if err != nil {
		return fmt.Errorf("open OCI layout: %w", err)
	}
	marker := filepath.Join(dir, ocispec.ImageLayoutFile)
	data, err := limit.ReadFile(marker, limit.LayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".nixoci-") && !isEmptyIndex(dir, e.Name()) { // of another process
				return hint.Add(fmt.Errorf("open OCI layout: %s is neither empty nor an OCI layout", dir), "name a new directory")
			}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open OCI layout: %w", err)
	}
	var doc ocispec.ImageLayout
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("read %s: %w", marker, err)
	}
	if doc.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("open OCI layout %s: version %q is not known, only %s", dir, doc.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

func (l *Layout) blobPath(d digest.Digest) string {
	return filepath.Join(l.root, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// isEmptyIndex reports whether name is the index.json that Commit writes into a
// new layout before anything else.
func isEmptyIndex(dir, name string) bool {
	if name != ocispec.ImageIndexFile {
		return false
	}
	data, err := limit.ReadFile(filepath.Join(dir, name), limit.LayoutFile)
	return err == nil && string(data) == emptyIndex
}

// layoutIndex is index.json. What others have written into it stays as it is.
type layoutIndex struct {
	fields    map[string]json.RawMessage
	manifests []json.RawMessage
}

func (l *Layout) readIndex() (*layoutIndex, error) {
	path := filepath.Join(l.root, ocispec.ImageIndexFile)
	x := &layoutIndex{fields: map[string]json.RawMessage{
		"schemaVersion": json.RawMessage("2"),
		"mediaType":     json.RawMessage(`"` + ocispec.MediaTypeImageIndex + `"`),
	}}
	data, err := limit.ReadFile(path, limit.LayoutIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	clear(x.fields)
	if err := json.Unmarshal(data, &x.fields); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if x.fields == nil {
		return nil, fmt.Errorf("read %s: null, not an index", path)
	}
	if m, ok := x.fields["manifests"]; ok {
		if err := json.Unmarshal(m, &x.manifests); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return x, nil
}

// put lists d. A tag names one thing, so what had it before is no longer listed.
func (x *layoutIndex) put(d ocispec.Descriptor) error {
	tag := d.Annotations[ocispec.AnnotationRefName]
	var kept []json.RawMessage
	for _, raw := range x.manifests {
		var m ocispec.Descriptor
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("read descriptor in %s: %w", ocispec.ImageIndexFile, err)
		}
		its := m.Annotations[ocispec.AnnotationRefName]
		if its == tag && (tag != "" || m.Digest == d.Digest) {
			continue
		}
		kept = append(kept, raw)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	x.manifests = append(kept, raw)
	return nil
}

func (x *layoutIndex) marshal() ([]byte, error) {
	if x.manifests == nil {
		x.manifests = []json.RawMessage{}
	}
	m, err := json.Marshal(x.manifests)
	if err != nil {
		return nil, err
	}
	x.fields["manifests"] = m
	return json.Marshal(x.fields) // a map: in the order of its keys
}

// Resolve implements [oci.Destination].
func (l *Layout) Resolve(ctx context.Context, tag string) (ocispec.Descriptor, error) {
	x, err := l.readIndex()
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("look up %s in %s: %w", tag, l.root, err)
	}
	for _, raw := range x.manifests {
		var d ocispec.Descriptor
		if err := json.Unmarshal(raw, &d); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("look up %s in %s: %w", tag, l.root, err)
		}
		if d.Annotations[ocispec.AnnotationRefName] == tag {
			return d, nil
		}
	}
	if d := digest.Digest(tag); d.Validate() == nil {
		if st, err := os.Lstat(l.blobPath(d)); err == nil && l.stored(ocispec.Descriptor{Digest: d, Size: st.Size()}) {
			return ocispec.Descriptor{Digest: d, Size: st.Size()}, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("look up %s in %s: %w", tag, l.root, oci.ErrNotFound)
}

// HasBlob implements [oci.Destination].
func (l *Layout) HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	if l.spool.has(d.Digest) {
		return true, nil
	}
	if err := d.Digest.Validate(); err != nil {
		return false, fmt.Errorf("look up blob %q in %s: %w", d.Digest, l.root, err)
	}
	return l.stored(d), nil
}

// stored reports whether the layout has the blob, whole.
func (l *Layout) stored(d ocispec.Descriptor) bool {
	if d.Digest.Validate() != nil || checkBlobs(filepath.Join(l.root, ocispec.ImageBlobsDir)) != nil {
		return false
	}
	fi, err := os.Lstat(l.blobPath(d.Digest))
	return err == nil && fi.Mode().IsRegular() && fi.Size() == d.Size && l.whole(d.Digest)
}

// Commit implements [oci.Destination]: blobs, then index.json, under a lock that
// every writer of this program takes, so that no tag is lost.
func (l *Layout) Commit(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = full(l.dir, fmt.Errorf("commit to OCI layout %s: %w", l.root, err))
		}
	}()
	unlock, err := atomicfile.Lock(ctx, l.root)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := l.contents(func(d ocispec.Descriptor) bool { return l.spool.has(d.Digest) || l.stored(d) })
	if err != nil {
		return err
	}
	undo, err := l.placeBlobs(c)
	defer func() {
		if err != nil {
			undo()
		}
	}()
	if err != nil {
		return err
	}
	x, err := l.readIndex()
	if err != nil {
		return err
	}
	for _, d := range c.top {
		if err := x.put(d); err != nil {
			return err
		}
	}
	index, err := x.marshal()
	if err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(l.root, ocispec.ImageIndexFile), index); err != nil {
		return err
	}
	l.committed.Store(true)
	return atomicfile.SyncDir(l.root)
}

// placeBlobs makes the directory a layout and moves the spooled blobs of c into
// it. undo removes what did not exist before, also after an error.
func (l *Layout) placeBlobs(c *contents) (undo func(), err error) {
	var placed []string
	undo = func() {
		for _, name := range slices.Backward(placed) {
			os.Remove(name)
		}
	}
	// The index first: with the marker it is a layout, and it stays one if this
	// process is killed.
	for _, f := range []struct{ name, content string }{{ocispec.ImageIndexFile, emptyIndex}, {ocispec.ImageLayoutFile, layoutJSON}} {
		name := filepath.Join(l.root, f.name)
		if _, err := os.Lstat(name); err != nil {
			if err := atomicfile.Write(name, []byte(f.content)); err != nil {
				return undo, err
			}
			placed = append(placed, name)
		}
	}
	blobs := filepath.Join(l.root, ocispec.ImageBlobsDir)
	if err := checkBlobs(blobs); err != nil {
		return undo, err
	}
	for _, dir := range []string{blobs, filepath.Join(blobs, digest.SHA256.String())} {
		switch err := os.Mkdir(dir, 0o777); {
		case err == nil:
			placed = append(placed, dir)
		case !errors.Is(err, fs.ErrExist):
			return undo, err
		}
	}
	for _, d := range c.order {
		if !l.spool.has(d.Digest) || l.stored(d) {
			continue
		}
		if _, err := os.Lstat(l.blobPath(d.Digest)); err != nil {
			placed = append(placed, l.blobPath(d.Digest))
		}
		if err := os.Rename(l.spool.path(d.Digest), l.blobPath(d.Digest)); err != nil {
			return undo, err
		}
		l.remember(d.Digest)
	}
	return undo, atomicfile.SyncDir(filepath.Join(blobs, digest.SHA256.String()))
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`

const layoutJSON = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`

// checkBlobs refuses directories that are somewhere else: what is in a layout is
// in its directory.
func checkBlobs(blobs string) error {
	for _, dir := range []string{blobs, filepath.Join(blobs, digest.SHA256.String())} {
		if st, err := os.Lstat(dir); err == nil && !st.IsDir() {
			return hint.Add(fmt.Errorf("%s is not a directory", dir), "a layout's blobs cannot be behind a symlink; name the directory itself")
		}
	}
	return nil
}

// Close implements [oci.Destination].
func (l *Layout) Close() error {
	err := l.spool.remove()
	if l.created && !l.committed.Load() {
		os.Remove(l.root) // fails, as it should, when another process has put something there
	}
	return err
}
