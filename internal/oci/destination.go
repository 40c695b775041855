package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
)

// ErrNotFound means that no manifest or blob has this name or digest.
var ErrNotFound = errors.New("not found")

// ErrOtherContent means that a packed layer has another digest than the recorded one.
var ErrOtherContent = errors.New("its content differs from the recorded one")

// OtherContent returns an error for a layer that was packed again and whose digest is now got
// instead of want. The error wraps [ErrOtherContent].
func OtherContent(want, got digest.Digest) error {
	return fmt.Errorf("layer %s: made again, it has digest %s: %w", want, got, ErrOtherContent)
}

// ErrMissingBlob means that a destination refused a manifest, probably because it lacks a
// blob that the manifest lists.
var ErrMissingBlob = errors.New("a blob is missing")

// PackFunc writes a blob's bytes to w and returns their digests and sizes. It can be called
// several times and always writes the same bytes. After an error the destination must discard
// the written bytes. A destination gets a function, because a layer can be larger than the
// memory, and because only the destination knows when a broken transfer must start again.
type PackFunc func(ctx context.Context, w io.Writer) (layers.Packed, error)

// Destination stores an image. Its methods may be called concurrently. PutManifest may be
// called only after all blobs of the manifest were stored. Some destinations (a layout, an
// archive) keep their blobs in a temporary directory: nothing is visible before Commit.
type Destination interface {
	// Resolve returns the descriptor (media type, digest, size) for a tag, or ErrNotFound
	// if there is no such tag.
	Resolve(ctx context.Context, tag string) (ocispec.Descriptor, error)

	// HasBlob reports whether the destination stores a blob. A registry may mount the blob
	// from another repository and then report true.
	HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error)

	// PutLayer calls pack and stores the bytes that pack writes, in a single pass. If the
	// transfer breaks, it calls pack again. If want is not nil, the layer's digests and sizes
	// are already known. If pack returns other digests or sizes, PutLayer returns [ErrOtherContent].
	PutLayer(ctx context.Context, want *layers.Packed, pack PackFunc) (layers.Packed, error)

	// PutBlob stores a config or a small layer.
	PutBlob(ctx context.Context, b Blob) error

	// PutManifest stores a manifest or index under its digest. If tag is not "", it also
	// sets that tag.
	PutManifest(ctx context.Context, b Blob, tag string) error

	// Commit makes the image visible. If Close is called without Commit, no visible files
	// remain.
	Commit(ctx context.Context) error
	Close() error
}

// Ordered is implemented by a destination that writes layers in the order in which it gets
// them. Its PutLayer must be called for one layer after another, in the order of the
// manifests. Otherwise the result would not be reproducible.
type Ordered interface{ Ordered() }

// Mounter is implemented by a destination that can copy a blob from another place without
// reading it. Mount reports whether it copied the blob.
type Mounter interface {
	Mount(ctx context.Context, d digest.Digest, from Reader) (bool, error)
}

// Metered is implemented by a destination where each request takes time, and may count toward
// a rate limit. Its PutBlob needs one request less than its PutLayer.
type Metered interface{ Metered() }

// Forgetful is implemented by a destination that remembers which blobs exist. After Forget,
// HasBlob asks again.
type Forgetful interface{ Forget() }

// Lazy is implemented by a destination that reads a layer only when it needs the layer's
// bytes. Callers use Offer instead of PutLayer. pack writes the bytes of the layer d.
type Lazy interface {
	Offer(d ocispec.Descriptor, pack PackFunc)
}
