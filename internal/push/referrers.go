package push

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/manifest"
)

// Artifact is a document that is attached to an image: a statement about it, a
// bill of materials.
type Artifact struct {
	Type        string            // what it is, the artifact type: a media type
	MediaType   string            // of Data
	Data        []byte            // at most [MaxArtifact] bytes
	Annotations map[string]string // of the artifact's manifest
}

// MaxArtifact is the most that is read of an attached document: 5,000 store
// paths are some 12 MB of SBOM.
const MaxArtifact = 64 << 20

const maxReferrerPages = 100 // of one answer, with a Link to the next

// Referrers is implemented by sources that know what is attached to a manifest.
type Referrers interface {
	// Referrers lists the manifests whose subject is subject, by artifact type
	// and then digest. Having none is no error.
	Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error)
}

var _, _, _ Referrers = (*Repository)(nil), (*layoutSource)(nil), (*OpenedSource)(nil)

// Referrers implements [Referrers], for a source that cannot know with nothing.
func (s *OpenedSource) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	if r, ok := s.Source.(Referrers); ok {
		return r.Referrers(ctx, subject)
	}
	return nil, nil
}

// Referrers implements [Referrers] with the registry's own list, or the
// fallback tag where the registry keeps none (distribution-spec 1.1, "Listing
// Referrers").
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	found, supported, err := r.listReferrers(ctx, subject)
	if err == nil && !supported {
		found, err = r.fallback(ctx, subject)
	}
	if err == nil {
		found, err = r.completeReferrers(ctx, found)
	}
	if err != nil {
		return nil, r.fail("list what is attached to "+r.ref(subject.String()), err)
	}
	return found, nil
}

// listReferrers asks the registry. supported is false where it has no such
// list.
func (r *Repository) listReferrers(ctx context.Context, subject digest.Digest) (found []ocispec.Descriptor, supported bool, err error) {
	next := r.url("referrers", subject.String())
	for range maxReferrerPages {
		var page []ocispec.Descriptor
		var link string
		err := r.retrier.do(ctx, func(ctx context.Context) error {
			resp, err := r.send(ctx, request{
				method: http.MethodGet, url: next, header: map[string]string{"Accept": ocispec.MediaTypeImageIndex},
				accept: []int{http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented},
			})
			if err != nil {
				return err
			}
			defer discard(resp)
			// Some gateways answer any address with a page of their own.
			if supported = resp.StatusCode == http.StatusOK && mediaType(resp.Header) == ocispec.MediaTypeImageIndex; !supported {
				return nil
			}
			link = resp.Header.Get("Link")
			data, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
			if err != nil {
				return err
			}
			page, err = parseReferrers(data)
			return err
		})
		if err != nil || !supported {
			return nil, false, err
		}
		found = append(found, page...)
		if next = nextPage(next, link); next == nil {
			return sortReferrers(found), true, nil
		}
	}
	return nil, false, fmt.Errorf("more than %d pages", maxReferrerPages)
}

// completeReferrers reads the artifact type and the annotations where the list
// has not got them: registries of a draft of the specification give the config's
// media type for the artifact type.
func (r *Repository) completeReferrers(ctx context.Context, found []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	for i := range found {
		d := &found[i]
		if d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeEmptyJSON {
			continue
		}
		b, err := r.GetManifest(ctx, d.Digest.String())
		if errors.Is(err, ErrNotFound) {
			continue // the list outlived it
		}
		if err != nil {
			return nil, err
		}
		var m ocispec.Manifest
		if json.Unmarshal(b.Data, &m) == nil {
			d.ArtifactType, d.Annotations = cmp.Or(m.ArtifactType, m.Config.MediaType), m.Annotations
		}
	}
	return sortReferrers(found), nil
}

// nextPage is the address in a Link header (RFC 8288) with rel="next", on the
// same host. nil if there is none.
func nextPage(base *url.URL, link string) *url.URL {
	for l := range strings.SplitSeq(link, ",") {
		target, params, ok := strings.Cut(strings.TrimSpace(l), ">")
		if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		if u, err := base.Parse(target[1:]); err == nil && u.Host == base.Host {
			return u
		}
	}
	return nil
}

func parseReferrers(data []byte) ([]ocispec.Descriptor, error) {
	if len(data) > maxManifest {
		return nil, contentErrorf("larger than %d bytes", maxManifest)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, contentErrorf("not an index: %v", err)
	}
	for _, d := range index.Manifests {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return nil, contentErrorf("lists %q", d.Digest)
		}
	}
	return index.Manifests, nil
}

// sortReferrers gives the order that does not depend on who came first, and
// lists each manifest once.
func sortReferrers(all []ocispec.Descriptor) []ocispec.Descriptor {
	slices.SortStableFunc(all, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(a.ArtifactType, b.ArtifactType), cmp.Compare(a.Digest, b.Digest))
	})
	return slices.CompactFunc(all, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
}

// fallbackTag is the referrers tag of distribution-spec 1.1: at most 128
// characters, of which a sha256 takes 71.
func fallbackTag(subject digest.Digest) string {
	return subject.Algorithm().String() + "-" + subject.Encoded()
}

// fallback reads the list that clients keep themselves.
func (r *Repository) fallback(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	b, err := r.GetManifest(ctx, fallbackTag(subject))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseFallback(b)
}

func parseFallback(b manifest.Blob) ([]ocispec.Descriptor, error) {
	if b.Descriptor.MediaType != ocispec.MediaTypeImageIndex {
		return nil, contentErrorf("it is not a list of referrers but %s", b.Descriptor.MediaType)
	}
	found, err := parseReferrers(b.Data)
	return sortReferrers(found), err
}

// GetArtifact reads an attached document: d is one of what Referrers listed for
// subject. That the document is about subject is checked, not what it says.
func GetArtifact(ctx context.Context, src Source, subject digest.Digest, d ocispec.Descriptor) (Artifact, error) {
	a, err := getArtifact(ctx, src, subject, d)
	if err != nil {
		return Artifact{}, fmt.Errorf("read attached %s %s: %w", d.ArtifactType, d.Digest, err)
	}
	return a, nil
}

func getArtifact(ctx context.Context, src Source, subject digest.Digest, d ocispec.Descriptor) (Artifact, error) {
	b, err := src.GetManifest(ctx, d.Digest.String())
	if err != nil {
		return Artifact{}, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b.Data, &m); err != nil {
		return Artifact{}, contentErrorf("not a manifest: %v", err)
	}
	switch {
	case m.Subject == nil || m.Subject.Digest != subject:
		return Artifact{}, contentErrorf("is not about %s", subject)
	case len(m.Layers) != 1:
		return Artifact{}, contentErrorf("has %d documents", len(m.Layers))
	case m.Layers[0].Size > MaxArtifact:
		return Artifact{}, contentErrorf("has %d bytes, at most %d are read", m.Layers[0].Size, MaxArtifact)
	}
	rc, err := src.GetBlob(ctx, m.Layers[0])
	if err != nil {
		return Artifact{}, err
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		return Artifact{}, err
	}
	return Artifact{Type: cmp.Or(m.ArtifactType, m.Config.MediaType), MediaType: m.Layers[0].MediaType, Data: data, Annotations: m.Annotations}, nil
}

// Referrers implements [Referrers]: a layout lists what is attached in its
// index, with an artifact type.
func (s *layoutSource) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, d := range s.artifacts {
		b, err := s.GetManifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(b.Data, &m); err != nil {
			return nil, contentErrorf("manifest %s: %v", d.Digest, err)
		}
		if m.Subject != nil && m.Subject.Digest == subject {
			d.Annotations = m.Annotations
			found = append(found, d)
		}
	}
	return sortReferrers(found), nil
}
