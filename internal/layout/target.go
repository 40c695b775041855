package layout

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/oci"
)

// Kind is a kind of destination that is not a registry.
type Kind string

// The kinds, as they are written before the colon.
const (
	KindLayout        Kind = "oci"            // OCI image layout, a directory
	KindArchive       Kind = "oci-archive"    // the same in a tar
	KindDockerArchive Kind = "docker-archive" // what docker load takes on every version
)

// PathPipe is the path of an archive that is written to standard output. Alone
// it is an OCI archive.
const PathPipe = "-"

// Target is a destination as the user has written it.
type Target struct {
	Kind Kind
	Path string   // [PathPipe] for standard output
	Tags []string // to be given to the image beside those of the command line; NAME:TAG for KindDockerArchive
}

// Tags in a layout: the grammar of org.opencontainers.image.ref.name, without
// the separators that ParseDestination splits at.
var tagPattern = regexp.MustCompile(`^[A-Za-z0-9]+([-._+@/]+[A-Za-z0-9]+)*$`)

const targetHint = "a destination is oci:DIR[:TAG…], oci-archive:FILE[:TAG…], docker-archive:FILE[:NAME:TAG]; a FILE of - is a pipe, and so is - alone"

// ParseDestination reads oci:DIR[:TAG…], oci-archive:FILE[:TAG…],
// docker-archive:FILE[:NAME[:TAG]] or -.
func ParseDestination(s string) (Target, error) {
	bad := func(format string, args ...any) (Target, error) {
		return Target{}, hint.Add(fmt.Errorf("parse destination %q: %s", s, fmt.Sprintf(format, args...)), targetHint)
	}
	if s == PathPipe {
		return Target{Kind: KindArchive, Path: PathPipe}, nil
	}
	kind, rest, found := strings.Cut(s, ":")
	t := Target{Kind: Kind(kind)}
	switch t.Kind {
	case KindLayout, KindArchive, KindDockerArchive:
	default:
		if !found {
			return bad("no kind of destination before a colon")
		}
		return bad("unknown kind %q", kind)
	}
	t.Path, rest, found = strings.Cut(rest, ":")
	if t.Path == "" {
		return bad("no path after %q", kind+":")
	}
	if t.Kind == KindLayout && t.Path == PathPipe {
		return bad("a layout is a directory; in a pipe it is an oci-archive")
	}
	if !found {
		return t, nil
	}
	if t.Kind == KindDockerArchive {
		tag, err := dockerTag(rest)
		if err != nil {
			return bad("%v", err)
		}
		t.Tags = []string{tag}
		return t, nil
	}
	for tag := range strings.SplitSeq(rest, ":") {
		if !tagPattern.MatchString(tag) {
			return bad("%q is not a tag", tag)
		}
		t.Tags = append(t.Tags, tag)
	}
	return t, nil
}

// dockerTag completes NAME[:TAG] to what Docker shows in its list of images.
func dockerTag(s string) (string, error) {
	ref, err := name.NewTag(s)
	if err != nil {
		return "", err
	}
	n, ok := strings.CutSuffix(s, ":"+ref.TagStr())
	if !ok {
		n = s
	}
	return n + ":" + ref.TagStr(), nil
}

// Pipe reports whether the destination is standard output.
func (t Target) Pipe() bool { return t.Path == PathPipe }

// Open opens the destination. w is for a pipe.
func (t Target) Open(w io.Writer) (oci.Destination, error) {
	switch {
	case t.Kind == KindLayout:
		return OpenLayout(t.Path)
	case t.Kind == KindArchive && t.Pipe():
		return PipeArchive(w)
	case t.Kind == KindArchive:
		return CreateArchive(t.Path)
	case t.Kind == KindDockerArchive && t.Pipe():
		return PipeDockerArchive(w)
	case t.Kind == KindDockerArchive:
		return CreateDockerArchive(t.Path)
	}
	return nil, fmt.Errorf("open destination: unknown kind %q", t.Kind)
}
