package layout

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// Archive writes a tar file. The file gets its name only when it is complete.
type Archive struct {
	*spool
	file   string
	docker bool
}

var _ oci.Destination = (*Archive)(nil)

// CreateArchive creates an archive that contains an OCI layout.
func CreateArchive(file string) (*Archive, error) { return createArchive(file, false) }

// CreateDockerArchive creates an archive for docker load. It can contain only one platform.
// Docker before version 23 can load it only if the layers use gzip or no compression.
func CreateDockerArchive(file string) (*Archive, error) { return createArchive(file, true) }

func createArchive(file string, docker bool) (*Archive, error) {
	if fi, err := os.Stat(file); err == nil && !fi.Mode().IsRegular() {
		return nil, hint.Add(fmt.Errorf("create archive %s: the file exists and is not a regular file", file), "use - to write to a pipe")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create archive: %w", err)
	}
	s, err := newSpool(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("create archive %s: %w", file, err)
	}
	return &Archive{spool: s, file: file, docker: docker}, nil
}

// Resolve implements [oci.Destination]. It finds nothing, because an archive is always
// new.
func (a *Archive) Resolve(ctx context.Context, tag string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, fmt.Errorf("look up %s in %s: %w", tag, a.file, oci.ErrNotFound)
}

// HasBlob implements [oci.Destination].
func (a *Archive) HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	return a.spool.has(d.Digest), nil
}

// Commit implements [oci.Destination].
func (a *Archive) Commit(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = full(a.dir, fmt.Errorf("write archive %s: %w", a.file, err))
		}
	}()
	c, err := a.contents(func(d ocispec.Descriptor) bool { return a.spool.has(d.Digest) })
	if err != nil {
		return err
	}
	tmp, err := atomicfile.Create(a.dir)
	if err != nil {
		return err
	}
	defer tmp.Close()
	tw := &tarFile{Writer: tar.NewWriter(tmp)}
	if a.docker {
		err = a.writeDocker(ctx, tw, c, map[digest.Digest]bool{})
	} else {
		err = a.writeOCI(ctx, tw, c, map[digest.Digest]bool{})
	}
	if err != nil {
		return err
	}
	if err := atomicfile.Commit(tmp, a.file); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(a.file))
}

// Close implements [oci.Destination].
func (a *Archive) Close() error { return a.spool.remove() }

// writeOCI writes the layout, except the blobs in written, which are already in the tar. It
// also writes the manifest.json of a docker-archive. docker load needs this file, unless
// Docker stores its images in containerd.
func (s *spool) writeOCI(ctx context.Context, tw *tarFile, c *contents, written map[digest.Digest]bool) error {
	for _, d := range c.order {
		if err := tw.once(ctx, s, ociPath(d.Digest), d.Digest, written); err != nil {
			return err
		}
	}
	index, err := json.Marshal(struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		Manifests     []ocispec.Descriptor `json:"manifests"`
	}{2, ocispec.MediaTypeImageIndex, c.top})
	if err != nil {
		return err
	}
	if err := tw.data(ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	if err := tw.data(ocispec.ImageLayoutFile, []byte(layoutJSON)); err != nil {
		return err
	}
	entries := make([]dockerEntry, len(c.images))
	for i, img := range c.images {
		entries[i] = dockerEntry{Config: ociPath(img.doc.Config.Digest), RepoTags: []string{}}
		for _, l := range img.doc.Layers {
			entries[i].Layers = append(entries[i].Layers, ociPath(l.Digest))
		}
	}
	// Only the image of the first platform gets the tags: in Docker a tag can name only one
	// image.
	for _, t := range sortedKeys(s.tags) {
		if tag, err := DockerName(t); err == nil && strings.ContainsAny(t, ":/") && len(entries) > 0 {
			entries[0].RepoTags = append(entries[0].RepoTags, tag)
		}
	}
	if err := tw.json(dockerManifest, entries); err != nil {
		return err
	}
	return tw.Close()
}

func ociPath(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// dockerManifest lists the images of an archive for docker load.
const dockerManifest = "manifest.json"

// dockerEntry describes one image in manifest.json. File names are relative to the archive.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// writeDocker writes the files that docker save writes, except the legacy files. It leaves
// out the layers in written, which are already in the tar.
func (s *spool) writeDocker(ctx context.Context, tw *tarFile, c *contents, written map[digest.Digest]bool) error {
	if len(c.images) != 1 {
		return hint.Add(fmt.Errorf("a docker-archive can hold one platform, not %d", len(c.images)),
			"choose one with --platform, or write an oci-archive")
	}
	img := c.images[0]
	entry := dockerEntry{Config: img.doc.Config.Digest.Encoded() + ".json"}
	for _, t := range sortedKeys(s.tags) {
		tag, err := DockerName(t)
		if err != nil {
			return err
		}
		entry.RepoTags = append(entry.RepoTags, tag)
	}
	for _, l := range img.doc.Layers {
		path := dockerLayerPath(l)
		entry.Layers = append(entry.Layers, path)
		if err := tw.once(ctx, s, path, l.Digest, written); err != nil {
			return err
		}
	}
	if err := tw.blob(ctx, s, entry.Config, img.doc.Config.Digest); err != nil {
		return err
	}
	if err := tw.json(dockerManifest, []dockerEntry{entry}); err != nil {
		return err
	}
	return tw.Close()
}

// dockerLayerPath returns the name of a layer in a docker-archive.
func dockerLayerPath(l ocispec.Descriptor) string {
	return l.Digest.Encoded() + layerSuffix(l.MediaType)
}

func layerSuffix(mediaType string) string {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return ".tar.gz"
	case strings.HasSuffix(mediaType, "zstd"):
		return ".tar.zst"
	}
	return ".tar"
}

// tarFile writes regular files into a tar. The headers contain only names and sizes, no
// owners and no times.
type tarFile struct{ *tar.Writer }

func (t *tarFile) header(name string, size int64) error {
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
}

func (t *tarFile) data(name string, data []byte) error {
	if err := t.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

func (t *tarFile) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.data(name, data)
}

// once moves a blob from the spool into the tar, unless written contains the blob.
func (t *tarFile) once(ctx context.Context, s *spool, name string, d digest.Digest, written map[digest.Digest]bool) error {
	if written[d] {
		return nil
	}
	written[d] = true
	return t.blob(ctx, s, name, d)
}

// blob moves a blob from the spool into the tar.
func (t *tarFile) blob(ctx context.Context, s *spool, name string, d digest.Digest) error {
	f, err := os.Open(s.path(d))
	if err != nil {
		return err
	}
	defer f.Close()
	s.mu.Lock()
	size := s.blobs[d]
	s.mu.Unlock()
	if err := t.header(name, size); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := f.Read(buf)
		if _, werr := t.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return os.Remove(f.Name()) // the tar contains the blob now, so free the space
		}
		if err != nil {
			return err
		}
	}
}

// Pipe writes an archive to a stream. In a tar, the size of a file comes before the file's
// content. So Pipe first writes each layer into the directory for temporary files, which
// needs room for one layer at a time.
type Pipe struct {
	*spool
	docker  bool
	mu      sync.Mutex // protects the tar
	tw      *tarFile
	written map[digest.Digest]bool
}

var (
	_ oci.Destination = (*Pipe)(nil)
	_ oci.Ordered     = (*Pipe)(nil)
)

// PipeArchive returns a destination that writes to w the same bytes as [CreateArchive].
func PipeArchive(w io.Writer) (*Pipe, error) { return pipeArchive(w, false) }

// PipeDockerArchive returns a destination that writes to w the same bytes as
// [CreateDockerArchive].
func PipeDockerArchive(w io.Writer) (*Pipe, error) { return pipeArchive(w, true) }

func pipeArchive(w io.Writer, docker bool) (*Pipe, error) {
	s, err := newSpool(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("write archive to a pipe: %w", err)
	}
	return &Pipe{spool: s, docker: docker, tw: &tarFile{tar.NewWriter(w)}, written: map[digest.Digest]bool{}}, nil
}

// Ordered implements [oci.Ordered].
func (*Pipe) Ordered() {}

// Resolve implements [oci.Destination].
func (p *Pipe) Resolve(ctx context.Context, tag string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, oci.ErrNotFound
}

// HasBlob implements [oci.Destination].
func (p *Pipe) HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	return p.spool.has(d.Digest), nil
}

// PutLayer implements [oci.Destination].
func (p *Pipe) PutLayer(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	packed, err := p.spool.PutLayer(ctx, want, pack)
	if err != nil {
		return packed, err
	}
	if p.written[packed.Digest] {
		return packed, os.Remove(p.spool.path(packed.Digest))
	}
	name := ociPath(packed.Digest)
	if p.docker {
		if name, err = p.dockerName(packed.Digest); err != nil {
			return layers.Packed{}, err
		}
	}
	if err := p.tw.once(ctx, p.spool, name, packed.Digest, p.written); err != nil {
		return layers.Packed{}, fmt.Errorf("write layer %s to the pipe: %w", packed.Digest, err)
	}
	return packed, nil
}

// dockerName returns the name that a spooled layer gets in a docker-archive. The suffix
// depends on the compression. The first bytes of the layer show which one it is.
func (p *Pipe) dockerName(d digest.Digest) (string, error) {
	f, err := os.Open(p.spool.path(d))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return "", err
	}
	return dockerLayerPath(ocispec.Descriptor{Digest: d, MediaType: layerType(magic[:n])}), nil
}

// Commit implements [oci.Destination].
func (p *Pipe) Commit(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, err := p.contents(func(d ocispec.Descriptor) bool { return p.spool.has(d.Digest) })
	if err == nil {
		write := p.writeOCI
		if p.docker {
			write = p.writeDocker
		}
		err = write(ctx, p.tw, c, p.written)
	}
	if err != nil {
		return fmt.Errorf("write archive to the pipe: %w", err)
	}
	return nil
}

// Close implements [oci.Destination].
func (p *Pipe) Close() error { return p.spool.remove() }
