package oci

import (
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Reader reads an image from a registry, an OCI layout or an archive. Its methods may be
// called concurrently.
type Reader interface {
	// GetManifest returns the manifest or index with this tag or digest. It checks the
	// content against the digest. The error wraps [ErrNotFound] if the manifest does not
	// exist, and [*ContentError] if its content is wrong.
	GetManifest(ctx context.Context, tagOrDigest string) (Blob, error)

	// GetBlob returns a blob as a stream that checks the bytes: io.EOF comes only after all
	// bytes of d were read. The error wraps [ErrNotFound] if the blob does not exist, and
	// [*ContentError] if its content is wrong.
	GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

// TagLister is a Reader that lists tags.
type TagLister interface {
	Reader

	// NewestTags returns at most n tags, the newest first. It compares the names of the tags
	// with [CompareTags].
	NewestTags(ctx context.Context, n int) ([]string, error)
}

// ContentError means that the content does not match its descriptor.
type ContentError struct{ What string }

func (e *ContentError) Error() string { return e.What }

func ContentErrorf(format string, args ...any) error {
	return &ContentError{fmt.Sprintf(format, args...)}
}

// OpenedImage is an image that is opened for reading.
type OpenedImage struct {
	Reader
	Name        string // full reference, for messages
	TagOrDigest string // argument for GetManifest

	// NoManifest means that the image's format has no index and no manifest. GetManifest then
	// returns a manifest made from the archive's list of layers.
	NoManifest bool

	Closer io.Closer
}

// Close closes the source.
func (s *OpenedImage) Close() error {
	if s.Closer == nil {
		return nil
	}
	return s.Closer.Close()
}
