package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
)

// maxConfig is the largest image config that this package reads, in bytes.
const maxConfig = limit.Config

// Image describes an image from its manifests, configs and system layers. This package does
// not verify what they state.
type Image struct {
	Name        string             // the name that the user gave, completed
	Descriptor  ocispec.Descriptor // descriptor of the index, or of the only manifest
	Annotations map[string]string  // annotations of the index
	Platforms   []*ImagePlatform   // platforms in the order of the index
	Attached    []Attached
	Signatures  []attest.ClaimedSigner // signatures of the image, not checked
}

// ImagePlatform describes the part of an image for one platform.
type ImagePlatform struct {
	Platform    ocispec.Platform
	Descriptor  ocispec.Descriptor // descriptor of the manifest
	Annotations map[string]string  // annotations of the manifest
	Config      ocispec.Image
	RawConfig   json.RawMessage    // the object "config" of the image config
	Layers      []ImageLayer       // layers, the lowest first
	Closure     *closure.Closure   // the closure that the image's Nix database records; nil if there is no database
	Init        digest.Digest      // digest of the program at /sbin/init; "" if /sbin/init is a link or the image records no digest
	Base        *manifest.BaseInfo // base image; nil if there is none
	Attached    []Attached
}

// ImageLayer describes a layer of an image.
type ImageLayer struct {
	Descriptor  ocispec.Descriptor
	DiffID      digest.Digest
	TarSize     int64  // bytes before compression; 0 if unknown
	Recipe      string // recipe of the layer; "" if another tool made it
	Compression string // compression that the recipe names
	Comment     string // comment in the history of the config
	System      bool   // true: the layer contains the Nix database
	Init        bool   // true: the layer contains nixoci-init
	Base        bool   // true: the layer belongs to the base image
	Paths       []closure.StorePath
	PathsKnown  bool // true: Paths is complete

	recorded []closure.StorePath // the paths that the manifest records for the layer
}

// ReadOptions sets how much of an image ReadImage reads.
type ReadOptions struct {
	Platforms []ocispec.Platform // platforms to read; nil: all

	// Paths asks for the store paths of every layer. If ReadImage cannot derive the paths of
	// a layer from the closure and the recipe, it reads the layer.
	Paths bool

	// Documents asks for the content of attached in-toto statements. ReadImage adds the
	// derivers and signatures of attached closure statements to Closure.
	Documents bool

	// Warn, if not nil, is called for each attached document that cannot be read. Such a
	// document is not an error, because everybody who can write to the repository can attach
	// anything.
	Warn func(error)

	// Reading, if not nil, is called before ReadImage reads layers of a platform to find
	// their store paths. Its arguments are the number of these layers and their total size in
	// bytes.
	Reading func(layers int, size int64)

	read int64 // bytes of attached documents that were read so far
}

func (o *ReadOptions) warn(err error) {
	if o.Warn != nil {
		o.Warn(err)
	}
}

// ReadImage reads the image that src names.
func ReadImage(ctx context.Context, src *oci.OpenedImage, o ReadOptions) (*Image, error) {
	top, err := src.GetManifest(ctx, src.TagOrDigest)
	if err != nil {
		return nil, err
	}
	img := &Image{Name: src.Name, Descriptor: top.Descriptor}
	index, notIndex := manifest.ParseIndex(top.Data, top.Descriptor.MediaType)
	var complete func([]byte) error // for an image with an index, closure statements are attached to the platforms
	if errors.Is(notIndex, manifest.ErrNotManifest) {
		p, err := readPlatform(ctx, src, top.Descriptor, top.Data, o)
		if err != nil {
			return nil, err
		}
		img.Platforms, complete = []*ImagePlatform{p}, p.complete
	}
	if img.Attached, err = readAttached(ctx, src, top.Descriptor.Digest, &o, complete); err != nil {
		return nil, err
	}
	if o.Documents {
		if img.Signatures, err = attest.ClaimedSigners(ctx, src, top.Descriptor.Digest); err != nil {
			var content *oci.ContentError
			if !errors.As(err, &content) {
				return nil, err
			}
			o.warn(err)
		}
	}
	if complete != nil {
		return img, img.keep(o.Platforms)
	}
	if notIndex != nil {
		return nil, fmt.Errorf("%s: %w", src.Name, notIndex)
	}
	img.Annotations = index.Annotations
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" || !wanted(*d.Platform, o.Platforms) {
			continue // the platform unknown/unknown marks an attestation of BuildKit
		}
		m, err := src.GetManifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		p, err := readPlatform(ctx, src, d, m.Data, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", manifest.FormatPlatform(*d.Platform), err)
		}
		if p.Attached, err = readAttached(ctx, src, d.Digest, &o, p.complete); err != nil {
			return nil, err
		}
		img.Platforms = append(img.Platforms, p)
	}
	return img, img.keep(o.Platforms)
}

func wanted(p ocispec.Platform, only []ocispec.Platform) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(w ocispec.Platform) bool { return manifest.SamePlatform(p, w) })
}

// keep removes the platforms that are not in the list only. It returns an error if the image
// lacks a platform of this list.
func (img *Image) keep(only []ocispec.Platform) error {
	img.Platforms = slices.DeleteFunc(img.Platforms, func(p *ImagePlatform) bool { return !wanted(p.Platform, only) })
	for _, w := range only {
		if !slices.ContainsFunc(img.Platforms, func(p *ImagePlatform) bool { return manifest.SamePlatform(p.Platform, w) }) {
			return hint.Add(fmt.Errorf("%s: the image has no platform %s", img.Name, manifest.FormatPlatform(w)), "nixoci inspect "+img.Name+" lists the platforms of the image")
		}
	}
	if len(img.Platforms) == 0 {
		return fmt.Errorf("%s: the index has no image for any platform", img.Name)
	}
	return nil
}

// GetBlobBytes reads a blob of at most limit bytes.
func GetBlobBytes(ctx context.Context, src oci.Reader, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d are read", d.Digest, d.Size, limit)
	}
	rc, err := src.GetBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

func readPlatform(ctx context.Context, src *oci.OpenedImage, d ocispec.Descriptor, data []byte, o ReadOptions) (*ImagePlatform, error) {
	m, err := manifest.ParseManifest(data, d.MediaType)
	if err != nil {
		return nil, err
	}
	raw, err := GetBlobBytes(ctx, src, m.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	p := &ImagePlatform{Descriptor: d, Annotations: m.Annotations}
	var config struct {
		Config json.RawMessage `json:"config"`
	}
	if err := errors.Join(manifest.UnmarshalConfig(raw, &p.Config), json.Unmarshal(raw, &config)); err != nil {
		return nil, fmt.Errorf("read config %s: %w", m.Config.Digest, err)
	}
	p.RawConfig = config.Config
	p.Platform = p.Config.Platform
	if d.Platform != nil {
		p.Platform = *d.Platform
	}
	if n := len(p.Config.RootFS.DiffIDs); n != len(m.Layers) {
		return nil, fmt.Errorf("read config %s: %d diffIDs for %d layers", m.Config.Digest, n, len(m.Layers))
	}
	base, err := m.BaseLayers()
	if err != nil {
		return nil, err
	}
	var history []string
	for _, h := range p.Config.History {
		if !h.EmptyLayer {
			history = append(history, h.CreatedBy)
		}
	}
	for i, l := range m.Layers {
		il := ImageLayer{
			Descriptor:  l,
			DiffID:      p.Config.RootFS.DiffIDs[i],
			Recipe:      l.Annotations[manifest.AnnotationRecipe],
			Compression: l.Annotations[manifest.AnnotationCompression],
		}
		if recorded, ok := l.Annotations[layers.AnnotationPaths]; ok {
			// The manifest only states these paths. The function assign compares them with
			// the recipe.
			il.recorded, _ = layers.RecordedPaths(recorded)
		}
		il.TarSize, _ = strconv.ParseInt(l.Annotations[manifest.AnnotationTarSize], 10, 64)
		if len(history) == len(m.Layers) {
			il.Comment = history[i]
		}
		if i < base {
			il.Base, il.PathsKnown = true, true // the image's closure does not contain the store paths of a base image
			il.Comment = strings.TrimSuffix("from the base image: "+il.Comment, ": ")
		}
		p.Layers = append(p.Layers, il)
	}
	if err := p.readClosure(ctx, src); err != nil {
		return nil, err
	}
	p.assign()
	if o.Paths {
		return p, p.readPaths(ctx, src, o.Reading)
	}
	return p, nil
}

// readClosure reads the Nix database from the highest layer. nixoci puts the database there.
func (p *ImagePlatform) readClosure(ctx context.Context, src oci.Reader) error {
	if len(p.Layers) == 0 {
		return nil
	}
	l := &p.Layers[len(p.Layers)-1]
	if l.Recipe == "" && p.Config.Config.Labels[manifest.AnnotationToplevel] == "" {
		return nil // a layer of another tool; in a Docker archive, nixoci's images can be recognized only by a label
	}
	c, info, base, err := readDatabase(ctx, src, l)
	if err != nil {
		return fmt.Errorf("read the image's Nix database: %w", err)
	}
	if c != nil {
		p.Closure, l.System, l.PathsKnown = c, true, true
	}
	p.findInit(info.Program)
	p.findBase(base)
	return nil
}

// findBase sets the base image, as the system layer records it. If the image has a manifest,
// annotations have already marked the layers of the base image. A Docker archive has no
// manifest, so findBase marks the layers.
func (p *ImagePlatform) findBase(base *manifest.BaseInfo) {
	if base == nil || base.Count < 1 || base.Count >= len(p.Layers) {
		return
	}
	p.Base = base
	for i := range p.Layers[:base.Count] {
		if l := &p.Layers[i]; !l.Base {
			l.Base, l.PathsKnown = true, true
			l.Comment = strings.TrimSuffix("from the base image: "+l.Comment, ": ")
		}
	}
}

// findInit marks the layer that contains program, the nixoci-init of the image. It recognizes
// the layer by its recipe. Layers in a Docker archive have no recipe, so findInit compares
// the comment instead.
func (p *ImagePlatform) findInit(program digest.Digest) {
	l := &p.Layers[0]
	if program == "" || l.System {
		return
	}
	comp, err := layers.ParseCompression(l.Compression)
	if l.Recipe != "" && (err != nil || l.Recipe != manifest.InitRecipe(program, comp).String()) ||
		l.Recipe == "" && l.Comment != manifest.InitComment(program) {
		return
	}
	p.Init, l.Init, l.PathsKnown = program, true, true
}

// assign finds the store paths of each layer. It tries groups of paths until one group gives
// the recipe of the layer. First it tries the groups that the manifest records. Next it tries
// the groups of every plan that can be made from the closure alone, and last each single
// path. If no group matches, the paths of the layer stay unknown.
func (p *ImagePlatform) assign() {
	if p.Closure == nil {
		return
	}
	unknown := map[string]*ImageLayer{}
	for i := range p.Layers {
		if l := &p.Layers[i]; !l.System && !l.Init && !l.Base && l.Recipe != "" {
			unknown[l.Recipe] = l
		}
	}
	try := func(comp layers.Compression, paths []closure.StorePath) {
		infos := make([]closure.Info, len(paths))
		for i, path := range paths {
			infos[i] = *p.Closure.Info(path)
		}
		r := layers.NewRecipe(comp, infos).String()
		if l := unknown[r]; l != nil {
			l.Paths, l.PathsKnown = paths, true
			delete(unknown, r)
		}
	}
	comps := p.compressions()
	for i := range p.Layers {
		if r := p.Layers[i].recorded; len(r) > 0 && !slices.ContainsFunc(r, func(path closure.StorePath) bool { return p.Closure.Info(path) == nil }) {
			for _, comp := range comps {
				try(comp, r)
			}
		}
	}
	for _, strategy := range plan.Strategies {
		for _, n := range []int{plan.DefaultMaxLayers, p.storeLayers()} {
			if len(unknown) == 0 {
				return
			}
			plan, err := plan.New(p.Closure, plan.Options{MaxLayers: n, Strategy: strategy})
			if err != nil {
				continue
			}
			for _, g := range plan.Groups {
				for _, comp := range comps {
					try(comp, g.Paths)
				}
			}
		}
	}
	for i := range p.Closure.Paths {
		for _, comp := range comps {
			try(comp, []closure.StorePath{p.Closure.Paths[i].Path})
		}
	}
}

// storeLayers counts the layers that have store paths.
func (p *ImagePlatform) storeLayers() (n int) {
	for i := range p.Layers {
		if l := &p.Layers[i]; !l.System && !l.Init && !l.Base {
			n++
		}
	}
	return n
}

// compressions lists the distinct compressions of the layers.
func (p *ImagePlatform) compressions() (all []layers.Compression) {
	for i := range p.Layers {
		if c, err := layers.ParseCompression(p.Layers[i].Compression); err == nil && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// Compressions lists the distinct compressions of all layers. The compressions of the first
// platform come first.
func (img *Image) Compressions() (all []layers.Compression) {
	for _, p := range img.Platforms {
		all = append(all, p.compressions()...)
	}
	return all
}

// NixClosure returns the closure, or an error that explains why there is none.
func (p *ImagePlatform) NixClosure() (*closure.Closure, error) {
	if p.Closure == nil {
		return nil, fmt.Errorf("%s %s: the last layer has no Nix database, so this is not an image of nixoci", manifest.FormatPlatform(p.Platform), p.Descriptor.Digest)
	}
	return p.Closure, nil
}

// System returns the name that Nix uses for the platform, or "" if Nix has no name for it.
func (p *ImagePlatform) System() string {
	s, _ := closure.NixSystem(p.Platform)
	return s
}

// SBOMOptions returns the options for a bill of materials of the platform: everything that the image
// records. The caller may add the creation time and the metadata from nixpkgs.
func (p *ImagePlatform) SBOMOptions() SBOMOptions {
	return SBOMOptions{System: p.System(), Init: p.Init.String(), Base: p.Base}
}

// For returns the platform with the given name. If the name is "", it returns the only
// platform.
func (img *Image) For(platform string) (*ImagePlatform, error) {
	for _, p := range img.Platforms {
		if platform != "" && manifest.FormatPlatform(p.Platform) == platform {
			return p, nil
		}
	}
	if platform == "" || len(img.Platforms) == 1 {
		return img.Only()
	}
	return nil, hint.Add(fmt.Errorf("%s: the image has no platform %s", img.Name, platform), "choose one of its platforms: "+strings.Join(img.platformNames(), ", "))
}

// Only returns the platform of an image with one platform. For an image with several
// platforms, it returns an error.
func (img *Image) Only() (*ImagePlatform, error) {
	if len(img.Platforms) == 1 {
		return img.Platforms[0], nil
	}
	return nil, hint.Add(fmt.Errorf("%s: the image has %d platforms", img.Name, len(img.Platforms)), "choose one with --platform: "+strings.Join(img.platformNames(), ", "))
}

func (img *Image) platformNames() (names []string) {
	for _, p := range img.Platforms {
		names = append(names, manifest.FormatPlatform(p.Platform))
	}
	return names
}

// Plans returns the plan of each platform. The image must have been read with
// [ReadOptions.Paths].
func (img *Image) Plans() ([]plan.Recorded, error) {
	var all []plan.Recorded
	for _, p := range img.Platforms {
		known := &plan.Plan{Strategy: plan.StrategyCost}
		for _, l := range p.Layers {
			if !l.System && len(l.Paths) > 0 {
				known.Groups = append(known.Groups, plan.Group{Paths: l.Paths})
			}
		}
		platform := manifest.FormatPlatform(p.Platform)
		if len(known.Groups) == 0 {
			return nil, fmt.Errorf("%s: no layer of this image has store paths", platform)
		}
		all = append(all, plan.Recorded{
			Platform:  platform,
			File:      known.File(),
			Manifest:  p.Descriptor.Digest,
			Continues: digest.Digest(p.Annotations[manifest.AnnotationPlanFrom]),
		})
	}
	return all, nil
}
