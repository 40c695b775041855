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

// Merge returns an index of all manifests in parts. Each platform may occur only once,
// but the same manifest may be in several parts. If indexes of single platforms were
// pushed with the same settings, the result is the index that [NewIndex] makes from all
// of them.
//
// Merge keeps annotations on which all parts agree. The annotations of s override them.
// It uses nothing else of s: the media type is that of the parts.
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
			if d.Platform != nil && d.Annotations[refDigest] == "" { // all attestations have the platform unknown/unknown
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
