package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/oci"
)

// refDigest is the annotation with which BuildKit links an attestation to the manifest that
// the attestation describes. Both are in the same index.
const refDigest = "vnd.docker.reference.digest"

// CheckPlatforms returns an error if two systems are for the same platform. The error names
// both toplevels.
func CheckPlatforms(systems []*System) error {
	for i, a := range systems {
		for _, b := range systems[i+1:] {
			if SamePlatform(a.Platform, b.Platform) {
				return hint.Add(fmt.Errorf("index: %s and %s are both for %s", a.Toplevel, b.Toplevel, FormatPlatform(a.Platform)),
					"an image has one system for each platform; push the other under a name of its own")
			}
		}
	}
	return nil
}

// NewIndex makes an index of images, one for each platform. The manifests have the order of
// comparePlatforms. A single image gets an index too. The result does not depend on the order
// of images.
func NewIndex(images []*PlatformImage, s Settings) (oci.Blob, error) {
	if len(images) == 0 {
		return oci.Blob{}, errors.New("index: no images")
	}
	var systems []*System
	var manifests []ocispec.Descriptor
	for _, img := range images {
		systems = append(systems, img.System)
		manifests = append(manifests, img.Manifest.Descriptor)
	}
	if err := CheckPlatforms(systems); err != nil {
		return oci.Blob{}, err
	}
	return writeIndex(manifests, &s)
}

// IndexRecipe returns the value of [AnnotationImage] in the index that NewIndex makes from
// the images of these drafts. The layers do not have to be packed.
func IndexRecipe(drafts []*Draft, s Settings) (digest.Digest, error) {
	if len(drafts) == 0 {
		return "", errors.New("index recipe: no images")
	}
	var systems []*System
	var manifests []ocispec.Descriptor
	for _, d := range drafts {
		systems = append(systems, d.System)
		manifests = append(manifests, d.indexEntry)
	}
	if err := CheckPlatforms(systems); err != nil {
		return "", err
	}
	slices.SortFunc(manifests, compareManifests)
	return indexRecipe(manifests, indexAnnotations(manifests, &s), s.mediaTypes().index)
}

// indexAnnotations returns the user's annotations, and those about title, version and base
// that are the same in all of nixoci's manifests. It reads only the descriptors. So if
// platforms are joined to an index one by one, the annotations are the same as in an index
// made at once.
func indexAnnotations(manifests []ocispec.Descriptor, s *Settings) map[string]string {
	var common map[string]string
	for _, d := range manifests {
		if d.Annotations[AnnotationToplevel] == "" {
			continue // another tool made this manifest
		}
		facts := map[string]string{}
		for _, k := range []string{ocispec.AnnotationTitle, ocispec.AnnotationVersion, ocispec.AnnotationBaseImageName, ocispec.AnnotationBaseImageDigest} {
			if v, ok := d.Annotations[k]; ok {
				facts[k] = v
			}
		}
		if common == nil {
			common = facts
		}
		maps.DeleteFunc(common, func(k, v string) bool { return facts[k] != v })
	}
	if common == nil {
		common = map[string]string{}
	}
	return annotations(s, common)
}

// indexVersion is the version of the rules for an index. The manifests in one index may have
// different format versions.
const indexVersion = 1

// indexRecipe returns the sha256 over "nixoci-index 1\n", the media type, a line
// "<platform> <annotations as JSON>" for each manifest in order, and the index's
// annotations as JSON. It returns "" if a manifest has no recipe in its annotations.
func indexRecipe(manifests []ocispec.Descriptor, annotations map[string]string, mediaType string) (digest.Digest, error) {
	parts := [][]byte{[]byte(mediaType)}
	for _, d := range manifests {
		if d.Platform == nil || checkDigest(digest.Digest(d.Annotations[AnnotationImage])) != nil {
			return "", nil
		}
		a, err := oci.Marshal(d.Annotations)
		if err != nil {
			return "", fmt.Errorf("index recipe: %w", err)
		}
		parts = append(parts, fmt.Appendf(nil, "%s %s", FormatPlatform(*d.Platform), a))
	}
	a, err := oci.Marshal(annotations)
	if err != nil {
		return "", fmt.Errorf("index recipe: %w", err)
	}
	return recipe("nixoci-index", indexVersion, append(parts, a)...), nil
}

func writeIndex(manifests []ocispec.Descriptor, s *Settings) (oci.Blob, error) {
	mt := s.mediaTypes().index
	manifests = slices.Clone(manifests)
	slices.SortFunc(manifests, compareManifests)
	annotations := indexAnnotations(manifests, s)
	r, err := indexRecipe(manifests, annotations, mt)
	if err != nil {
		return oci.Blob{}, err
	}
	index := ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   mt,
		Manifests:   manifests,
		Annotations: annotations,
	}
	if r != "" {
		index.Annotations[AnnotationImage] = r.String()
	}
	return newManifestBlob(mt, index)
}

// compareManifests defines the order in an index: first the manifests with a platform, in the
// order of platforms, then those without. If the platforms are equal, the digests are
// compared.
func compareManifests(a, b ocispec.Descriptor) int {
	switch {
	case a.Platform != nil && b.Platform == nil:
		return -1
	case a.Platform == nil && b.Platform != nil:
		return 1
	case a.Platform != nil:
		if c := comparePlatforms(*a.Platform, *b.Platform); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.MediaType, b.MediaType), cmp.Compare(a.Size, b.Size))
}

// Join returns old with images added. Each image replaces old's manifest for its platform.
// All other manifests stay. old may be nil. If the platforms are joined one by one with the
// same settings, in any order, the result is the same index that [NewIndex] makes from all of
// them.
//
// Join drops old's own annotations, because s contains the annotations that the user wants
// now.
func Join(old *Index, images []*PlatformImage, s Settings) (oci.Blob, error) {
	if old == nil || len(old.Manifests) == 0 {
		return NewIndex(images, s)
	}
	if len(images) == 0 {
		return oci.Blob{}, errors.New("join: no images")
	}
	var systems []*System
	for _, img := range images {
		systems = append(systems, img.System)
	}
	if err := CheckPlatforms(systems); err != nil {
		return oci.Blob{}, err
	}
	manifests := slices.Clone(old.Manifests)
	for _, img := range images {
		var gone []digest.Digest
		manifests = slices.DeleteFunc(manifests, func(d ocispec.Descriptor) bool {
			replaced := d.Platform != nil && SamePlatform(*d.Platform, img.System.Platform)
			if replaced && d.Digest != img.Manifest.Descriptor.Digest {
				gone = append(gone, d.Digest)
			}
			return replaced
		})
		// If a manifest is removed, remove its attestations too.
		manifests = slices.DeleteFunc(manifests, func(d ocispec.Descriptor) bool {
			return slices.Contains(gone, digest.Digest(d.Annotations[refDigest]))
		})
	}
	kept := len(manifests)
	for _, img := range images {
		manifests = append(manifests, img.Manifest.Descriptor)
	}
	want := s.mediaTypes().index
	if kept > 0 && old.MediaType != want {
		return oci.Blob{}, hint.Add(fmt.Errorf("join: the media type of the index is %s, not %s", old.MediaType, want),
			"push all platforms with the same --format")
	}
	return writeIndex(manifests, &s)
}
