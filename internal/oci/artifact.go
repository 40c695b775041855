package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/limit"
)

// Artifact is a document that is attached to an image, for instance a statement or a bill
// of materials.
type Artifact struct {
	Type        string            // artifact type, a media type
	MediaType   string            // media type of Data
	Data        []byte            // at most [MaxArtifact] bytes
	Annotations map[string]string // annotations of the artifact's manifest
}

// MaxArtifact is the size limit for an attached document. The SBOM of 5,000 store paths takes
// about 12 MB.
const MaxArtifact = limit.Artifact

// Referrers is implemented by sources that can list the documents attached to a manifest.
type Referrers interface {
	// Referrers lists the manifests whose field subject contains the digest subject, sorted
	// by artifact type and then by digest. An empty list is not an error.
	Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error)
}

// Referrers implements [Referrers]. If the source cannot list attached documents, it
// returns none.
func (s *OpenedImage) Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	if r, ok := s.Reader.(Referrers); ok {
		return r.Referrers(ctx, subject)
	}
	return nil, nil
}

func ParseReferrers(data []byte) ([]ocispec.Descriptor, error) {
	if len(data) > MaxManifest {
		return nil, ContentErrorf("larger than %d bytes", MaxManifest)
	}
	if err := limit.JSONValues(data, limit.ManifestValues); err != nil {
		return nil, ContentErrorf("%v", err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, ContentErrorf("not an index: %v", err)
	}
	for _, d := range index.Manifests {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return nil, ContentErrorf("it lists a manifest with the digest %q and %d bytes", d.Digest, d.Size)
		}
	}
	return index.Manifests, nil
}

// SortReferrers sorts the list, so that the result does not depend on the order in which
// documents were attached. It also removes duplicates.
func SortReferrers(all []ocispec.Descriptor) []ocispec.Descriptor {
	slices.SortStableFunc(all, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(a.ArtifactType, b.ArtifactType), cmp.Compare(a.Digest, b.Digest))
	})
	return slices.CompactFunc(all, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
}

// GetArtifact reads an attached document. d is a descriptor from the Referrers of subject.
// GetArtifact checks that the document refers to subject. It does not check the document's
// content.
func GetArtifact(ctx context.Context, src Reader, subject digest.Digest, d ocispec.Descriptor) (Artifact, error) {
	return GetArtifactUpTo(ctx, src, subject, d, MaxArtifact)
}

// GetArtifactUpTo does the same as GetArtifact with another size limit.
func GetArtifactUpTo(ctx context.Context, src Reader, subject digest.Digest, d ocispec.Descriptor, limit int64) (Artifact, error) {
	a, err := getArtifact(ctx, src, subject, d, limit)
	if err != nil {
		return Artifact{}, fmt.Errorf("read attached %s %s: %w", d.ArtifactType, d.Digest, err)
	}
	return a, nil
}

func getArtifact(ctx context.Context, src Reader, subject digest.Digest, d ocispec.Descriptor, limit int64) (Artifact, error) {
	b, err := src.GetManifest(ctx, d.Digest.String())
	if err != nil {
		return Artifact{}, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b.Data, &m); err != nil {
		return Artifact{}, ContentErrorf("not a manifest: %v", err)
	}
	switch {
	case m.Subject == nil || m.Subject.Digest != subject:
		return Artifact{}, ContentErrorf("its subject is not %s", subject)
	case len(m.Layers) != 1:
		return Artifact{}, ContentErrorf("has %d documents", len(m.Layers))
	case m.Layers[0].Size < 0 || m.Layers[0].Size > limit:
		return Artifact{}, ContentErrorf("has %d bytes, at most %d are read", m.Layers[0].Size, limit)
	}
	rc, err := src.GetBlob(ctx, m.Layers[0])
	if err != nil {
		return Artifact{}, err
	}
	defer rc.Close()
	// Allocate the exact size. A growing buffer would need twice the memory.
	data := make([]byte, m.Layers[0].Size)
	if _, err := io.ReadFull(rc, data); err != nil {
		return Artifact{}, err
	}
	if _, err := io.Copy(io.Discard, rc); err != nil { // reading to the end checks the digest
		return Artifact{}, err
	}
	return Artifact{Type: cmp.Or(m.ArtifactType, m.Config.MediaType), MediaType: m.Layers[0].MediaType, Data: data, Annotations: m.Annotations}, nil
}
