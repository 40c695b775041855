package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
)

// marshal returns v as JSON, in the only form that nixoci writes: fields in the order of the
// Go types, map keys sorted, no white space, no HTML escapes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// newBlob marshals v and computes its descriptor.
func newBlob(mediaType string, v any) (oci.Blob, error) {
	data, err := marshal(v)
	if err != nil {
		return oci.Blob{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return oci.Blob{
		Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		Data:       data,
	}, nil
}

// newManifestBlob does the same as newBlob for manifests and indexes. It also checks the size
// limit of registries.
func newManifestBlob(mediaType string, v any) (oci.Blob, error) {
	b, err := newBlob(mediaType, v)
	if err == nil && len(b.Data) > oci.MaxManifest {
		return oci.Blob{}, fmt.Errorf("write %s: %d bytes, registries accept at most %d", mediaType, len(b.Data), oci.MaxManifest)
	}
	return b, err
}
