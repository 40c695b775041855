package systems

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// BaseImage describes an image on which other images are based. It reads the image's top manifest or
// index only once.
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
	b.image = task.Once(func(ctx context.Context) (*manifest.BaseImage, error) {
		top, err := src.GetManifest(ctx, src.TagOrDigest)
		if err != nil {
			return nil, err
		}
		return manifest.ParseBaseImage(top)
	})
	return b
}

// recordedBase is the cache entry of a base image for one platform. Its key is a digest, so the entry
// never becomes outdated.
type recordedBase struct {
	Manifest digest.Digest `json:"manifest"`
	manifest.BaseContent
}

// For returns the base image for the platform p. If the cache c contains an entry for the digest of an
// index or manifest, For does not read this index or manifest again.
func (b *BaseImage) For(ctx context.Context, c *cache.Cache, p ocispec.Platform) (*manifest.Base, error) {
	if b.of != nil {
		var platforms []string
		for _, base := range b.of {
			if manifest.SamePlatform(base.Platform, p) {
				return base.For(ctx, c, p)
			}
			platforms = append(platforms, manifest.FormatPlatform(base.Platform))
		}
		return nil, hint.Add(fmt.Errorf("no base image is given for %s", manifest.FormatPlatform(p)), "they are for "+strings.Join(platforms, ", "))
	}
	base, err := b.read(ctx, c, p)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", b.src.Name, err)
	}
	return base, nil
}

func (b *BaseImage) read(ctx context.Context, c *cache.Cache, p ocispec.Platform) (*manifest.Base, error) {
	pinned := digest.Digest(b.src.TagOrDigest)
	if recorded, ok := b.recorded(c, pinned, p); ok && pinned.Validate() == nil {
		return manifest.NewBase(b.name, pinned, recorded.Manifest, recorded.BaseContent, b.src.Reader), nil
	}
	image, err := b.image(ctx)
	if err != nil {
		return nil, err
	}
	d, err := image.Find(p)
	if err != nil {
		return nil, err
	}
	recorded, ok := b.recorded(c, d, p)
	if !ok {
		recorded.Manifest = d
		if recorded.BaseContent, err = image.Read(ctx, b.src.Reader, d, p); err != nil {
			return nil, err
		}
	}
	for _, of := range []digest.Digest{d, image.Digest()} {
		_ = c.Put(cache.FolderBases, baseKey(of, p), recorded) // if this write fails, the next push only takes longer
	}
	return manifest.NewBase(b.name, image.Digest(), d, recorded.BaseContent, b.src.Reader), nil
}

// recorded returns the cache entry for the index or manifest with digest d.
func (b *BaseImage) recorded(c *cache.Cache, d digest.Digest, p ocispec.Platform) (k recordedBase, ok bool) {
	ok = c.Get(cache.FolderBases, baseKey(d, p), &k) && len(k.Layers) > 0
	return k, ok
}

// users returns the users of the base for one platform. If the cache c contains them, users reads
// no layer.
func (b *BaseImage) users(ctx context.Context, c *cache.Cache, p ocispec.Platform) (*application.BaseUsers, error) {
	base, err := b.For(ctx, c, p)
	if err != nil {
		return nil, err
	}
	key := "users of " + base.Manifest.String()
	var recorded application.BaseUsers
	if c.Get(cache.FolderBases, key, &recorded) {
		return &recorded, nil
	}
	users, err := base.Users(ctx)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", base.BaseInfo, err)
	}
	_ = c.Put(cache.FolderBases, key, users) // if this write fails, the next push only takes longer
	return users, nil
}

func baseKey(d digest.Digest, p ocispec.Platform) string {
	return d.String() + " " + manifest.FormatPlatform(p)
}
