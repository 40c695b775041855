package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/oci"
)

// Scheme is the kind of a destination or image that is not in a registry.
type Scheme string

// The schemes, as the user writes them before the colon.
const (
	SchemeLayout        Scheme = "oci"            // OCI image layout, a directory
	SchemeArchive       Scheme = "oci-archive"    // an OCI layout in a tar
	SchemeDockerArchive Scheme = "docker-archive" // a tar that every version of docker load can read
)

// PathPipe is the path that means standard output. Without a scheme, the archive is an OCI
// archive.
const PathPipe = "-"

// Output is a destination that the user named.
type Output struct {
	Scheme Scheme
	Path   string   // [PathPipe] means standard output
	Tags   []string // tags in addition to those on the command line; NAME:TAG for SchemeDockerArchive
}

// tagPattern matches a tag in a layout. It follows the grammar of
// org.opencontainers.image.ref.name, without the characters that separate tags in
// ParseDestination.
var tagPattern = regexp.MustCompile(`^[A-Za-z0-9]+([-._+@/]+[A-Za-z0-9]+)*$`)

const targetHint = "a destination is oci:DIR[:TAG…], oci-archive:FILE[:TAG…], docker-archive:FILE[:NAME:TAG], docker-daemon:NAME[:TAG], containers-storage:NAME[:TAG]; to write to standard output, use - as FILE, or - alone"

// ParseDestination parses oci:DIR[:TAG…], oci-archive:FILE[:TAG…],
// docker-archive:FILE[:NAME[:TAG]] or -.
func ParseDestination(s string) (Output, error) {
	bad := func(format string, args ...any) (Output, error) {
		return Output{}, hint.Add(fmt.Errorf("parse destination %q: %s", s, fmt.Sprintf(format, args...)), targetHint)
	}
	if s == PathPipe {
		return Output{Scheme: SchemeArchive, Path: PathPipe}, nil
	}
	scheme, rest, found := strings.Cut(s, ":")
	o := Output{Scheme: Scheme(scheme)}
	switch o.Scheme {
	case SchemeLayout, SchemeArchive, SchemeDockerArchive:
	default:
		if !found {
			return bad("no kind of destination before a colon")
		}
		return bad("unknown kind %q", scheme)
	}
	o.Path, rest, found = strings.Cut(rest, ":")
	if o.Path == "" {
		return bad("no path after %q", scheme+":")
	}
	if o.Scheme == SchemeLayout && o.Path == PathPipe {
		return bad("a layout is a directory; in a pipe it is an oci-archive")
	}
	if !found {
		return o, nil
	}
	if o.Scheme == SchemeDockerArchive {
		tag, err := DockerName(rest)
		if err != nil {
			return bad("%v", err)
		}
		o.Tags = []string{tag}
		return o, nil
	}
	for tag := range strings.SplitSeq(rest, ":") {
		if !tagPattern.MatchString(tag) {
			return bad("%q is not a tag", tag)
		}
		o.Tags = append(o.Tags, tag)
	}
	return o, nil
}

// DockerName completes NAME[:TAG] to the full name that Docker and podman show in their lists of
// images.
func DockerName(s string) (string, error) {
	ref, err := name.NewTag(s)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(s, ":"+ref.TagStr()) + ":" + ref.TagStr(), nil
}

// Pipe reports whether the archive goes to standard output.
func (o Output) Pipe() bool { return o.Path == PathPipe }

// OpenExisting opens the image in a layout that an image with these tags replaces: the image of the
// first tag that exists. Without tags, the layout must hold exactly one image. If there is no such
// image, or if o is not a layout, OpenExisting returns an error that wraps [oci.ErrNotFound].
func (o Output) OpenExisting(ctx context.Context, tags []string) (*oci.OpenedImage, error) {
	notFound := fmt.Errorf("image in %s: %w", o.Path, oci.ErrNotFound)
	if o.Scheme != SchemeLayout {
		return nil, notFound
	}
	if _, err := os.Stat(filepath.Join(o.Path, ocispec.ImageLayoutFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, notFound
	}
	if len(tags) == 0 {
		tags = []string{""}
	}
	for _, tag := range tags {
		name := string(SchemeLayout) + ":" + o.Path
		if tag != "" {
			name += ":" + tag
		}
		img, err := OpenImage(name)
		if err != nil {
			return nil, err
		}
		if _, err = img.GetManifest(ctx, img.TagOrDigest); err == nil {
			return img, nil
		}
		img.Close()
		if !errors.Is(err, oci.ErrNotFound) {
			return nil, err
		}
	}
	return nil, notFound
}

// Open opens the destination. If o is a pipe, the archive is written to w.
func (o Output) Open(w io.Writer) (oci.Destination, error) {
	switch {
	case o.Scheme == SchemeLayout:
		return OpenLayout(o.Path)
	case o.Scheme == SchemeArchive && o.Pipe():
		return PipeArchive(w)
	case o.Scheme == SchemeArchive:
		return CreateArchive(o.Path)
	case o.Scheme == SchemeDockerArchive && o.Pipe():
		return PipeDockerArchive(w)
	case o.Scheme == SchemeDockerArchive:
		return CreateDockerArchive(o.Path)
	}
	return nil, fmt.Errorf("open destination: unknown kind %q", o.Scheme)
}
