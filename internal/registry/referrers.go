package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

const (
	maxReferrerBytes = 16 << 20 // size of all pages of one list together
	manifestsAtOnce  = 16       // number of manifests that completeReferrers reads at once
)

var _ oci.Referrers = (*Repository)(nil)

// Referrers implements [oci.Referrers]. It reads the registry's own list of referrers. If the
// registry keeps no such list, Referrers reads the list under the fallback tag (distribution-spec
// 1.1, "Listing Referrers").
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	found, supported, err := r.listReferrers(ctx, subject)
	switch {
	case err == nil && !supported:
		found, err = r.fallback(ctx, subject)
	case throttled(err):
		// Some registries redirect this request to another server, which refuses most requests. If
		// there is a list under the fallback tag, use that list. If there is none, documents may
		// still be attached, so return the error.
		if tagged, tagErr := r.fallback(ctx, subject); tagErr == nil && len(tagged) > 0 {
			found, err = tagged, nil
		}
	}
	if err == nil {
		found, err = r.completeReferrers(ctx, found)
	}
	if err != nil {
		return nil, r.fail("list what is attached to "+r.Ref(subject.String()), err)
	}
	return found, nil
}

func throttled(err error) bool {
	e, ok := errors.AsType[*ResponseError](err)
	return ok && e.Status == http.StatusTooManyRequests
}

// listReferrers reads the registry's own list of referrers. supported is false if the registry
// keeps no such list.
func (r *Repository) listReferrers(ctx context.Context, subject digest.Digest) (found []ocispec.Descriptor, supported bool, err error) {
	next := r.url("referrers", subject.String())
	size := 0
	for range limit.ReferrerPages {
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
			// Some gateways answer every address with a page of their own, so check the media type.
			if supported = resp.StatusCode == http.StatusOK && mediaType(resp.Header) == ocispec.MediaTypeImageIndex; !supported {
				return nil
			}
			link = resp.Header.Get("Link")
			data, err := io.ReadAll(io.LimitReader(resp.Body, oci.MaxManifest+1))
			if err != nil {
				return err
			}
			size += len(data)
			page, err = oci.ParseReferrers(data)
			return err
		})
		if err != nil || !supported {
			return nil, false, err
		}
		found = append(found, page...)
		if len(found) > limit.Referrers || size > maxReferrerBytes {
			return nil, false, oci.ContentErrorf("more than %d documents are attached to it", limit.Referrers)
		}
		if next = nextPage(next, link); next == nil {
			return oci.SortReferrers(found), true, nil
		}
	}
	return nil, false, fmt.Errorf("more than %d pages", limit.ReferrerPages)
}

// completeReferrers reads the manifests of documents that the list contains without an artifact
// type, and adds their artifact types and annotations. Registries that follow a draft of the
// specification use the config's media type as the artifact type.
func (r *Repository) completeReferrers(ctx context.Context, found []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if len(found) > limit.Referrers {
		return nil, oci.ContentErrorf("more than %d documents are attached to it", limit.Referrers)
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for i := range found {
		d := &found[i]
		if d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeEmptyJSON && d.ArtifactType != ocispec.MediaTypeImageConfig {
			continue
		}
		group.Go(func() error {
			b, err := r.GetManifest(ctx, d.Digest.String())
			if errors.Is(err, oci.ErrNotFound) {
				return nil // the list names a manifest that was deleted
			}
			if err != nil {
				return err
			}
			var m ocispec.Manifest
			if json.Unmarshal(b.Data, &m) == nil {
				d.ArtifactType, d.Annotations = cmp.Or(m.ArtifactType, m.Config.MediaType), m.Annotations
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return oci.SortReferrers(found), nil
}

// nextPage returns the address with rel="next" in a Link header (RFC 8288). If there is no such
// address, or if it has another host than base, nextPage returns nil.
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

// FallbackTag returns the fallback tag for subject (distribution-spec 1.1). A tag may have 128
// characters. The fallback tag of a sha256 digest has 71.
func FallbackTag(subject digest.Digest) string {
	return subject.Algorithm().String() + "-" + subject.Encoded()
}

// fallback reads the list under the fallback tag. Clients write this list themselves.
func (r *Repository) fallback(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	b, err := r.GetManifest(ctx, FallbackTag(subject))
	if errors.Is(err, oci.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseFallback(b)
}

func parseFallback(b oci.Blob) ([]ocispec.Descriptor, error) {
	if b.Descriptor.MediaType != ocispec.MediaTypeImageIndex {
		return nil, oci.ContentErrorf("it is not a list of referrers but %s", b.Descriptor.MediaType)
	}
	found, err := oci.ParseReferrers(b.Data)
	return oci.SortReferrers(found), err
}

// FallbackSubject returns the digest of the manifest that a referrers tag belongs to. It accepts
// the fallback tags of the specification (sha256-…) and those of cosign (sha256-….sig). For any
// other tag it returns "".
func FallbackSubject(tag string) digest.Digest {
	rest, ok := strings.CutPrefix(tag, "sha256-")
	if !ok {
		return ""
	}
	hex, _, _ := strings.Cut(rest, ".")
	d := digest.NewDigestFromEncoded(digest.SHA256, hex)
	if d.Validate() != nil {
		return ""
	}
	return d
}
