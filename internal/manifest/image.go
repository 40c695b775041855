package manifest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// maxImageLayers is what overlay drivers mount at most, Docker's included.
const maxImageLayers = 127

type mediaTypes struct{ index, manifest, config string }

func (s *Settings) mediaTypes() mediaTypes {
	if s.Docker {
		return mediaTypes{oci.DockerList, oci.DockerManifest, oci.DockerConfig}
	}
	return mediaTypes{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig}
}

// ImageRecipe identifies one platform's manifest by what it is made of, before
// any layer is: ls are all layers from the init layer to the system layer. Two
// images with one recipe have the same manifest digest.
//
// It is the sha256 over "nixoci-image <format>\n", the config without diffIDs, "\n",
// and the manifest without all that only packing tells: the config's digest
// and size, and each layer's digest, size, diffID and tar size. The layers'
// recipes stand for these, and they hold every store path with its narHash.
func ImageRecipe(sys *System, ls []*layers.Layer, s Settings) (digest.Digest, error) {
	known := make([]PackedLayer, len(ls))
	for i, l := range ls {
		known[i].Layer = l
	}
	c, m, err := newManifest(sys, known, &s, false)
	if err != nil {
		return "", err
	}
	return recipe("nixoci-image", sys.format(), c.Data, m.Data), nil
}

func recipe(kind string, version int, parts ...[]byte) digest.Digest {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\n", kind, version)
	for _, p := range parts {
		h.Write(p)
		h.Write([]byte("\n"))
	}
	return digest.NewDigest(digest.SHA256, h)
}

// NewImage makes one platform's config and manifest. packed are all layers
// from the lowest to the system layer.
func NewImage(sys *System, packed []PackedLayer, s Settings) (*Image, error) {
	ls := make([]*layers.Layer, len(packed))
	for i, p := range packed {
		ls[i] = p.Layer
	}
	r, err := ImageRecipe(sys, ls, s)
	if err != nil {
		return nil, err
	}
	img := &Image{System: sys, Recipe: r}
	m := &ocispec.Manifest{}
	img.Config, img.Manifest, err = newManifest(sys, packed, &s, true, func(built *ocispec.Manifest) {
		built.Annotations[AnnotationImage] = r.String()
		m = built
	})
	if err != nil {
		return nil, err
	}
	img.Layers = m.Layers
	d, err := sys.indexEntry(r)
	if err != nil {
		return nil, err
	}
	img.Manifest.Descriptor.Platform, img.Manifest.Descriptor.Annotations = d.Platform, d.Annotations
	return img, nil
}

// newManifest makes the config and the manifest, finished by edit. Without
// bytes it leaves out what only packing tells.
func newManifest(sys *System, packed []PackedLayer, s *Settings, bytes bool, edit ...func(*ocispec.Manifest)) (cfg, man oci.Blob, err error) {
	fail := func(err error) (oci.Blob, oci.Blob, error) {
		return oci.Blob{}, oci.Blob{}, fmt.Errorf("manifest of %s: %w", sys.Toplevel, err)
	}
	if len(packed) == 0 {
		return fail(errors.New("no layers"))
	}
	if len(packed) > maxImageLayers {
		return fail(hint.Add(fmt.Errorf("%d layers, overlay drivers take %d", len(packed), maxImageLayers), "lower --max-layers"))
	}
	if err := s.Validate(packed[0].Compression); err != nil {
		return fail(err)
	}
	info := sys.Closure.Info(sys.Toplevel)
	if info == nil {
		return fail(errors.New("toplevel is not in the closure"))
	}
	types := s.mediaTypes()
	m := &ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: types.manifest}
	var ls []*layers.Layer
	var diffIDs []digest.Digest
	for _, p := range packed {
		d, err := layerDescriptor(p, s.Docker, bytes)
		if err != nil {
			return fail(err)
		}
		ls = append(ls, p.Layer)
		diffIDs = append(diffIDs, p.DiffID)
		m.Layers = append(m.Layers, d)
	}
	if !bytes {
		diffIDs = nil
	}
	c, err := newConfig(sys, ls, diffIDs, s)
	if err != nil {
		return fail(err)
	}
	if cfg, err = newBlob(types.config, c); err != nil {
		return fail(err)
	}
	m.Config = ocispec.Descriptor{MediaType: types.config}
	if bytes {
		m.Config = cfg.Descriptor
	}
	m.Annotations = annotations(s, sys.facts())
	m.Annotations[AnnotationFormat] = strconv.Itoa(sys.format())
	if sys.Init != nil {
		m.Annotations[AnnotationInit] = sys.Init.Digest.String()
	}
	if sys.PlanFrom != "" {
		if err := checkDigest(sys.PlanFrom); err != nil {
			return fail(fmt.Errorf("plan from %w", err))
		}
		m.Annotations[AnnotationPlanFrom] = sys.PlanFrom.String()
	}
	m.Annotations[AnnotationToplevel] = string(sys.Toplevel)
	m.Annotations[AnnotationNarHash] = info.NarHash.SRI()
	for _, f := range edit {
		f(m)
	}
	if man, err = newManifestBlob(types.manifest, m); err != nil {
		return fail(err)
	}
	return cfg, man, nil
}

// annotations are facts, the time of creation, and what the user said, who has
// the last word.
func annotations(s *Settings, facts map[string]string) map[string]string {
	m := maps.Clone(facts)
	if t := created(s); t != nil {
		m[ocispec.AnnotationCreated] = t.Format(time.RFC3339)
	}
	maps.Copy(m, s.Annotations)
	return m
}

func layerDescriptor(p PackedLayer, docker, bytes bool) (ocispec.Descriptor, error) {
	mt, err := p.Compression.MediaType(docker)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mt, Annotations: map[string]string{
		AnnotationRecipe:      p.Recipe.String(),
		AnnotationCompression: p.Compression.String(),
	}}
	for _, k := range slices.Sorted(maps.Keys(p.Annotations)) {
		if _, taken := d.Annotations[k]; taken || k == AnnotationDiffID || k == AnnotationTarSize {
			return ocispec.Descriptor{}, fmt.Errorf("layer %s: annotation %q is nixoci's own", p.Recipe, k)
		}
		d.Annotations[k] = p.Annotations[k]
	}
	if bytes {
		if err := checkPacked(p.Packed); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("layer %s: %w", p.Recipe, err)
		}
		d.Digest, d.Size = p.Digest, p.Packed.Size
		d.Annotations[AnnotationDiffID] = p.DiffID.String()
		d.Annotations[AnnotationTarSize] = strconv.FormatInt(p.UncompressedSize, 10)
	}
	return d, nil
}

// checkPacked holds for whatever a packer made, or a registry claims it made.
func checkPacked(p layers.Packed) error {
	if err := checkDigest(p.DiffID); err != nil {
		return fmt.Errorf("diffID %w", err)
	}
	if err := checkDigest(p.Digest); err != nil {
		return fmt.Errorf("digest %w", err)
	}
	const block = 512
	switch {
	case p.Size <= 0:
		return fmt.Errorf("size %d: not positive", p.Size)
	case p.UncompressedSize < 2*block || p.UncompressedSize%block != 0:
		return fmt.Errorf("tar size %d: not the size of a tar", p.UncompressedSize)
	}
	return nil
}

// checkDigest accepts sha256 only: nixoci knows no other.
func checkDigest(d digest.Digest) error {
	if alg, _, _ := strings.Cut(string(d), ":"); alg != string(digest.SHA256) {
		return fmt.Errorf("%q: not a sha256", d)
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%q: %w", d, err)
	}
	return nil
}
