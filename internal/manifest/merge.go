package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

// Merge returns the index of all that parts list. Each platform may be there
// once; the same manifest in several parts is one. Indexes of single platforms
// that were pushed with the same settings give the index that [NewIndex] makes
// of all of them.
//
// Annotations on which the parts agree are kept, under those of s. Of s nothing
// else counts: the media type is that of the parts.
func Merge(parts []*Index, s Settings) (oci.Blob, error) {
	if len(parts) == 0 {
		return oci.Blob{}, errors.New("merge: no indexes")
	}
	s.Docker = parts[0].MediaType == mediatype.DockerList
	kept := maps.Clone(parts[0].Annotations)
	var manifests []ocispec.Descriptor
	for _, part := range parts {
		if part.MediaType != parts[0].MediaType {
			return oci.Blob{}, hint.Add(fmt.Errorf("merge: one index is %s, another %s", parts[0].MediaType, part.MediaType),
				"push all platforms with the same --format")
		}
		maps.DeleteFunc(kept, func(k, v string) bool {
			theirs, ok := part.Annotations[k]
			return !ok || theirs != v || strings.HasPrefix(k, reservedPrefix)
		})
		for _, d := range part.Manifests {
			if slices.ContainsFunc(manifests, func(m ocispec.Descriptor) bool { return m.Digest == d.Digest }) {
				continue
			}
			if d.Platform != nil && d.Annotations[refDigest] == "" { // attestations are all for unknown/unknown
				if other := (&Index{Manifests: manifests}).Find(*d.Platform); other != nil {
					return oci.Blob{}, hint.Add(fmt.Errorf("merge: %s and %s are both for %s", other.Digest, d.Digest, FormatPlatform(*d.Platform)),
						"an image has one system for each platform")
				}
			}
			manifests = append(manifests, d)
		}
	}
	if len(manifests) == 0 {
		return oci.Blob{}, errors.New("merge: the indexes list nothing")
	}
	maps.Copy(kept, s.Annotations)
	s.Annotations = kept
	return writeIndex(manifests, &s)
}
