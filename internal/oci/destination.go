package oci

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
)

// ErrNotFound means that there is no manifest or blob with this name or digest.
var ErrNotFound = errors.New("not found")

// ErrOtherContent means that a packed layer has another digest than the one that was
// claimed.
var ErrOtherContent = errors.New("its content differs from the recorded one")

// ErrMissingBlob means that a destination refused a manifest, probably because it lacks a
// blob that the manifest lists.
var ErrMissingBlob = errors.New("a blob is missing")

// PackFunc writes a blob's bytes to w and returns their digests and sizes. It can be
// called again and then writes the same bytes. After an error the destination must
// discard the written bytes.
type PackFunc func(ctx context.Context, w io.Writer) (layers.Packed, error)

// Destination stores an image. Its methods may be called concurrently. PutManifest may be
// called only when all blobs of the manifest are stored. Some destinations (a layout, an
// archive) hold their blobs back: they show nothing before Commit.
type Destination interface {
	// Resolve returns the descriptor (media type, digest, size) for a tag, or ErrNotFound
	// if there is no such tag.
	Resolve(ctx context.Context, tag string) (ocispec.Descriptor, error)

	// HasBlob reports whether the destination has a blob. A registry may mount the blob
	// from another repository to get it.
	HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error)

	// PutLayer runs pack and stores the bytes that it writes, in a single pass. If the
	// transfer breaks, it calls pack again. If want is not nil, the digest is already
	// known, and another result gives [ErrOtherContent].
	PutLayer(ctx context.Context, want *layers.Packed, pack PackFunc) (layers.Packed, error)

	// PutBlob stores a config or a small layer.
	PutBlob(ctx context.Context, b Blob) error

	// PutManifest stores a manifest or index under its digest. If tag is not "", it also
	// sets that tag.
	PutManifest(ctx context.Context, b Blob, tag string) error

	// Commit makes everything visible. Close without Commit leaves no visible files
	// behind.
	Commit(ctx context.Context) error
	Close() error
}

// Ordered is implemented by a destination that writes layers as they come. Its PutLayer
// must be called for one layer after another, in the order of the manifests. Otherwise
// the result would not be reproducible.
type Ordered interface{ Ordered() }

// Mounter is implemented by a destination that can take a blob from another place
// without reading it. Mount reports whether it did.
type Mounter interface {
	Mount(ctx context.Context, d digest.Digest, from Reader) (bool, error)
}

// Metered is implemented by a destination at which each request costs time, and perhaps
// counts against a limit. Its PutBlob needs one request less than its PutLayer.
type Metered interface{ Metered() }

// Forgetful is implemented by a destination that remembers which blobs exist. After
// Forget it asks again.
type Forgetful interface{ Forget() }

// Lazy is implemented by a destination that takes a layer only when it needs the layer's
// bytes. Offer tells it that the layer d is what pack writes. It replaces PutLayer.
type Lazy interface {
	Offer(d ocispec.Descriptor, pack PackFunc)
}
