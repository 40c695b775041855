package oci

import (
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Reader is where an image is read from: a registry, an OCI layout or an
// archive. Its methods are called concurrently.
type Reader interface {
	// GetManifest returns the manifest or index that tagOrDigest
	// names, checked against its digest. An error wraps [ErrNotFound] where there
	// is none, and [*ContentError] where it is another one.
	GetManifest(ctx context.Context, tagOrDigest string) (Blob, error)

	// GetBlob returns a blob as a stream that is checked on the way: io.EOF comes
	// only after the last byte of what d describes. An error wraps [ErrNotFound]
	// where there is none, and [*ContentError] where it is another one.
	GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

// ContentError says that what was read is not what its descriptor describes.
type ContentError struct{ What string }

func (e *ContentError) Error() string { return e.What }

func ContentErrorf(format string, args ...any) error {
	return &ContentError{fmt.Sprintf(format, args...)}
}

// OpenedImage is an image that is there to be read.
type OpenedImage struct {
	Reader
	Name        string // for people: the reference, completed
	TagOrDigest string // what GetManifest takes

	// NoManifest says that the format has neither index nor manifest: what
	// GetManifest returns was put together from the archive's list of layers.
	NoManifest bool

	Closer io.Closer
}

// Close ends reading.
func (s *OpenedImage) Close() error {
	if s.Closer == nil {
		return nil
	}
	return s.Closer.Close()
}
