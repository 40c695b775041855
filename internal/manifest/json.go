package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifestSize is the most that registries take for one manifest or index
// (distribution's default, and the spec's advice: 4 MiB).
const MaxManifestSize = 4 << 20

// marshal writes the one JSON form that nixoci gives out: fields in the order
// of the types, map keys sorted, no white space, no HTML escapes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// newBlob marshals v and describes the result.
func newBlob(mediaType string, v any) (Blob, error) {
	data, err := marshal(v)
	if err != nil {
		return Blob{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return Blob{
		Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		Data:       data,
	}, nil
}

// newManifestBlob is newBlob for what a registry bounds.
func newManifestBlob(mediaType string, v any) (Blob, error) {
	b, err := newBlob(mediaType, v)
	if err == nil && len(b.Data) > MaxManifestSize {
		return Blob{}, fmt.Errorf("write %s: %d bytes, registries take at most %d", mediaType, len(b.Data), MaxManifestSize)
	}
	return b, err
}
