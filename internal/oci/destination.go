package oci

import (
	"context"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
)

// ErrNotFound says that a destination has no manifest of that name.
var ErrNotFound = errors.New("not found")

// ErrOtherContent says that a layer turned out to have another digest than was
// said of it.
var ErrOtherContent = errors.New("its content is not what was said of it")

// ErrMissingBlob says that a destination refused a manifest, most likely since
// it lacks a blob that the manifest lists.
var ErrMissingBlob = errors.New("a blob is missing")

// PackFunc writes a blob's bytes to w and says what they were. It can be called
// again and writes the same bytes again. An error means that nothing of what
// was written may be kept.
type PackFunc func(ctx context.Context, w io.Writer) (layers.Packed, error)

// Destination takes an image. Its methods are called concurrently, PutManifest
// only when all blobs that the manifest names are there. A destination that
// holds its blobs back until it is committed (a layout, an archive) shows
// nothing before Commit.
type Destination interface {
	// Resolve returns the descriptor (media type, digest, size) of what tag
	// names, and ErrNotFound where there is no such tag.
	Resolve(ctx context.Context, tag string) (ocispec.Descriptor, error)

	// HasBlob reports whether a blob is there. With mounting, it may make it be
	// there.
	HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error)

	// PutLayer runs pack and stores what it writes, in a single pass. It calls
	// pack again when the transfer broke. Where want is not nil the digest is
	// known beforehand, and another result is [ErrOtherContent].
	PutLayer(ctx context.Context, want *layers.Packed, pack PackFunc) (layers.Packed, error)

	// PutBlob stores a config, or a small layer.
	PutBlob(ctx context.Context, b Blob) error

	// PutManifest stores a manifest or index under its digest and, where tag is
	// not "", under that tag.
	PutManifest(ctx context.Context, b Blob, tag string) error

	// Commit makes all of it visible. Close without Commit leaves nothing behind
	// that a person would see.
	Commit(ctx context.Context) error
	Close() error
}

// Ordered is implemented by a destination that writes layers as they come. Its
// PutLayer is to be called for one layer after the other, in the order of the
// manifests, or the result is no longer the same every time.
type Ordered interface{ Ordered() }

// Metered is implemented by a destination where each request costs time, and
// perhaps counts against a limit. Its PutBlob makes one request less than its
// PutLayer.
type Metered interface{ Metered() }

// Forgetful is implemented by a destination that remembers which blobs are
// there. After Forget it asks again.
type Forgetful interface{ Forget() }
