package push

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/manifest"
)

// Docker's names of the media types.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

var acceptManifests = strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerList, dockerManifest}, ", ")

// maxManifest is what most registries take, and more than any image needs.
const maxManifest = 4 << 20

func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// GetManifest returns the manifest or index that target, a tag or a digest,
// names: at most 4 MiB, checked against the digest. The error is [ErrNotFound]
// where there is none.
func (r *Repository) GetManifest(ctx context.Context, target string) (manifest.Blob, error) {
	var b manifest.Blob
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{
			method: http.MethodGet, url: r.url("manifests", target),
			header: map[string]string{"Accept": acceptManifests},
			accept: []int{http.StatusOK, http.StatusNotFound},
		})
		if err != nil {
			return err
		}
		defer discard(resp)
		if resp.StatusCode == http.StatusNotFound {
			return ErrNotFound
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
		if err != nil {
			return err
		}
		if len(data) > maxManifest {
			return fmt.Errorf("larger than %d bytes", maxManifest)
		}
		want := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		if strings.Contains(target, ":") {
			want = digest.Digest(target)
		}
		b, err = readManifestBlob(data, mediaType(resp.Header), want)
		return err
	})
	if err != nil {
		return manifest.Blob{}, r.fail("get manifest "+r.ref(target), err)
	}
	return b, nil
}

// readManifestBlob describes a manifest or index that was read. A digest that
// is not known, or of another algorithm, is not compared.
func readManifestBlob(data []byte, mediaType string, want digest.Digest) (manifest.Blob, error) {
	d := digest.FromBytes(data)
	if want.Validate() == nil && want.Algorithm() == digest.SHA256 && want != d {
		return manifest.Blob{}, contentErrorf("the content has digest %s instead of %s", d, want)
	}
	var doc struct{ MediaType string }
	if err := json.Unmarshal(data, &doc); err != nil {
		return manifest.Blob{}, contentErrorf("not a manifest: %v", err)
	}
	if doc.MediaType != "" {
		mediaType = doc.MediaType // what the digest covers
	}
	return manifest.Blob{Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, Data: data}, nil
}

// GetBlob returns the blob d as a stream. Its digest and size are checked on
// the way: io.EOF comes only after the last byte of what was asked for, any
// other end is an error that names the digest.
func (r *Repository) GetBlob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	var body io.ReadCloser
	op := fmt.Sprintf("get blob %s from %s", d.Digest, r.repo.Name())
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("%s: no sha256 digest", op)
	}
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{
			method: http.MethodGet, url: r.url("blobs", d.Digest.String()),
			accept: []int{http.StatusOK, http.StatusNotFound},
		})
		if err != nil {
			return err
		}
		if resp.StatusCode == http.StatusNotFound {
			discard(resp)
			return ErrNotFound
		}
		if resp.ContentLength >= 0 && resp.ContentLength != d.Size {
			resp.Body.Close()
			return contentErrorf("it has %d bytes instead of %d", resp.ContentLength, d.Size)
		}
		body = resp.Body
		return nil
	})
	if err != nil {
		return nil, r.fail(op, err)
	}
	return &blobReader{rc: body, op: op, want: d, hash: sha256.New()}, nil
}

// blobReader checks a blob while it is read.
type blobReader struct {
	rc   io.ReadCloser
	op   string
	want ocispec.Descriptor
	hash hash.Hash
	n    int64
	err  error
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.rc.Read(p)
	b.hash.Write(p[:n])
	b.n += int64(n)
	switch {
	case b.n > b.want.Size:
		n, b.err = 0, fmt.Errorf("%s: %w", b.op, contentErrorf("it has more than %d bytes", b.want.Size))
	case err == io.EOF && b.n < b.want.Size:
		// io.EOF is not wrapped: a reader must not take it for the end.
		b.err = fmt.Errorf("%s: %w", b.op, contentErrorf("ended after %d of %d bytes", b.n, b.want.Size))
	case err == io.EOF:
		b.err = io.EOF
		if got := "sha256:" + hex.EncodeToString(b.hash.Sum(nil)); got != b.want.Digest.String() {
			b.err = fmt.Errorf("%s: %w", b.op, contentErrorf("the content has digest %s", got))
		}
	case err != nil:
		b.err = fmt.Errorf("%s: %w", b.op, err)
	}
	return n, b.err
}

func (b *blobReader) Close() error { return b.rc.Close() }
