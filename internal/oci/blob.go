package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/limit"
)

// Blob is a small blob in memory: a config, manifest or index.
type Blob struct {
	Descriptor ocispec.Descriptor
	Data       []byte
}

// NewBlob returns data as a blob with this media type.
func NewBlob(mediaType string, data []byte) Blob {
	return Blob{Data: data, Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}}
}

// ErrSchema1 means that a manifest uses Docker's schema 1, which is no longer in use.
var ErrSchema1 = errors.New("a manifest of Docker's old schema 1, which nixoci does not support")

// CheckManifest checks a manifest or index that was read, and computes its descriptor. It
// compares the digest with want. It does not compare if want is not a digest or uses another
// algorithm.
func CheckManifest(data []byte, mediaType string, want digest.Digest) (Blob, error) {
	var doc struct {
		SchemaVersion int
		MediaType     string
	}
	err := json.Unmarshal(data, &doc)
	if err == nil && doc.SchemaVersion == 1 { // the digest of such a manifest covers only a part of it
		return Blob{}, ErrSchema1
	}
	d := digest.FromBytes(data)
	if want.Validate() == nil && want.Algorithm() == digest.SHA256 && want != d {
		return Blob{}, ContentErrorf("the content has digest %s instead of %s", d, want)
	}
	if err == nil {
		err = limit.JSONValues(data, limit.ManifestValues)
	}
	if err != nil {
		return Blob{}, ContentErrorf("not a manifest: %v", err)
	}
	if doc.MediaType != "" {
		mediaType = doc.MediaType // prefer the media type in the document, because the digest covers it
	}
	return Blob{Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}, Data: data}, nil
}

// blobReader checks the bytes of a blob while they are read.
type blobReader struct {
	rc   io.ReadCloser
	op   string
	want ocispec.Descriptor
	hash hash.Hash
	n    int64
	err  error
}

// CheckBlob returns a reader of rc that checks that the bytes are those of the blob d. Errors
// begin with op. The reader returns io.EOF only after all bytes were read and their digest
// was right.
func CheckBlob(rc io.ReadCloser, op string, d ocispec.Descriptor) io.ReadCloser {
	return &blobReader{rc: rc, op: op, want: d, hash: sha256.New()}
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
		n, b.err = 0, fmt.Errorf("%s: %w", b.op, ContentErrorf("it has more than %d bytes", b.want.Size))
	case err == io.EOF && b.n < b.want.Size:
		// Do not wrap io.EOF: a reader would think that the blob is complete.
		b.err = fmt.Errorf("%s: %w", b.op, ContentErrorf("ended after %d of %d bytes", b.n, b.want.Size))
	case err == io.EOF:
		b.err = io.EOF
		if got := "sha256:" + hex.EncodeToString(b.hash.Sum(nil)); got != b.want.Digest.String() {
			b.err = fmt.Errorf("%s: %w", b.op, ContentErrorf("the content has digest %s", got))
		}
	case err != nil:
		b.err = fmt.Errorf("%s: %w", b.op, err)
	}
	return n, b.err
}

func (b *blobReader) Close() error { return b.rc.Close() }

// MaxManifest is the largest manifest or index that registries accept (distribution's
// default, and the spec's recommendation: 4 MiB).
const MaxManifest = limit.Manifest

// CountingWriter counts the written bytes, and records the first error.
type CountingWriter struct {
	W   io.Writer
	N   int64
	Err error
}

func (c *CountingWriter) Write(p []byte) (int, error) {
	if c.Err != nil {
		return 0, c.Err
	}
	n, err := c.W.Write(p)
	c.N += int64(n)
	c.Err = err
	return n, err
}
