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

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

// maxImageLayers is the largest number of layers that overlay drivers can mount. Docker's
// driver has the same limit.
const maxImageLayers = 127

// Draft is the image of one platform without the bytes of its layers. Only drafts compute an
// image's recipe. push, its proof that an image is unchanged, and verify all make drafts and
// compare their recipes.
type Draft struct {
	System *System
	Layers []*layers.Layer // from the lowest to the one of [LastLayer]; the layers of a base are below these

	// Recipe identifies the image by its inputs, before any layer is made. Two images
	// with the same recipe have the same manifest digest.
	//
	// Recipe is the sha256 of these parts: "nixoci-image <format>\n", the config without
	// diffIDs, "\n", and the manifest without values that are known only after packing. Such
	// values are the config's digest and size, and each layer's digest, size, diffID and tar
	// size. The recipes of the layers replace them, because a recipe covers every store
	// path with its narHash.
	Recipe digest.Digest

	config     config
	manifest   ocispec.Manifest   // includes the layers of the base and those of Layers
	indexEntry ocispec.Descriptor // the manifest's descriptor in the index, without digest, size and media type
}

// ImageLayers describes all layers of an image, from the lowest to the highest: the init
// layer, a layer for each group of store paths, and the system layer. An application has a
// root layer instead of the system layer. Below the root layer there may be a layer for the
// application's files.
func ImageLayers(sys *System, groups [][]closure.StorePath, comp layers.Compression) ([]*layers.Layer, error) {
	var all []*layers.Layer
	if sys.Init != nil {
		all = append(all, InitLayer(sys.Init, comp))
	}
	for _, paths := range groups {
		l, err := layers.Store(sys.Closure, sys.Source, paths, comp)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if sys.hasFiles() {
		all = append(all, FilesLayer(sys, comp))
	}
	last, err := LastLayer(sys, comp)
	if err != nil {
		return nil, err
	}
	return append(all, last), nil
}

// errNoNarHash is the error for a System with a toplevel that is not in its closure.
var errNoNarHash = errors.New("the toplevel's narHash is unknown")

// NewDraft makes a draft of the image of sys with the layers ls and the settings s. ls must
// contain all layers, in the order of [ImageLayers]. s must be valid: see
// [Settings.Validate].
func NewDraft(sys *System, ls []*layers.Layer, s Settings) (*Draft, error) {
	d, err := newDraft(sys, ls, &s)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", sys.Toplevel, err)
	}
	return d, nil
}

func newDraft(sys *System, ls []*layers.Layer, s *Settings) (*Draft, error) {
	if sys.NarHash == (closure.Hash{}) {
		return nil, errNoNarHash
	}
	if len(ls) == 0 {
		return nil, errors.New("no layers")
	}
	if err := checkLayers(len(ls), sys.Base); err != nil {
		return nil, err
	}
	s = new(sys.Base.settings(sys, *s))
	if sys.Base != nil { // nobody has validated the settings of the base before
		if err := s.Validate(ls[0].Compression); err != nil {
			return nil, err
		}
	}
	d := &Draft{System: sys, Layers: ls}
	c, err := newConfig(sys, ls, s)
	if err != nil {
		return nil, err
	}
	d.config = *c
	types := s.mediaTypes()
	d.manifest = ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: types.manifest,
		Config:    ocispec.Descriptor{MediaType: types.config},
	}
	if sys.Base != nil {
		if d.manifest.Layers, err = sys.Base.descriptors(s.Docker); err != nil {
			return nil, err
		}
	}
	for _, l := range ls {
		desc, err := draftLayer(l, s.Docker)
		if err != nil {
			return nil, err
		}
		d.manifest.Layers = append(d.manifest.Layers, desc)
	}
	if d.manifest.Annotations, err = manifestAnnotations(sys, s); err != nil {
		return nil, err
	}
	if d.Recipe, err = d.recipe(); err != nil {
		return nil, err
	}
	d.manifest.Annotations[AnnotationImage] = d.Recipe.String()
	d.indexEntry, err = indexEntry(sys, d.Recipe)
	return d, err
}

// checkLayers returns an error if the image has more layers than an engine supports.
func checkLayers(own int, b *Base) error {
	switch {
	case b == nil && own > maxImageLayers:
		return hint.Add(fmt.Errorf("%d layers, overlay file systems support at most %d", own, maxImageLayers), "lower --max-layers")
	case b != nil && own+len(b.Layers) > maxImageLayers:
		return hint.Add(fmt.Errorf("%d layers and %d of the base image, overlay file systems support at most %d", own, len(b.Layers), maxImageLayers), "lower --max-layers")
	case b != nil:
		return b.check()
	}
	return nil
}

func (d *Draft) recipe() (digest.Digest, error) {
	c, err := oci.JSONBlob(d.manifest.Config.MediaType, d.config)
	if err != nil {
		return "", err
	}
	m, err := newManifestBlob(d.manifest.MediaType, d.manifest)
	if err != nil {
		return "", err
	}
	return recipe("nixoci-image", d.System.format(), c.Data, m.Data), nil
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

// Image completes the draft. packed contains the result of packing for each layer in
// d.Layers, in the same order.
func (d *Draft) Image(packed []layers.Packed) (*PlatformImage, error) {
	img, err := d.image(packed)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", d.System.Toplevel, err)
	}
	return img, nil
}

func (d *Draft) image(packed []layers.Packed) (*PlatformImage, error) {
	if len(packed) != len(d.Layers) {
		return nil, fmt.Errorf("%d layers, of which %d are packed", len(d.Layers), len(packed))
	}
	img := &PlatformImage{System: d.System, Recipe: d.Recipe}
	c, m := d.config, d.manifest
	own := len(m.Layers) - len(packed)
	m.Layers = slices.Clone(m.Layers[:own])
	for i := range m.Layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, d.System.Base.Layers[i].DiffID)
	}
	for i, p := range packed {
		if err := checkPacked(p); err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Layers[i].Recipe, err)
		}
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, p.DiffID)
		m.Layers = append(m.Layers, packedLayer(d.manifest.Layers[own+i], p))
	}
	img.Layers = m.Layers
	var err error
	if img.Config, err = oci.JSONBlob(m.Config.MediaType, c); err != nil {
		return nil, err
	}
	m.Config = img.Config.Descriptor
	if img.Manifest, err = newManifestBlob(m.MediaType, m); err != nil {
		return nil, err
	}
	img.Manifest.Descriptor.Platform = d.indexEntry.Platform
	img.Manifest.Descriptor.Annotations = d.indexEntry.Annotations
	return img, nil
}

// draftLayer returns a layer's descriptor without the values that are known only after
// packing.
func draftLayer(l *layers.Layer, docker bool) (ocispec.Descriptor, error) {
	mt, err := l.Compression.MediaType(docker)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mt, Annotations: map[string]string{
		AnnotationRecipe:      l.Recipe.String(),
		AnnotationCompression: l.Compression.String(),
	}}
	for _, k := range slices.Sorted(maps.Keys(l.Annotations)) {
		if _, taken := d.Annotations[k]; taken || k == AnnotationDiffID || k == AnnotationTarSize {
			return ocispec.Descriptor{}, fmt.Errorf("layer %s: annotation %q is reserved for nixoci", l.Recipe, k)
		}
		d.Annotations[k] = l.Annotations[k]
	}
	return d, nil
}

// packedLayer adds to a draft's descriptor the values that are known after packing.
func packedLayer(d ocispec.Descriptor, p layers.Packed) ocispec.Descriptor {
	d.Digest, d.Size = p.Digest, p.Size
	d.Annotations = maps.Clone(d.Annotations)
	d.Annotations[AnnotationDiffID] = p.DiffID.String()
	d.Annotations[AnnotationTarSize] = strconv.FormatInt(p.UncompressedSize, 10)
	return d
}

// manifestAnnotations returns the manifest's annotations without its recipe.
func manifestAnnotations(sys *System, s *Settings) (map[string]string, error) {
	a := annotations(s, sys.described())
	a[AnnotationFormat] = strconv.Itoa(sys.format())
	if sys.App != nil {
		a[AnnotationApplication] = strconv.Itoa(applicationVersion)
	}
	if sys.Base != nil {
		sys.Base.annotate(a)
	}
	if sys.Init != nil {
		a[AnnotationInit] = sys.Init.Digest.String()
	}
	if sys.PlanFrom != "" {
		if err := checkDigest(sys.PlanFrom); err != nil {
			return nil, fmt.Errorf("plan from %w", err)
		}
		a[AnnotationPlanFrom] = sys.PlanFrom.String()
	}
	a[AnnotationToplevel] = string(sys.Toplevel)
	a[AnnotationNarHash] = sys.NarHash.SRI()
	return a, nil
}

// indexEntry returns the manifest's descriptor for the index, without digest, size and
// media type.
func indexEntry(sys *System, recipe digest.Digest) (ocispec.Descriptor, error) {
	platform := sys.Platform
	d := ocispec.Descriptor{Platform: &platform, Annotations: sys.described()}
	d.Annotations[AnnotationToplevel] = string(sys.Toplevel)
	d.Annotations[AnnotationNarHash] = sys.NarHash.SRI()
	d.Annotations[AnnotationImage] = recipe.String()
	if sys.Facts != (Facts{}) {
		facts, err := oci.Marshal(sys.Facts)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("facts: %w", err)
		}
		d.Annotations[AnnotationFacts] = string(facts)
	}
	return d, nil
}

// annotations returns the derived annotations, the time of creation and the user's
// annotations. If several of them have the same key, the user's value wins.
func annotations(s *Settings, derived map[string]string) map[string]string {
	m := maps.Clone(derived)
	if t := created(s); t != nil {
		m[ocispec.AnnotationCreated] = t.Format(time.RFC3339)
	}
	maps.Copy(m, s.Annotations)
	return m
}

type mediaTypes struct{ index, manifest, config string }

func (s *Settings) mediaTypes() mediaTypes {
	if s.Docker {
		return mediaTypes{mediatype.DockerList, mediatype.DockerManifest, mediatype.DockerConfig}
	}
	return mediaTypes{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig}
}

// checkPacked checks a result of packing. The result comes from a packer, or a registry
// claims it.
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

// checkDigest accepts only sha256, because nixoci uses no other algorithm.
func checkDigest(d digest.Digest) error {
	if alg, _, _ := strings.Cut(string(d), ":"); alg != string(digest.SHA256) {
		return fmt.Errorf("%q: not a sha256", d)
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%q: %w", d, err)
	}
	return nil
}
