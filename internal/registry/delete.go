package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/retry"
)

// ErrUnsupported reports that the registry does not support the request.
var ErrUnsupported = errors.New("the registry does not support this")

// DeleteManifest deletes the manifest or tag that tagOrDigest names. With a tag it deletes only the
// tag. With a digest it deletes the manifest and all of its tags. If the manifest or tag does not
// exist, it returns nil. If the registry does not support deletion, the error wraps
// [ErrUnsupported].
func (r *Repository) DeleteManifest(ctx context.Context, tagOrDigest string) error {
	return r.delete(ctx, "delete "+r.Ref(tagOrDigest), r.url("manifests", tagOrDigest))
}

// DeleteBlob deletes a blob from the repository.
func (r *Repository) DeleteBlob(ctx context.Context, d digest.Digest) error {
	return r.delete(ctx, "delete blob "+d.String()+" of "+r.repo.Name(), r.url("blobs", d.String()))
}

func (r *Repository) delete(ctx context.Context, what string, u *url.URL) error {
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{method: http.MethodDelete, url: u,
			accept: []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}})
		if err != nil {
			if e, ok := errors.AsType[*ResponseError](err); ok && e.Status == http.StatusBadRequest && e.Code == "UNSUPPORTED" {
				return retry.Never(ErrUnsupported)
			}
			return err
		}
		discard(resp)
		if resp.StatusCode == http.StatusMethodNotAllowed || resp.StatusCode == http.StatusNotImplemented {
			return retry.Never(ErrUnsupported)
		}
		return nil
	})
	return r.fail(what, err) // fail returns nil for nil
}
