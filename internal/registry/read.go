package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

var acceptManifests = strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, mediatype.DockerList, mediatype.DockerManifest}, ", ")

func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// GetManifest returns the manifest or index that tagOrDigest names. It accepts up to 4 MiB, and
// checks the bytes against the digest. If the manifest does not exist, the error wraps
// [oci.ErrNotFound].
func (r *Repository) GetManifest(ctx context.Context, tagOrDigest string) (oci.Blob, error) {
	var b oci.Blob
	restarts := 0
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{
			method: http.MethodGet, url: r.url("manifests", tagOrDigest),
			header: map[string]string{"Accept": acceptManifests},
			accept: []int{http.StatusOK, http.StatusNotFound},
		})
		if err != nil {
			return err
		}
		defer discard(resp)
		if resp.StatusCode == http.StatusNotFound {
			r.sawTag(tagOrDigest, "")
			return oci.ErrNotFound
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, oci.MaxManifest+1))
		if err != nil {
			return err
		}
		if len(data) > oci.MaxManifest {
			return fmt.Errorf("larger than %d bytes", oci.MaxManifest)
		}
		want := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		if strings.Contains(tagOrDigest, ":") {
			want = digest.Digest(tagOrDigest)
		}
		b, err = oci.CheckManifest(data, mediaType(resp.Header), want)
		if _, damaged := errors.AsType[*oci.ContentError](err); damaged && restarts < maxRestarts {
			restarts++ // the bytes may have changed on the way
			return retry.Again(err)
		}
		return err
	})
	if err != nil {
		return oci.Blob{}, r.fail("get manifest "+r.Ref(tagOrDigest), err)
	}
	r.sawTag(tagOrDigest, b.Descriptor.Digest)
	return b, nil
}

// GetBlob returns the content of the blob d as a stream. While the caller reads, the stream checks
// digest and size. It returns io.EOF only after the last correct byte. Every other end is an error
// that names the digest. If a transfer breaks, the stream requests the rest of the blob.
func (r *Repository) GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	op := fmt.Sprintf("get blob %s from %s", d.Digest, r.repo.Name())
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("%s: no sha256 digest", op)
	}
	body, err := r.openBlob(ctx, d, 0)
	if err != nil {
		return nil, r.fail(op, err)
	}
	return oci.CheckBlob(&resumed{r: r, ctx: ctx, d: d, rc: body, breaks: retry.Breaks{Schedule: r.retrier.schedule, Enough: r.speed.Enough()}}, op, d), nil
}

// openBlob requests the blob d, beginning at byte from.
func (r *Repository) openBlob(ctx context.Context, d ocispec.Descriptor, from int64) (body io.ReadCloser, err error) {
	restarts := 0
	whole := from == 0
	err = r.retrier.do(ctx, func(ctx context.Context) error {
		q := request{
			method: http.MethodGet, url: r.url("blobs", d.Digest.String()),
			accept: []int{http.StatusOK, http.StatusNotFound},
		}
		if !whole {
			q.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-", from)}
			q.accept = append(q.accept, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
		}
		resp, err := r.send(ctx, q)
		if err != nil {
			return err
		}
		want, skip := d.Size, int64(0)
		switch resp.StatusCode {
		case http.StatusNotFound:
			discard(resp)
			return oci.ErrNotFound
		case http.StatusPartialContent:
			want -= from
		case http.StatusRequestedRangeNotSatisfiable:
			discard(resp)
			whole = true // the registry refuses the range: ask for the whole blob
			return retry.AtOnce(errors.New("the registry refuses to send a part of the blob"))
		default:
			skip = from // the registry ignored the range and sends the whole blob
		}
		if resp.ContentLength >= 0 && resp.ContentLength != want {
			resp.Body.Close()
			err := oci.ContentErrorf("it has %d bytes instead of %d", resp.ContentLength, want)
			if restarts < maxRestarts {
				restarts++ // perhaps a proxy answered with a page of its own
				return retry.Again(err)
			}
			return err
		}
		if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
			resp.Body.Close()
			return retry.Never(err)
		}
		body = resp.Body
		return nil
	})
	return body, err
}

// resumed reads one blob with as many transfers as necessary.
type resumed struct {
	r   *Repository
	ctx context.Context
	d   ocispec.Descriptor

	at     int64
	breaks retry.Breaks

	mu sync.Mutex
	rc io.ReadCloser // nil after Close
}

func (b *resumed) Read(p []byte) (int, error) {
	for {
		b.mu.Lock()
		rc := b.rc
		b.mu.Unlock()
		if rc == nil {
			return 0, net.ErrClosed
		}
		n, err := rc.Read(p)
		b.at += int64(n)
		switch {
		case err == nil || err == io.EOF:
			b.breaks.Moved(n)
			return n, err
		case n > 0: // return these bytes first; the next Read gets the error again
			b.breaks.Moved(n)
			return n, nil
		}
		if err := b.breaks.Wait(b.ctx, err); err != nil {
			return 0, err
		}
		if err := b.resume(rc); err != nil {
			return 0, err
		}
	}
}

func (b *resumed) resume(broken io.Closer) error {
	broken.Close()
	body, err := b.r.openBlob(b.ctx, b.d, b.at)
	if err != nil {
		return err
	}
	b.r.counters.retries.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rc == nil {
		body.Close()
		return net.ErrClosed
	}
	b.rc = body
	return nil
}

func (b *resumed) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rc == nil {
		return nil
	}
	err := b.rc.Close()
	b.rc = nil
	return err
}

// Resolve implements [oci.Destination].
func (r *Repository) Resolve(ctx context.Context, tagOrDigest string) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{
			method: http.MethodHead, url: r.url("manifests", tagOrDigest),
			header: map[string]string{"Accept": acceptManifests},
			accept: []int{http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed},
		})
		if err != nil {
			return err
		}
		discard(resp)
		if resp.StatusCode == http.StatusNotFound {
			r.sawTag(tagOrDigest, "")
			return oci.ErrNotFound
		}
		d = ocispec.Descriptor{
			MediaType: mediaType(resp.Header),
			Digest:    digest.Digest(resp.Header.Get("Docker-Content-Digest")),
			Size:      resp.ContentLength,
		}
		return nil
	})
	if err != nil {
		return ocispec.Descriptor{}, r.fail("look up "+r.Ref(tagOrDigest), err)
	}
	if d.Digest.Validate() != nil || d.Size <= 0 || d.MediaType == "" {
		b, err := r.GetManifest(ctx, tagOrDigest) // some registries omit one of these fields in the answer to a HEAD
		return b.Descriptor, err
	}
	r.sawTag(tagOrDigest, d.Digest)
	return d, nil
}
