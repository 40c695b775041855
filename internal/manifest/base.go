package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

// Base is the base image below an application's image, for one platform. The layers of the
// base are the lowest layers of the new image. nixoci knows only what the base's manifest and
// config contain.
type Base struct {
	BaseInfo
	BaseContent
	Source oci.Reader // reads the layers; nil if no layer will be read
}

// BaseInfo identifies the base image.
type BaseInfo struct {
	Name     string        `json:"name,omitempty"` // complete reference; "" if the base was read from a file
	Digest   digest.Digest `json:"digest"`         // digest of the index or manifest that the reference names
	Manifest digest.Digest `json:"manifest"`       // digest of the platform's manifest
	Count    int           `json:"layers"`         // number of layers
}

// BaseContent is what the manifest and the config of the base contain. The manifest's digest
// determines all of it.
type BaseContent struct {
	Layers  []BaseLayer       `json:"baseLayers"` // the lowest first
	History []ocispec.History `json:"history,omitempty"`
	Config  *BaseConfig       `json:"config"` // nil if the settings already include it
}

// BaseLayer is a layer of the base image.
type BaseLayer struct {
	ocispec.Descriptor
	DiffID digest.Digest `json:"diffID"`
}

// BaseConfig is the runtime configuration of the base image.
type BaseConfig struct {
	ocispec.ImageConfig
	Healthcheck *Healthcheck `json:"Healthcheck,omitempty"`
	Shell       []string     `json:"Shell,omitempty"`
}

// String returns a name of the base image for messages.
func (b BaseInfo) String() string {
	switch {
	case b.Name == "":
		return b.Digest.String()
	case strings.Contains(b.Name, "@"):
		return b.Name
	}
	return b.Name + "@" + b.Digest.String()
}

// BaseImage is what a reference to a base image names: an index with several platforms, or
// the manifest of one platform.
type BaseImage struct {
	top   oci.Blob
	index *Index // nil if the reference names the manifest of one platform
}

// ParseBaseImage parses the index or manifest that a reference names.
func ParseBaseImage(top oci.Blob) (*BaseImage, error) {
	b := &BaseImage{top: top}
	index, err := ParseIndex(top.Data, top.Descriptor.MediaType)
	if err == nil {
		b.index = index
		return b, nil
	}
	if _, notImage := ParseManifest(top.Data, top.Descriptor.MediaType); notImage != nil {
		if !errors.Is(err, ErrNotManifest) {
			notImage = err
		}
		return nil, notImage
	}
	return b, nil
}

// Find returns the digest of the manifest for platform p. If there is none, it returns an
// error.
func (b *BaseImage) Find(p ocispec.Platform) (digest.Digest, error) {
	if b.index == nil {
		return b.top.Descriptor.Digest, nil // Read checks the platform, which only the config contains
	}
	if d := b.index.Find(p); d != nil {
		return d.Digest, nil
	}
	var has []string
	for _, d := range b.index.Manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" { // attestations of BuildKit have the OS unknown
			has = append(has, FormatPlatform(*d.Platform))
		}
	}
	return "", hint.Add(fmt.Errorf("the image has no platform %s", FormatPlatform(p)), "the image is for "+strings.Join(has, ", "))
}

// Read reads the manifest and the config for platform p. d is the digest that Find returned.
func (b *BaseImage) Read(ctx context.Context, src oci.Reader, d digest.Digest, p ocispec.Platform) (c BaseContent, err error) {
	blob := b.top
	if b.index != nil {
		if blob, err = src.GetManifest(ctx, d.String()); err != nil {
			return c, err
		}
	}
	m, err := ParseBaseManifest(blob)
	if err != nil {
		return c, err
	}
	if m.Config.Size > limit.Config {
		return c, fmt.Errorf("config %s: %d bytes, at most %d are read", m.Config.Digest, m.Config.Size, limit.Config)
	}
	rc, err := src.GetBlob(ctx, m.Config)
	if err != nil {
		return c, err
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		return c, err
	}
	return ParseBaseConfig(m, data, p)
}

// Digest returns the digest of the index or manifest that the reference names.
func (b *BaseImage) Digest() digest.Digest { return b.top.Descriptor.Digest }

// NewBase returns the base for one platform. image is the digest that the reference names,
// and manifest is the digest of the platform's manifest. name is "" if the base was read from
// a file.
func NewBase(name string, image, manifest digest.Digest, c BaseContent, src oci.Reader) *Base {
	return &Base{
		BaseInfo:    BaseInfo{Name: name, Digest: image, Manifest: manifest, Count: len(c.Layers)},
		BaseContent: c,
		Source:      src,
	}
}

// ParseBaseManifest parses the manifest of a base image. It refuses artifacts that
// are not images, and images that nixoci cannot extend.
func ParseBaseManifest(blob oci.Blob) (*Manifest, error) {
	m, err := ParseManifest(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, err
	}
	if m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != mediatype.DockerConfig {
		return nil, fmt.Errorf("not an image: its config is of type %q", m.Config.MediaType)
	}
	if err := checkDigest(m.Config.Digest); err != nil {
		return nil, fmt.Errorf("config %w", err)
	}
	if len(m.Layers) == 0 {
		return nil, errors.New("has no layers")
	}
	if most := maxImageLayers - minOwnLayers; len(m.Layers) > most {
		return nil, fmt.Errorf("has %d layers; overlay file systems support at most %d, so a base image can have at most %d", len(m.Layers), maxImageLayers, most)
	}
	for i, l := range m.Layers {
		if err := checkBaseLayer(l); err != nil {
			return nil, fmt.Errorf("layer %d, %s: %w", i+1, l.Digest, err)
		}
	}
	return m, nil
}

// minOwnLayers is the smallest number of layers above a base: one layer of store paths, and
// the root layer.
const minOwnLayers = 2

func checkBaseLayer(l ocispec.Descriptor) error {
	switch {
	case strings.HasSuffix(l.MediaType, "+encrypted"):
		return fmt.Errorf("it is encrypted (%s)", l.MediaType)
	case strings.Contains(l.MediaType, ".nondistributable.") || strings.Contains(l.MediaType, ".foreign."):
		return fmt.Errorf("its publisher does not allow copying it (%s)", l.MediaType)
	}
	if err := checkDigest(l.Digest); err != nil {
		return fmt.Errorf("digest %w", err)
	}
	_, err := layerType(l.MediaType, false)
	return err
}

// layerTypes lists the media types of layers, in OCI's and in Docker's format.
var layerTypes = []struct{ oci, docker string }{
	{ocispec.MediaTypeImageLayer, mediatype.DockerLayer},
	{ocispec.MediaTypeImageLayerGzip, mediatype.DockerLayerGzip},
	{ocispec.MediaTypeImageLayerZstd, mediatype.DockerLayerZstd},
}

// layerType returns the media type that a layer of type t has in the new image: Docker's if
// docker is true, otherwise OCI's. The bytes of the layer are the same.
func layerType(t string, docker bool) (string, error) {
	for _, known := range layerTypes {
		switch {
		case t != known.oci && t != known.docker:
			continue
		case !docker:
			return known.oci, nil
		case known.oci == ocispec.MediaTypeImageLayerZstd:
			return "", hint.Add(errors.New("a layer of the base image is compressed with zstd, for which Docker has no media type"), "leave out --format docker")
		}
		return known.docker, nil
	}
	return "", fmt.Errorf("unknown type of layer %q", t)
}

// ParseBaseConfig parses the config of a base image with manifest m. It returns an
// error if the config is not for platform p.
func ParseBaseConfig(m *Manifest, data []byte, p ocispec.Platform) (BaseContent, error) {
	fail := func(err error) (BaseContent, error) {
		return BaseContent{}, fmt.Errorf("read config %s: %w", m.Config.Digest, err)
	}
	var c struct {
		ocispec.Platform
		Config  BaseConfig        `json:"config"`
		RootFS  ocispec.RootFS    `json:"rootfs"`
		History []ocispec.History `json:"history"`
	}
	if err := UnmarshalConfig(data, &c); err != nil {
		return fail(err)
	}
	its := c.Platform
	if its.Variant == "" { // many tools leave out the variant
		its.Variant = p.Variant
	}
	if its.OSVersion, its.OSFeatures = "", nil; !SamePlatform(its, p) {
		return BaseContent{}, hint.Add(fmt.Errorf("is for %s, not for %s", FormatPlatform(c.Platform), FormatPlatform(p)),
			"name an image or an index that has "+FormatPlatform(p))
	}
	if n := len(c.RootFS.DiffIDs); n != len(m.Layers) {
		return fail(fmt.Errorf("%d diffIDs for %d layers", n, len(m.Layers)))
	}
	content := BaseContent{Config: &c.Config, History: c.History}
	for i, l := range m.Layers {
		if err := checkDigest(c.RootFS.DiffIDs[i]); err != nil {
			return fail(fmt.Errorf("diffID %w", err))
		}
		content.Layers = append(content.Layers, BaseLayer{Descriptor: baseDescriptor(l), DiffID: c.RootFS.DiffIDs[i]})
	}
	if !fitsHistory(content.History, len(content.Layers)) {
		content.History = slices.Repeat([]ocispec.History{{CreatedBy: "layer of the base image"}}, len(content.Layers))
	}
	return content, nil
}

// baseDescriptor returns a layer's descriptor without nixoci's annotations, and
// without fields that are only meaningful in the manifest of the base image.
func baseDescriptor(l ocispec.Descriptor) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, Annotations: maps.Clone(l.Annotations)}
	maps.DeleteFunc(d.Annotations, func(k, _ string) bool { return strings.HasPrefix(k, reservedPrefix) })
	if len(d.Annotations) == 0 {
		d.Annotations = nil
	}
	return d
}

// fitsHistory reports whether the history has exactly one entry for each layer. Entries
// marked as empty layers do not count.
func fitsHistory(history []ocispec.History, layers int) bool {
	n := 0
	for _, h := range history {
		if !h.EmptyLayer {
			n++
		}
	}
	return n == layers
}

// BaseLayers returns the number of base image layers that m records.
func (m *Manifest) BaseLayers() (int, error) {
	s, ok := m.Annotations[AnnotationBaseLayers]
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > len(m.Layers)-minOwnLayers || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%q layers belong to the base image, but the image has %d layers", s, len(m.Layers))
	}
	return n, nil
}

// RecordedBase returns the base of an image, as recorded in info, in the image's manifest m
// and in its config.
func RecordedBase(info BaseInfo, m *Manifest, config *ocispec.Image) (*Base, error) {
	n, own := info.Count, len(m.Layers)-info.Count
	switch {
	case n < 1 || own < minOwnLayers || len(config.RootFS.DiffIDs) != len(m.Layers):
		return nil, fmt.Errorf("%d of %d layers belong to the base image", n, len(m.Layers))
	case len(config.History) < own:
		return nil, fmt.Errorf("the history has %d entries", len(config.History))
	}
	b := &Base{BaseInfo: info}
	b.History = config.History[:len(config.History)-own]
	for i, l := range m.Layers[:n] {
		b.Layers = append(b.Layers, BaseLayer{Descriptor: l, DiffID: config.RootFS.DiffIDs[i]})
	}
	return b, nil
}

// check checks the digests of the base. They may come from a registry, or from an image that
// nixoci verifies.
func (b *Base) check() error {
	for _, d := range []digest.Digest{b.Digest, b.Manifest} {
		if err := checkDigest(d); err != nil {
			return fmt.Errorf("base image: digest %w", err)
		}
	}
	return nil
}

// descriptors returns the descriptors of the base's layers, in Docker's format or OCI's.
func (b *Base) descriptors(docker bool) (all []ocispec.Descriptor, err error) {
	for _, l := range b.Layers {
		d := l.Descriptor
		if d.MediaType, err = layerType(d.MediaType, docker); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// annotate adds nixoci's annotations about the base to a.
func (b *Base) annotate(a map[string]string) {
	a[AnnotationBaseManifest] = b.Manifest.String()
	a[AnnotationBaseLayers] = strconv.Itoa(len(b.Layers))
}

// describe adds to m the image spec's annotations about the base.
func (b *Base) describe(m map[string]string) {
	if b.Name != "" {
		m[ocispec.AnnotationBaseImageName] = b.Name
	}
	m[ocispec.AnnotationBaseImageDigest] = b.Digest.String()
}
