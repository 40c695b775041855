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

// Layout is an OCI image layout in a directory. New images are added to the images that are
// already in the directory. Other processes may add images at the same time.
type Layout struct {
	*spool
	root    string
	created bool // this Layout created the directory, and removes it if nothing is committed

	// Memory, if not nil, remembers which blobs were hashed. An unchanged blob is then not
	// hashed again.
	Memory Memory

	// Warn, if not nil, is called for each damaged blob.
	Warn func(error)

	committed atomic.Bool
	checked   sync.Map // digest.Digest → func() bool, which reports whether the file contains the blob's bytes
}

var _ oci.Destination = (*Layout)(nil)

// Name returns the name of the layout for messages.
func (l *Layout) Name() string { return "oci:" + l.root }

// OpenLayout opens the layout in dir. If there is no layout, it prepares to create one.
func OpenLayout(dir string) (*Layout, error) {
	l := &Layout{root: dir}
	// Another process may remove dir, if that process created it and did not use it.
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
	return nil, fmt.Errorf("open OCI layout: another process keeps removing %s", dir)
}

// checkLayout refuses a directory that contains other files than a layout.
func checkLayout(dir string) error {
	entries, err := os.ReadDir(dir) // list the files before reading oci-layout, because every process writes oci-layout before any blob
	if err != nil {
		return fmt.Errorf("open OCI layout: %w", err)
	}
	marker := filepath.Join(dir, ocispec.ImageLayoutFile)
	data, err := limit.ReadFile(marker, limit.LayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".nixoci-") && !isEmptyIndex(dir, e.Name()) { // files with these names belong to other processes of nixoci
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

// isEmptyIndex reports whether the file name is the empty index.json that Commit writes first
// into a new layout.
func isEmptyIndex(dir, name string) bool {
	if name != ocispec.ImageIndexFile {
		return false
	}
	data, err := limit.ReadFile(filepath.Join(dir, name), limit.LayoutFile)
	return err == nil && string(data) == emptyIndex
}

// layoutIndex is the content of index.json. It preserves the fields and manifests of other
// tools.
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

// put adds d to the list. If d has a tag, put removes the manifest that had this tag before.
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
	return json.Marshal(x.fields) // json.Marshal sorts the keys of a map
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

// stored reports whether the layout contains the blob d, complete and undamaged.
func (l *Layout) stored(d ocispec.Descriptor) bool {
	if d.Digest.Validate() != nil || checkBlobs(filepath.Join(l.root, ocispec.ImageBlobsDir)) != nil {
		return false
	}
	fi, err := os.Lstat(l.blobPath(d.Digest))
	return err == nil && fi.Mode().IsRegular() && fi.Size() == d.Size && l.whole(d.Digest)
}

// Commit implements [oci.Destination]. It writes the blobs first, then index.json. Every
// nixoci process holds a lock while it does this, so no tag is lost.
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

// placeBlobs turns the directory into a layout and moves the spooled blobs of c there. undo
// removes every file that placeBlobs created. undo also works if placeBlobs returns an error.
func (l *Layout) placeBlobs(c *contents) (undo func(), err error) {
	var placed []string
	undo = func() {
		for _, name := range slices.Backward(placed) {
			os.Remove(name)
		}
	}
	// Write index.json before oci-layout: a directory with oci-layout is then always a valid
	// layout, even if this process is killed.
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

// checkBlobs refuses a layout if the directory of its blobs is a symlink. All files of a
// layout must be in the layout's own directory.
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
		os.Remove(l.root) // this fails, as it should, if another process has put files there
	}
	return err
}
