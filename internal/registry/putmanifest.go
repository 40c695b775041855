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

// PutManifest implements [oci.Destination]. A manifest that is put under a tag can be read by its
// digest too, so one request is enough.
//
// PutManifest compares the digest that the registry reports with the digest of b. If they differ, a
// byte may have changed on the way, and PutManifest puts the manifest again. If the tag then names
// a wrong manifest, the error says so.
func (r *Repository) PutManifest(ctx context.Context, b oci.Blob, tag string) error {
	return r.putChecked(ctx, b, tag, tag != "")
}

// putChecked does the work of PutManifest. If askTag is true, it asks the registry afterwards which
// digest the tag names. Set askTag to false for a tag that other clients may move at the same time.
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
	var other digest.Digest // a wrong digest that the registry stored at the last wrong attempt
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
			return nil // the registry stored b correctly, and another push has moved the tag since
		}
		other = now
		err = fmt.Errorf("the registry reported that it stored %s, but the tag names %s", b.Descriptor.Digest, cmp.Or(now, "nothing"))
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
			err = hint.Add(fmt.Errorf("%w; the tag %s now names another image, %s", err, tag, other), "push again, or point the tag at the right image yourself")
		}
	}
	if refusedManifest(err) {
		err = fmt.Errorf("%w: %w", oci.ErrMissingBlob, err)
	}
	return r.fail("put manifest "+r.Ref(tagOrDigest), err)
}

// putManifest puts a manifest once. It returns the digest that the registry reports, or "" if the
// registry reports none.
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

// tagDigest asks the registry once for the digest that a tag names. If the registry has no such
// tag, tagDigest returns "".
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
