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

// maxConfig is the most that is read of an image's config, in bytes.
const maxConfig = limit.Config

// Image is an image as its manifests, configs and system layers describe it.
// All of it is what the image says of itself.
type Image struct {
	Name        string             // as given, completed
	Descriptor  ocispec.Descriptor // of the index, or of the only manifest
	Annotations map[string]string  // of the index
	Platforms   []*ImagePlatform   // in the order of the index
	Attached    []Attached
	Signatures  []attest.Claim // of the image; nobody has checked them
}

// ImagePlatform is one platform's part of an image.
type ImagePlatform struct {
	Platform    ocispec.Platform
	Descriptor  ocispec.Descriptor // of the manifest
	Annotations map[string]string  // of the manifest
	Config      ocispec.Image
	RawConfig   json.RawMessage    // the config's "config"
	Layers      []ImageLayer       // from the lowest
	Closure     *closure.Closure   // as the image's Nix database has it; nil without one
	Init        digest.Digest      // of the program at /sbin/init; "" where that is a link, or nobody says
	Base        *manifest.BaseInfo // the base image; nil without one
	Attached    []Attached
}

// ImageLayer is a layer of an image.
type ImageLayer struct {
	Descriptor  ocispec.Descriptor
	DiffID      digest.Digest
	TarSize     int64  // bytes; 0 where nobody says and the layer was not read
	Recipe      string // "" for a layer of another tool
	Compression string // as in the recipe
	Comment     string // of the history
	System      bool   // holds the Nix database
	Init        bool   // holds nixoci-init
	Base        bool   // of the base image
	Paths       []closure.StorePath
	PathsKnown  bool // Paths is complete

	recorded []closure.StorePath // what the manifest says that Paths is
}

// ReadOptions say how much of an image is read.
type ReadOptions struct {
	Platforms []ocispec.Platform // nil: all

	// Paths demands the store paths of every layer. Where the image's closure and
	// the layers' recipes do not tell them, the layers are read.
	Paths bool

	// Documents demands what is in the attached closure statements, of which the
	// derivers and signatures go into Closure, and in-toto statements.
	Documents bool

	// Warn, if any, is told of attached documents that cannot be read: whoever can
	// write to the repository can attach anything.
	Warn func(error)

	// Reading, if any, is told how many layers of a platform are read for their
	// store paths, and how many bytes that is.
	Reading func(layers int, size int64)

	read int64 // bytes of attached documents so far
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
	var complete func([]byte) error // with an index the statements are the platforms'
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
		if img.Signatures, err = attest.Claims(ctx, src, top.Descriptor.Digest); err != nil {
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
			continue // what BuildKit says of an image has the platform unknown/unknown
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

// keep drops the platforms that nobody asked for, and fails where one that
// somebody asked for is not there.
func (img *Image) keep(only []ocispec.Platform) error {
	img.Platforms = slices.DeleteFunc(img.Platforms, func(p *ImagePlatform) bool { return !wanted(p.Platform, only) })
	for _, w := range only {
		if !slices.ContainsFunc(img.Platforms, func(p *ImagePlatform) bool { return manifest.SamePlatform(p.Platform, w) }) {
			return fmt.Errorf("%s: has nothing for %s", img.Name, manifest.FormatPlatform(w))
		}
	}
	if len(img.Platforms) == 0 {
		return fmt.Errorf("%s: has no image for any platform", img.Name)
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
	if err := errors.Join(json.Unmarshal(raw, &p.Config), json.Unmarshal(raw, &config)); err != nil {
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
			// A claim, which counts once the recipe says the same: see assign.
			il.recorded, _ = layers.RecordedPaths(recorded)
		}
		il.TarSize, _ = strconv.ParseInt(l.Annotations[manifest.AnnotationTarSize], 10, 64)
		if len(history) == len(m.Layers) {
			il.Comment = history[i]
		}
		if i < base {
			il.Base, il.PathsKnown = true, true // what store paths it may have are not the image's
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

// readClosure reads the Nix database of the highest layer, where nixoci puts
// it.
func (p *ImagePlatform) readClosure(ctx context.Context, src oci.Reader) error {
	if len(p.Layers) == 0 {
		return nil
	}
	l := &p.Layers[len(p.Layers)-1]
	if l.Recipe == "" && p.Config.Config.Labels[manifest.AnnotationToplevel] == "" {
		return nil // another tool's; a Docker archive keeps the label alone
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

// findBase takes what the image's own file says of its base, where the manifest
// has said it is there. A Docker archive has no manifest.
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

// findInit finds the init layer of the program that the image says it has: by
// the recipe, and where a Docker archive has none, by the comment.
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

// assign finds the store paths of the layers by their recipes: those that the
// manifest records, else those of the plans that need no more than the closure,
// and those of single paths. What recipes do not tell stays unknown.
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

// storeLayers is the number of layers that have store paths.
func (p *ImagePlatform) storeLayers() (n int) {
	for i := range p.Layers {
		if l := &p.Layers[i]; !l.System && !l.Init && !l.Base {
			n++
		}
	}
	return n
}

// compressions are those that the layers name.
func (p *ImagePlatform) compressions() (all []layers.Compression) {
	for i := range p.Layers {
		if c, err := layers.ParseCompression(p.Layers[i].Compression); err == nil && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// Compressions are those that the layers name, of the first platform first.
func (img *Image) Compressions() (all []layers.Compression) {
	for _, p := range img.Platforms {
		all = append(all, p.compressions()...)
	}
	return all
}

// NixClosure is the closure, or an error that says why there is none.
func (p *ImagePlatform) NixClosure() (*closure.Closure, error) {
	if p.Closure == nil {
		return nil, fmt.Errorf("%s %s: its highest layer has no Nix database: not an image of nixoci", manifest.FormatPlatform(p.Platform), p.Descriptor.Digest)
	}
	return p.Closure, nil
}

// System is Nix's name of the platform, "" where it has none.
func (p *ImagePlatform) System() string {
	s, _ := closure.System(p.Platform)
	return s
}

// For returns the platform with this name; with none, the only one.
func (img *Image) For(platform string) (*ImagePlatform, error) {
	for _, p := range img.Platforms {
		if platform != "" && manifest.FormatPlatform(p.Platform) == platform {
			return p, nil
		}
	}
	if platform == "" || len(img.Platforms) == 1 {
		return img.Only()
	}
	return nil, fmt.Errorf("%s: has no platform %s", img.Name, platform)
}

// Only returns the one platform of img, where it has one alone.
func (img *Image) Only() (*ImagePlatform, error) {
	if len(img.Platforms) == 1 {
		return img.Platforms[0], nil
	}
	var names []string
	for _, p := range img.Platforms {
		names = append(names, manifest.FormatPlatform(p.Platform))
	}
	return nil, hint.Add(fmt.Errorf("%s: has %d platforms", img.Name, len(names)), "choose one with --platform: "+strings.Join(names, ", "))
}

// Plans are the plans of the image's platforms. They need [ReadOptions.Paths].
func (img *Image) Plans() ([]plan.Known, error) {
	var all []plan.Known
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
		all = append(all, plan.Known{
			Platform:  platform,
			File:      known.File(),
			Manifest:  p.Descriptor.Digest,
			Continues: digest.Digest(p.Annotations[manifest.AnnotationPlanFrom]),
		})
	}
	return all, nil
}
