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

// Artifact is a document that is attached to an image: a statement about it, a
// bill of materials.
type Artifact struct {
	Type        string            // what it is, the artifact type: a media type
	MediaType   string            // of Data
	Data        []byte            // at most [MaxArtifact] bytes
	Annotations map[string]string // of the artifact's manifest
}

// MaxArtifact is the most that is read of an attached document: 5,000 store
// paths are some 12 MB of SBOM.
const MaxArtifact = limit.Artifact

// Referrers is implemented by sources that know what is attached to a manifest.
type Referrers interface {
	// Referrers lists the manifests whose subject is subject, by artifact type
	// and then digest. Having none is no error.
	Referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error)
}

// Referrers implements [Referrers], for a source that cannot know with nothing.
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
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, ContentErrorf("not an index: %v", err)
	}
	for _, d := range index.Manifests {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return nil, ContentErrorf("lists %q", d.Digest)
		}
	}
	return index.Manifests, nil
}

// SortReferrers gives the order that does not depend on who came first, and
// lists each manifest once.
func SortReferrers(all []ocispec.Descriptor) []ocispec.Descriptor {
	slices.SortStableFunc(all, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(a.ArtifactType, b.ArtifactType), cmp.Compare(a.Digest, b.Digest))
	})
	return slices.CompactFunc(all, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
}

// GetArtifact reads an attached document: d is one of what Referrers listed for
// subject. That the document is about subject is checked, not what it says.
func GetArtifact(ctx context.Context, src Reader, subject digest.Digest, d ocispec.Descriptor) (Artifact, error) {
	return GetArtifactUpTo(ctx, src, subject, d, MaxArtifact)
}

// GetArtifactUpTo is GetArtifact of a document of at most limit bytes.
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
		return Artifact{}, ContentErrorf("is not about %s", subject)
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
	// Its size is known: a buffer that grows would need twice as much.
	data := make([]byte, m.Layers[0].Size)
	if _, err := io.ReadFull(rc, data); err != nil {
		return Artifact{}, err
	}
	if _, err := io.Copy(io.Discard, rc); err != nil { // checks the digest
		return Artifact{}, err
	}
	return Artifact{Type: cmp.Or(m.ArtifactType, m.Config.MediaType), MediaType: m.Layers[0].MediaType, Data: data, Annotations: m.Annotations}, nil
}
