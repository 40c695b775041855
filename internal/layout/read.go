package layout

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

// files gives access to the files of a layout or archive. It reads the files of a tar without
// unpacking the tar.
type files interface {
	// open returns a file and its size in bytes. If there is no such file, the error is
	// errNoFile.
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

func openFiles(scheme, name string) (files, error) {
	if scheme == "oci" {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		if err := checkBlobs(filepath.Join(name, ocispec.ImageBlobsDir)); err != nil {
			root.Close()
			return nil, err
		}
		return dirFiles{root}, nil
	}
	return openTar(name)
}

// dirFiles reads the files in a directory. It cannot open files outside the directory.
type dirFiles struct{ *os.Root }

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NONBLOCK, 0) // do not wait, because the file may be a named pipe
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, errNoFile
	}
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// tarFiles reads the regular files of a tar. openTar finds the positions of all files, so that reading
// a file does not read the tar from its start.
type tarFiles struct {
	*os.File
	at map[string]span
}

type span struct{ offset, size int64 }

func openTar(name string) (*tarFiles, error) {
	f, err := limit.OpenFile(name)
	if err != nil {
		return nil, err
	}
	t := &tarFiles{File: f, at: map[string]span{}}
	if err := t.list(); err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return t, nil
}

func (t *tarFiles) list() error {
	tr := tar.NewReader(t.File) // tar.Reader seeks over the contents of files
	links := map[string]string{}
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if n == limit.ArchiveEntries {
			return fmt.Errorf("more than %d entries", limit.ArchiveEntries)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := t.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			t.at[name] = span{at, h.Size}
		case tar.TypeSymlink: // docker save writes a symlink for a layer that several images share
			links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean(h.Linkname)
		}
	}
	for name, target := range links {
		if s, ok := t.at[target]; ok {
			t.at[name] = s
		}
	}
	return nil
}

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	s, ok := t.at[path.Clean(name)]
	if !ok {
		return nil, 0, errNoFile
	}
	return io.NopCloser(io.NewSectionReader(t.File, s.offset, s.size)), s.size, nil
}

func readAll(f files, name string, limit int64) ([]byte, error) {
	r, size, err := f.open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, limit)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// layoutReader reads an OCI image layout (image-spec, "image-layout.md").
type layoutReader struct {
	name  string
	files files
	tags  map[string]ocispec.Descriptor

	artifacts []ocispec.Descriptor // attached documents
}

// newLayoutReader reads index.json. If tagOrDigest is "", the layout must contain exactly one
// image.
func newLayoutReader(name string, f files, tagOrDigest string) (*layoutReader, string, error) {
	data, err := readAll(f, ocispec.ImageIndexFile, limit.LayoutIndex)
	if err != nil {
		return nil, "", err
	}
	var index ocispec.Index
	err = limit.JSONValues(data, limit.LayoutValues)
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", ocispec.ImageIndexFile, err)
	}
	s := &layoutReader{name: name, files: f, tags: map[string]ocispec.Descriptor{}}
	images := map[digest.Digest]bool{}
	for i, d := range index.Manifests {
		if err := d.Digest.Validate(); err != nil {
			return nil, "", fmt.Errorf("read %s: manifest %d: digest %q: %w", ocispec.ImageIndexFile, i+1, d.Digest, err)
		}
		if d.ArtifactType != "" {
			s.artifacts = append(s.artifacts, d)
			continue
		}
		images[d.Digest] = true
		if tag := d.Annotations[ocispec.AnnotationRefName]; tag != "" {
			s.tags[tag] = d
		}
	}
	switch {
	case tagOrDigest != "":
	case len(images) == 0:
		return nil, "", fmt.Errorf("%s lists no image", ocispec.ImageIndexFile)
	case len(images) > 1:
		return nil, "", fmt.Errorf("%s lists %d images: name one, with :TAG or @DIGEST", ocispec.ImageIndexFile, len(images))
	default:
		for d := range images {
			tagOrDigest = d.String()
		}
	}
	return s, tagOrDigest, nil
}

// NewestTags implements [oci.TagLister].
func (s *layoutReader) NewestTags(_ context.Context, n int) ([]string, error) {
	tags := slices.SortedFunc(maps.Keys(s.tags), func(a, b string) int { return oci.CompareTags(b, a) })
	return tags[:min(n, len(tags))], nil
}

func blobFile(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// GetManifest implements [oci.Reader].
func (s *layoutReader) GetManifest(ctx context.Context, tagOrDigest string) (oci.Blob, error) {
	op := "get manifest " + tagOrDigest + " from " + s.name
	d, tagged := s.tags[tagOrDigest]
	if !tagged {
		if d.Digest = digest.Digest(tagOrDigest); d.Digest.Validate() != nil {
			return oci.Blob{}, fmt.Errorf("%s: %w", op, oci.ErrNotFound)
		}
	}
	data, err := readAll(s.files, blobFile(d.Digest), oci.MaxManifest)
	if errors.Is(err, errNoFile) {
		err = oci.ErrNotFound
	}
	if err != nil {
		return oci.Blob{}, fmt.Errorf("%s: %w", op, err)
	}
	b, err := oci.CheckManifest(data, d.MediaType, d.Digest)
	if err == nil && tagged && d.Size != b.Descriptor.Size {
		err = oci.ContentErrorf("it has %d bytes instead of %d", b.Descriptor.Size, d.Size)
	}
	if err != nil {
		return oci.Blob{}, fmt.Errorf("%s: %w", op, err)
	}
	return b, nil
}

// GetBlob implements [oci.Reader].
func (s *layoutReader) GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("get blob %q from %s: %w", d.Digest, s.name, err)
	}
	return getFile(s.name, s.files, blobFile(d.Digest), d)
}

// getFile opens a blob that is stored as a file.
func getFile(source string, f files, name string, d ocispec.Descriptor) (io.ReadCloser, error) {
	op := fmt.Sprintf("get blob %s from %s", d.Digest, source)
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("%s: no sha256 digest", op)
	}
	r, size, err := f.open(name)
	if errors.Is(err, errNoFile) {
		err = oci.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if size != d.Size {
		r.Close()
		return nil, fmt.Errorf("%s: %w", op, oci.ContentErrorf("it has %d bytes instead of %d", size, d.Size))
	}
	return oci.CheckBlob(r, op, d), nil
}

// dockerReader reads the archives of docker save. They contain manifest.json, a config, and
// layers as files, but no image manifest. So dockerReader makes a manifest. It takes the
// digest of a layer from the file name. If the name contains no digest, it hashes the file.
type dockerReader struct {
	name     string
	files    files
	manifest oci.Blob
	at       map[digest.Digest]string
}

const maxDockerConfig = limit.Config // bytes

func newDockerReader(name string, f files) (*dockerReader, error) {
	data, err := readAll(f, dockerManifest, oci.MaxManifest)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("manifest.json lists %d images, not one", len(list))
	}
	config, err := readAll(f, list[0].Config, maxDockerConfig)
	if err != nil {
		return nil, err
	}
	s := &dockerReader{name: name, files: f, at: map[digest.Digest]string{}}
	m := ocispec.Manifest{MediaType: mediatype.DockerManifest, Config: oci.NewBlob(mediatype.DockerConfig, config).Descriptor}
	if d, ok := digestInName(list[0].Config); ok {
		m.Config.Digest = d
	}
	m.SchemaVersion = 2
	s.at[m.Config.Digest] = list[0].Config
	if n := len(list[0].Layers); n > limit.ImageLayers {
		return nil, fmt.Errorf("manifest.json lists %d layers, more than %d", n, limit.ImageLayers)
	}
	seen := map[string]ocispec.Descriptor{}
	for _, l := range list[0].Layers {
		d, ok := seen[l]
		if !ok {
			if d, err = dockerLayer(f, l); err != nil {
				return nil, err
			}
			seen[l] = d
		}
		s.at[d.Digest] = l
		m.Layers = append(m.Layers, d)
	}
	if data, err = json.Marshal(m); err != nil {
		return nil, err
	}
	s.manifest = oci.NewBlob(mediatype.DockerManifest, data)
	return s, nil
}

// digestInName returns the digest in a file name, for instance <hex>.json, <hex>.tar.gz
// or blobs/sha256/<hex>.
func digestInName(name string) (digest.Digest, bool) {
	hex, _, _ := strings.Cut(path.Base(name), ".")
	d := digest.NewDigestFromEncoded(digest.SHA256, hex)
	return d, d.Validate() == nil
}

// layerType returns the media type of a layer that begins with the bytes magic.
func layerType(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return mediatype.DockerLayerGzip
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return ocispec.MediaTypeImageLayerZstd
	}
	return mediatype.DockerLayer
}

func dockerLayer(f files, name string) (ocispec.Descriptor, error) {
	r, size, err := f.open(name)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	d := ocispec.Descriptor{Size: size}
	h := sha256.New()
	var magic [4]byte
	n, err := io.ReadFull(io.TeeReader(r, h), magic[:])
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return d, fmt.Errorf("read %s: %w", name, err)
	}
	d.MediaType = layerType(magic[:n])
	var named bool
	if d.Digest, named = digestInName(name); !named {
		if _, err := io.Copy(h, r); err != nil {
			return d, fmt.Errorf("read %s: %w", name, err)
		}
		d.Digest = digest.NewDigest(digest.SHA256, h)
	}
	return d, nil
}

// GetManifest implements [oci.Reader].
func (s *dockerReader) GetManifest(ctx context.Context, tagOrDigest string) (oci.Blob, error) {
	if tagOrDigest == "" || tagOrDigest == s.manifest.Descriptor.Digest.String() {
		return s.manifest, nil
	}
	return oci.Blob{}, fmt.Errorf("get manifest %s from %s: %w", tagOrDigest, s.name, oci.ErrNotFound)
}

// GetBlob implements [oci.Reader].
func (s *dockerReader) GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	name, ok := s.at[d.Digest]
	if !ok {
		return nil, fmt.Errorf("get blob %s from %s: %w", d.Digest, s.name, oci.ErrNotFound)
	}
	return getFile(s.name, s.files, name, d)
}

// Detect returns the kind of the file or directory: [SchemeLayout], [SchemeArchive],
// [SchemeDockerArchive], or "" if it is none of them.
func Detect(name string) Scheme {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		if _, err := os.Stat(filepath.Join(name, ocispec.ImageLayoutFile)); err == nil {
			return SchemeLayout
		}
		return ""
	}
	t, err := openTar(name)
	if err != nil {
		return ""
	}
	defer t.Close()
	for _, c := range []struct {
		file   string
		scheme Scheme
	}{{ocispec.ImageLayoutFile, SchemeArchive}, {dockerManifest, SchemeDockerArchive}} {
		if _, ok := t.at[c.file]; ok {
			return c.scheme
		}
	}
	return ""
}

// IsImage reports whether s names a layout or archive for [OpenImage]. It only looks at the
// word before the first colon.
func IsImage(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	switch Scheme(scheme) {
	case SchemeLayout, SchemeArchive, SchemeDockerArchive:
		return found
	}
	return false
}

// OpenImage opens the image s: oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG|@DIGEST] or
// docker-archive:FILE. If the layout or archive contains only one image, the tag can be left
// out.
func OpenImage(s string) (*oci.OpenedImage, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	path, tagOrDigest := splitPath(rest)
	if path == "" {
		return nil, fmt.Errorf("open image %q: no path after %q", s, scheme+":")
	}
	files, err := openFiles(scheme, path)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", s, err)
	}
	opened := &oci.OpenedImage{Name: s, TagOrDigest: tagOrDigest, Closer: files}
	if scheme == "docker-archive" {
		opened.NoManifest = true
		opened.Reader, err = newDockerReader(s, files)
	} else {
		opened.Reader, opened.TagOrDigest, err = newLayoutReader(s, files, tagOrDigest)
	}
	if err != nil {
		files.Close()
		return nil, fmt.Errorf("open image %s: %w", s, err)
	}
	return opened, nil
}

// splitPath splits PATH[:TAG|@DIGEST]. A path may contain colons: if a file with the name s
// exists, s is only a path.
func splitPath(s string) (path, tagOrDigest string) {
	if _, err := os.Lstat(s); err == nil {
		return s, ""
	}
	if path, d, ok := strings.Cut(s, "@"); ok && digest.Digest(d).Validate() == nil {
		return path, d
	}
	path, tagOrDigest, _ = strings.Cut(s, ":")
	return path, tagOrDigest
}

// errNoFile means that a layout or archive does not contain a file.
var errNoFile = errors.New("the archive has no such file")

// Referrers implements [oci.Referrers]. The index of a layout lists attached documents, too.
// Their descriptors have an artifact type.
func (s *layoutReader) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, d := range s.artifacts {
		b, err := s.GetManifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(b.Data, &m); err != nil {
			return nil, oci.ContentErrorf("manifest %s: %v", d.Digest, err)
		}
		if m.Subject != nil && m.Subject.Digest == subject {
			d.Annotations = m.Annotations
			found = append(found, d)
		}
	}
	return oci.SortReferrers(found), nil
}
