package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
)

// HasBlob implements [oci.Destination]. If the repository does not have the blob, HasBlob tries to
// mount it from the repositories of Options.MountFrom.
func (r *Repository) HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	if r.hasSeen(d.Digest) {
		return true, nil
	}
	var has bool
	err := r.retrier.do(ctx, func(ctx context.Context) (err error) {
		has, err = r.stat(ctx, d.Digest, d.Size)
		return err
	})
	if err == nil && !has {
		has, err = r.mount(ctx, d.Digest)
	}
	if err != nil {
		return false, r.fail(fmt.Sprintf("look up blob %s in %s", d.Digest, r.repo.Name()), err)
	}
	if has {
		r.sawBlob(d.Digest)
	}
	return has, nil
}

// stat asks once whether the repository has a blob. If the blob has another size, stat returns
// false, and the caller sends the blob again. If size is 0 or less, stat does not compare it.
func (r *Repository) stat(ctx context.Context, d digest.Digest, size int64) (bool, error) {
	resp, err := r.send(ctx, request{
		method: http.MethodHead, url: r.url("blobs", d.String()),
		accept: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return false, err
	}
	discard(resp)
	if resp.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return size <= 0 || resp.ContentLength < 0 || resp.ContentLength == size, nil
}

// mount tries to mount the blob from other repositories. If the registry refuses one of them, mount
// does not try that repository again.
func (r *Repository) mount(ctx context.Context, d digest.Digest) (bool, error) {
	r.mu.Lock()
	mounts := slices.Clone(r.mounts)
	r.mu.Unlock()
	for _, from := range mounts {
		mounted, refused, err := r.mountFrom(ctx, d, from)
		if err != nil || mounted {
			return mounted, err
		}
		if refused {
			r.mu.Lock()
			r.mounts = slices.DeleteFunc(slices.Clone(r.mounts), func(m string) bool { return m == from })
			r.mu.Unlock()
		}
	}
	return false, nil
}

// mountFrom tries to mount a blob from one other repository. If refused is true, the registry would
// also refuse other blobs of that repository.
func (r *Repository) mountFrom(ctx context.Context, d digest.Digest, from string) (mounted, refused bool, err error) {
	u := r.url("blobs", "uploads", "")
	u.RawQuery = url.Values{"mount": {d.String()}, "from": {from}}.Encode()
	err = r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{method: http.MethodPost, url: u,
			accept: []int{http.StatusCreated, http.StatusAccepted, http.StatusUnauthorized,
				http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}})
		if err != nil {
			return err
		}
		discard(resp)
		switch resp.StatusCode {
		case http.StatusCreated:
			mounted = true
		case http.StatusAccepted: // the registry did not mount the blob; it opened an upload session instead
			if session, err := resp.Location(); err == nil {
				r.mu.Lock()
				r.spare = append(r.spare, session)
				r.mu.Unlock()
			}
		default:
			refused = true
		}
		return nil
	})
	return mounted, refused, err
}

// Mount implements [oci.Mounter]. It mounts only blobs of another repository in the same registry.
func (r *Repository) Mount(ctx context.Context, d digest.Digest, from oci.Reader) (bool, error) {
	other, ok := from.(*Repository)
	if !ok || other.repo.RegistryStr() != r.repo.RegistryStr() || other.repo.RepositoryStr() == r.repo.RepositoryStr() {
		return false, nil
	}
	if r.hasSeen(d) {
		return true, nil
	}
	mounted, _, err := r.mountFrom(ctx, d, other.repo.RepositoryStr())
	if err != nil {
		return false, r.fail(fmt.Sprintf("mount blob %s of %s in %s", d, other.repo.Name(), r.repo.Name()), err)
	}
	if mounted {
		r.sawBlob(d)
	}
	return mounted, nil
}

// AllowMountFrom asks for a token that may also read other, so that its blobs can be
// mounted. It does nothing for another registry. Call it before the first request.
func (r *Repository) AllowMountFrom(other *Repository) {
	if other.repo.RegistryStr() == r.repo.RegistryStr() && other.repo.RepositoryStr() != r.repo.RepositoryStr() {
		r.auth.scopes = append(r.auth.scopes, "repository:"+other.repo.RepositoryStr()+":pull")
	}
}

// hasSeen reports whether an answer of the registry showed that the repository has the blob d.
func (r *Repository) hasSeen(d digest.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blobs[d]
}

// sawBlob records that the repository has the blob d.
func (r *Repository) sawBlob(d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[d] = true
}

// Forget implements [oci.Forgetful].
func (r *Repository) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.blobs)
}
