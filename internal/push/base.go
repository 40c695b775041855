package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// BaseImage is an image on which other images are based. The manifest or index that its reference
// names is read only once.
type BaseImage struct {
	src   *oci.OpenedImage
	name  string
	image func(context.Context) (*manifest.BaseImage, error)
	of    []PlatformBase // one entry for each platform; nil if all platforms have the same base image
}

// PlatformBase names the base image of one platform.
type PlatformBase struct {
	Platform ocispec.Platform
	*BaseImage
}

// NewBaseImages returns a BaseImage that uses another base image for each platform.
func NewBaseImages(of []PlatformBase) *BaseImage { return &BaseImage{of: of} }

// NewBaseImage returns the base image in src. The images based on this image record name as its
// reference. If src is a file, name is "".
func NewBaseImage(src *oci.OpenedImage, name string) *BaseImage {
	b := &BaseImage{src: src, name: name}
	b.image = once(func(ctx context.Context) (*manifest.BaseImage, error) {
		top, err := src.GetManifest(ctx, src.TagOrDigest)
		if err != nil {
			return nil, err
		}
		return manifest.ParseBaseImage(top)
	})
	return b
}

// knownBase is the cache entry of a base image for one platform. Its key is a digest, so the entry
// never becomes outdated.
type knownBase struct {
	Manifest digest.Digest `json:"manifest"`
	manifest.BaseContent
}

// For returns the base for the platform p. If the cache c has an entry for a digest, For does not
// read the content with this digest again.
func (b *BaseImage) For(ctx context.Context, c *Cache, p ocispec.Platform) (*manifest.Base, error) {
	if b.of != nil {
		var platforms []string
		for _, one := range b.of {
			if manifest.SamePlatform(one.Platform, p) {
				return one.For(ctx, c, p)
			}
			platforms = append(platforms, manifest.FormatPlatform(one.Platform))
		}
		return nil, hint.Add(fmt.Errorf("no base image is given for %s", manifest.FormatPlatform(p)), "they are for "+strings.Join(platforms, ", "))
	}
	base, err := b.read(ctx, c, p)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", b.src.Name, err)
	}
	return base, nil
}

func (b *BaseImage) read(ctx context.Context, c *Cache, p ocispec.Platform) (*manifest.Base, error) {
	pinned := digest.Digest(b.src.TagOrDigest)
	if known, ok := b.known(c, pinned, p); ok && pinned.Validate() == nil {
		return manifest.NewBase(b.name, pinned, known.Manifest, known.BaseContent, b.src.Reader), nil
	}
	image, err := b.image(ctx)
	if err != nil {
		return nil, err
	}
	d, err := image.Find(p)
	if err != nil {
		return nil, err
	}
	known, ok := b.known(c, d, p)
	if !ok {
		known.Manifest = d
		if known.BaseContent, err = image.Read(ctx, b.src.Reader, d, p); err != nil {
			return nil, err
		}
	}
	for _, of := range []digest.Digest{d, image.Digest()} {
		_ = c.Put(folderBases, baseKey(of, p), known) // if this write fails, the next push only takes longer
	}
	return manifest.NewBase(b.name, image.Digest(), d, known.BaseContent, b.src.Reader), nil
}

// known returns the cache entry for the index or manifest with digest d.
func (b *BaseImage) known(c *Cache, d digest.Digest, p ocispec.Platform) (k knownBase, ok bool) {
	ok = c.Get(folderBases, baseKey(d, p), &k) && len(k.Layers) > 0
	return k, ok
}

// users returns the users of the base for one platform. If the cache c contains them, users reads
// no layer.
func (b *BaseImage) users(ctx context.Context, c *Cache, p ocispec.Platform) (*application.BaseUsers, error) {
	base, err := b.For(ctx, c, p)
	if err != nil {
		return nil, err
	}
	key := "users of " + base.Manifest.String()
	var known application.BaseUsers
	if c.Get(folderBases, key, &known) {
		return &known, nil
	}
	users, err := base.Users(ctx)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", base.BaseInfo, err)
	}
	_ = c.Put(folderBases, key, users) // if this write fails, the next push only takes longer
	return users, nil
}

func baseKey(d digest.Digest, p ocispec.Platform) string {
	return d.String() + " " + manifest.FormatPlatform(p)
}

// baseLayer is a layer of a base image during a push. The push copies its blob unchanged and never
// unpacks it into files.
type baseLayer struct {
	manifest.BaseLayer
	source  oci.Reader
	outcome Outcome
	shown   *layers.Layer // the layer as [Progress] shows it
}

// BaseResult describes what a push did with one layer of a base image.
type BaseResult struct {
	ocispec.Descriptor
	Outcome Outcome // [Present], [Mounted] or [Copied]
}

// addBase adds the layers of b to the push. A layer that several platforms share is added once.
func (p *pusher) addBase(b *manifest.Base) {
	if b == nil {
		return
	}
	for _, l := range b.Layers {
		if !p.hasBase[l.Digest] {
			p.hasBase[l.Digest] = true
			shown := &layers.Layer{Size: l.Size, Comment: "layer of the base image"}
			p.base = append(p.base, &baseLayer{BaseLayer: l, source: b.Source, shown: shown})
		}
	}
}

// putBase stores the layers of base images in the destination. If the destination has a layer
// already, putBase sends nothing. If it can, the registry mounts the layer from the base's
// repository. Otherwise putBase copies the layer.
func (p *pusher) putBase(ctx context.Context) error {
	uploads := p.job.Uploads
	if _, ordered := p.dst.(oci.Ordered); ordered {
		uploads = 1
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(uploads)
	for _, l := range p.base {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := p.putBaseLayer(ctx, l); err != nil {
				return fmt.Errorf("layer %s of the base image: %w", l.Digest, err)
			}
			p.job.Progress.Done(LayerResult{Layer: l.shown, Packed: layers.Packed{Digest: l.Digest, Size: l.Size, UncompressedSize: l.Size}, Outcome: l.outcome})
			return nil
		})
	}
	return group.Wait()
}

func (p *pusher) putBaseLayer(ctx context.Context, l *baseLayer) error {
	if p.listed[l.Digest] && p.job.ReuseCheck <= 0 {
		l.outcome = Present
		return nil
	}
	if dst, ok := p.dst.(oci.Lazy); ok {
		dst.Offer(l.Descriptor, func(ctx context.Context, w io.Writer) (layers.Packed, error) { return l.copy(ctx, w, func(int) {}) })
		l.outcome = Present
		return nil
	}
	if dst, ok := p.dst.(oci.Mounter); ok {
		if mounted, err := dst.Mount(ctx, l.Digest, l.source); err != nil || mounted {
			l.outcome = Mounted
			return err
		}
	}
	if has, err := p.dst.HasBlob(ctx, l.Descriptor); err != nil || has {
		l.outcome = Present
		return err
	}
	l.outcome = Copied
	_, err := p.dst.PutLayer(ctx, nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		return l.copy(ctx, w, func(n int) { p.job.Progress.Packing(l.shown, n) })
	})
	return err
}

// copy writes the layer's blob to w. It also checks the digest of the blob, and the diffID of the
// tar inside.
func (l *baseLayer) copy(ctx context.Context, w io.Writer, did func(int)) (layers.Packed, error) {
	blob, err := l.source.GetBlob(ctx, l.Descriptor)
	if err != nil {
		return layers.Packed{}, err
	}
	defer blob.Close()
	defer context.AfterFunc(ctx, func() { blob.Close() })() // closing the blob ends a blocked read when ctx is cancelled
	sent := io.TeeReader(blob, writerFunc(func(p []byte) error {
		_, err := w.Write(p)
		did(len(p))
		return err
	}))
	tarSize, diffID, tarErr := hashTar(sent, l.MediaType)
	if _, err := io.Copy(io.Discard, sent); err != nil { // report a wrong digest rather than tarErr
		return layers.Packed{}, errors.Join(context.Cause(ctx), err)
	}
	if tarErr != nil {
		return layers.Packed{}, fmt.Errorf("cannot be decompressed: %w", tarErr)
	}
	if diffID != l.DiffID {
		return layers.Packed{}, oci.ContentErrorf("its diffID is %s, but the config of the base has %s", diffID, l.DiffID)
	}
	return layers.Packed{DiffID: diffID, Digest: l.Digest, Size: l.Size, UncompressedSize: tarSize}, nil
}

type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// hashTar returns the size and the diffID of the tar inside a blob.
func hashTar(blob io.Reader, mediaType string) (size int64, diffID digest.Digest, err error) {
	tar, err := layers.Decompress(blob, mediaType)
	if err != nil {
		return 0, "", err
	}
	defer tar.Close()
	h := sha256.New()
	if size, err = io.Copy(h, tar); err != nil {
		return 0, "", err
	}
	return size, digest.NewDigest(digest.SHA256, h), nil
}

// baseMoved warns if the tag of the base image now names another image. It compares the base of
// this push with the base of the image that the push replaces.
func (p *pusher) baseMoved(ctx context.Context) {
	if len(p.base) == 0 || len(p.job.Tags) == 0 {
		return
	}
	r := p.remoteOf(p.job.Tags[0])
	if r == nil {
		return
	}
	top, err := r.Index(ctx)
	if err != nil || top.Index == nil {
		return
	}
	now := p.images[0].draft.System.Base
	name, was := top.Index.Annotations[ocispec.AnnotationBaseImageName], top.Index.Annotations[ocispec.AnnotationBaseImageDigest]
	if now != nil && name == now.Name && name != "" && was != now.Digest.String() {
		p.warn(fmt.Errorf("base image %s has changed: it is %s now, and was %s when %s was pushed", name, now.Digest, was, r))
	}
}
