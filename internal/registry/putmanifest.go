package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

// PutManifest implements [oci.Destination]. Put under a tag, a manifest is there
// under its digest too: that is one request.
//
// What the registry stored is compared with what was sent. If a byte changed on
// the way, the manifest is put again. An error about a tag says what the tag
// names now, where that is not what it should be.
func (r *Repository) PutManifest(ctx context.Context, b oci.Blob, tag string) error {
	return r.putChecked(ctx, b, tag, tag != "")
}

// putChecked is PutManifest. askTag says that the registry is asked afterwards
// what the tag names: not where others may move it, too.
func (r *Repository) putChecked(ctx context.Context, b oci.Blob, tag string, askTag bool) error {
	tagOrDigest := tag
	if tagOrDigest == "" {
		tagOrDigest = b.Descriptor.Digest.String()
	}
	before, asked := r.lastTag(tag)
	if askTag && !asked {
		now, err := r.tagDigest(ctx, tag)
		before, asked = now, err == nil
	}
	restarts := 0
	var other digest.Digest // what the registry stored instead, once
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		stored, err := r.putManifest(ctx, b, tagOrDigest)
		if corrupted(err) && restarts < maxRestarts {
			restarts++
			return retry.Again(err)
		}
		if err != nil {
			return err
		}
		if stored != "" && stored != b.Descriptor.Digest {
			other = stored
			return retry.Again(fmt.Errorf("the registry stored %s instead of %s", stored, b.Descriptor.Digest))
		}
		if !askTag {
			return nil
		}
		now, err := r.tagDigest(ctx, tag)
		switch {
		case err != nil:
			return err
		case now == b.Descriptor.Digest:
			return nil
		case stored != "" && now != "" && asked && now != before:
			return nil // it was right, and another push has moved it since
		}
		other = now
		err = fmt.Errorf("the registry says that it has stored %s, and the tag names %s", b.Descriptor.Digest, cmp.Or(now, "nothing"))
		if restarts < maxRestarts {
			restarts++
			return retry.Again(err)
		}
		return retry.Never(err)
	})
	if err == nil {
		return nil
	}
	if other != "" && other != before && tag != "" {
		now, lookErr := r.tagDigest(context.WithoutCancel(ctx), tag)
		switch {
		case lookErr == nil && now == b.Descriptor.Digest:
			return nil
		case lookErr != nil || now == other:
			err = hint.Add(fmt.Errorf("%w; the tag %s now names %s, which nobody wanted", err, tag, other), "push again, or put the tag back by hand")
		}
	}
	if refusedManifest(err) {
		err = fmt.Errorf("%w: %w", oci.ErrMissingBlob, err)
	}
	return r.fail("put manifest "+r.Ref(tagOrDigest), err)
}

// putManifest puts a manifest once. It returns the digest that the registry
// says it stored, "" if it does not say.
func (r *Repository) putManifest(ctx context.Context, b oci.Blob, tagOrDigest string) (digest.Digest, error) {
	resp, err := r.send(ctx, request{
		method: http.MethodPut, url: r.url("manifests", tagOrDigest),
		header: map[string]string{"Content-Type": b.Descriptor.MediaType},
		body:   b.Data, wait: commitTimeout,
		accept: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent},
	})
	if err != nil {
		return "", err
	}
	discard(resp)
	got := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if got.Validate() != nil || got.Algorithm() != b.Descriptor.Digest.Algorithm() {
		return "", nil
	}
	return got, nil
}

// tagDigest asks once what a tag names. "" where the registry has no such tag,
// or does not say.
func (r *Repository) tagDigest(ctx context.Context, tag string) (digest.Digest, error) {
	resp, err := r.send(ctx, request{
		method: http.MethodHead, url: r.url("manifests", tag),
		header: map[string]string{"Accept": acceptManifests},
		accept: []int{http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed},
	})
	if err != nil {
		return "", err
	}
	discard(resp)
	if resp.StatusCode == http.StatusNotFound {
		return "", nil
	}
	if got := digest.Digest(resp.Header.Get("Docker-Content-Digest")); resp.StatusCode == http.StatusOK && got.Validate() == nil {
		return got, nil
	}
	blob, err := r.GetManifest(ctx, tag)
	if errors.Is(err, oci.ErrNotFound) {
		return "", nil
	}
	return blob.Descriptor.Digest, err
}

// corrupted reports whether another attempt with the same manifest may pass. A
// registry gives these answers if the manifest changed on the way. Distribution
// 2.8 with its filesystem driver gives them, too, while another push writes the
// note of a blob: that note is empty for a moment, so its digest is invalid, or
// the blob unknown.
func corrupted(err error) bool {
	e, ok := errors.AsType[*ResponseError](err)
	if !ok {
		return false
	}
	switch e.Code {
	case "DIGEST_INVALID", "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN":
		return true
	}
	return false
}

// refusedManifest reports whether a registry may have refused a manifest for a
// blob that it lacks. Registries have many words for that.
func refusedManifest(err error) bool {
	switch status(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
