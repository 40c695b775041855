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

// Merge returns an index with all manifests of parts. Each platform may occur only once, but
// several parts may contain the same manifest. If the parts are indexes of single platforms,
// pushed with the same settings, the result is the same index that [NewIndex] makes from all
// of them.
//
// Merge keeps annotations that are the same in all parts. The annotations of s override them.
// Merge ignores all other settings in s. The media type is that of the parts.
func Merge(parts []*Index, s Settings) (oci.Blob, error) {
	if len(parts) == 0 {
		return oci.Blob{}, errors.New("merge: no indexes")
	}
	s.Docker = parts[0].MediaType == mediatype.DockerList
	kept := maps.Clone(parts[0].Annotations)
	var manifests []ocispec.Descriptor
	for _, part := range parts {
		if part.MediaType != parts[0].MediaType {
			return oci.Blob{}, hint.Add(fmt.Errorf("merge: one index has the media type %s, another has %s", parts[0].MediaType, part.MediaType),
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
			if d.Platform != nil && d.Annotations[refDigest] == "" { // an exception for attestations, which all have the platform unknown/unknown
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
