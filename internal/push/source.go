package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/manifest"
)

// Source is where an image is read from: a registry, an OCI layout or an
// archive. Its methods are called concurrently.
type Source interface {
	// GetManifest returns the manifest or index that target, a tag or a digest,
	// names, checked against its digest. An error wraps [ErrNotFound] where there
	// is none, and [*ContentError] where it is another one.
	GetManifest(ctx context.Context, target string) (manifest.Blob, error)

	// GetBlob returns a blob as a stream that is checked on the way: io.EOF comes
	// only after the last byte of what d describes. An error wraps [ErrNotFound]
	// where there is none, and [*ContentError] where it is another one.
	GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

var _ Source = (*Repository)(nil)

// ContentError says that what was read is not what its descriptor describes.
type ContentError struct{ What string }

func (e *ContentError) Error() string { return e.What }

func contentErrorf(format string, args ...any) error {
	return &ContentError{fmt.Sprintf(format, args...)}
}

// OpenedSource is an image that is there to be read.
type OpenedSource struct {
	Source
	Name   string // for people: the reference, completed
	Target string // what GetManifest takes

	// NoManifest says that the format has neither index nor manifest: what
	// GetManifest returns was put together from the archive's list of layers.
	NoManifest bool

	close func() error
}

// Close ends reading.
func (s *OpenedSource) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// OpenSource opens what s names: a reference, oci:DIR[:TAG|@DIGEST],
// oci-archive:FILE[:TAG|@DIGEST] or docker-archive:FILE. Of a layout or archive
// with one image, no tag need be named.
func OpenSource(s string, o Options) (*OpenedSource, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "oci", "oci-archive", "docker-archive":
	default:
		ref, err := ParseReference(s)
		if err != nil {
			return nil, err
		}
		o.ReadOnly = true
		repo, err := Open(ref.Repository, o)
		if err != nil {
			return nil, err
		}
		return &OpenedSource{Source: repo, Name: ref.String(), Target: ref.Target(), close: repo.Close}, nil
	}
	path, target := splitTarget(rest)
	if path == "" {
		return nil, fmt.Errorf("open image %q: no path after %q", s, kind+":")
	}
	files, err := openFiles(kind, path)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", s, err)
	}
	opened := &OpenedSource{Name: s, Target: target, close: files.Close}
	if kind == "docker-archive" {
		opened.NoManifest = true
		opened.Source, err = newDockerSource(s, files)
	} else {
		opened.Source, opened.Target, err = newLayoutSource(s, files, target)
	}
	if err != nil {
		files.Close()
		return nil, fmt.Errorf("open image %s: %w", s, err)
	}
	return opened, nil
}

// splitTarget divides PATH[:TAG|@DIGEST]. A path may have colons: the whole is
// the path where there is such a file.
func splitTarget(s string) (path, target string) {
	if _, err := os.Lstat(s); err == nil {
		return s, ""
	}
	if path, d, ok := strings.Cut(s, "@"); ok && digest.Digest(d).Validate() == nil {
		return path, d
	}
	path, target, _ = strings.Cut(s, ":")
	return path, target
}

// errNoFile is a file that a layout or archive should have.
var errNoFile = errors.New("no such file in it")
