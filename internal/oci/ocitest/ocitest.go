// Package ocitest makes blobs and layers for tests of sources and destinations.
package ocitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// Content returns n pseudo-random bytes.
func Content(n int) []byte {
	out := make([]byte, 0, n+sha256.Size)
	for i := 0; len(out) < n; i++ {
		s := sha256.Sum256(fmt.Append(nil, i))
		out = append(out, s[:]...)
	}
	return out[:n]
}

func PackedOf(data []byte) layers.Packed {
	return layers.Packed{DiffID: digest.FromString("diff of " + digest.FromBytes(data).String()),
		Digest: digest.FromBytes(data), Size: int64(len(data)), UncompressedSize: 2 * int64(len(data))}
}

// Packing returns a PackFunc that writes data in pieces and counts its calls.
func Packing(data []byte, calls *int) oci.PackFunc {
	return func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		*calls++
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 100_000)
			if _, err := w.Write(rest[:n]); err != nil {
				return layers.Packed{}, err
			}
			rest = rest[n:]
		}
		return PackedOf(data), nil
	}
}

func BlobOf(data []byte, mediaType string) oci.Blob {
	sum := sha256.Sum256(data)
	return oci.Blob{Data: data, Descriptor: ocispec.Descriptor{MediaType: mediaType,
		Digest: digest.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(data))}}
}
