package verify

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/task"
)

// remade holds an image that was made again from the content of its layers.
type remade struct {
	image    *manifest.PlatformImage
	recorded manifest.Settings // the settings that the image records
	chosen   []Setting         // the settings that differ from the default
}

// remake makes the init layer, system layer, config and manifest again, and compares them with the
// image. If they could not be made, it returns nil.
func (v *verification) remake(ctx context.Context, l *ledger, c *content, cl *closure.Closure, init *manifest.Init) (*remade, error) {
	src := &layerSource{v: v, content: c}
	sys, err := c.describe(ctx, src, cl)
	if err != nil {
		if src.failed != nil || ctx.Err() != nil {
			return nil, err
		}
		if len(l.findings) == 0 { // if there are findings, they have caused the error
			l.record([]Finding{Finding{Path: string(c.system.toplevel)}.of(CheckSystem, "%v", err)})
		}
		return nil, nil
	}
	sys = c.as(sys, init)
	if !l.record(checkPlatform(c.doc, sys), CheckPlatform) || !l.record(checkProgram(c.doc, init, sys)) {
		return nil, nil
	}
	ls, found := describeLayers(c, sys, cl, init)
	if !l.record(found) || ls == nil {
		return nil, nil
	}
	if init != nil {
		found, err := v.checkLayer(ctx, CheckInit, c, 0, ls[0])
		if err != nil || !l.record(found) {
			return nil, err
		}
	}
	l.record(nil, CheckInit)
	own := c.own()
	last := len(c.doc.manifest.Layers) - 1
	if c.isFiles(last - 1) {
		found, err := v.checkLayer(ctx, CheckSystem, c, last-1, ls[last-1-own])
		if err != nil || !l.record(found) {
			return nil, err
		}
	}
	found, err = v.checkLayer(ctx, CheckSystem, c, last, ls[last-own])
	if err != nil || !l.record(found, CheckSystem) {
		return nil, err
	}
	return v.remakeDocuments(l, c.doc, sys, ls, packedLayers(c)), nil
}

// describe reads the store paths in the layers to find out which system or application the image
// contains.
func (c *content) describe(ctx context.Context, src closure.Source, cl *closure.Closure) (*manifest.System, error) {
	if c.form.application {
		return c.remakeApplication(ctx, src, cl, c.system.application.Choices)
	}
	return manifest.ReadSystem(ctx, src, cl, c.system.toplevel, "")
}

// checkPlatform compares the toplevel's platform with the platforms in config and index.
func checkPlatform(doc *document, sys *manifest.System) (found []Finding) {
	differ := func(who string, p ocispec.Platform) {
		if p.OS == sys.Platform.OS && p.Architecture == sys.Platform.Architecture && p.Variant == sys.Platform.Variant {
			return
		}
		found = append(found, Finding{Path: string(sys.Toplevel), File: "system"}.of(CheckPlatform,
			"the system is for %s, but %s names %s", manifest.FormatPlatform(sys.Platform), who, manifest.FormatPlatform(p)))
	}
	differ("the config", doc.config.Platform)
	if doc.entry != nil && doc.entry.Platform != nil {
		differ("the index", *doc.entry.Platform)
	}
	return found
}

// describeLayers returns the layers above the base, made from the contents of the image. The
// compression of each layer comes from its descriptor. If such layers cannot exist, the result is
// nil.
func describeLayers(c *content, sys *manifest.System, cl *closure.Closure, init *manifest.Init) (all []*layers.Layer, found []Finding) {
	for n := c.own(); n < len(c.doc.manifest.Layers); n++ {
		comp, err := c.doc.compression(n)
		if err != nil {
			found = append(found, c.doc.place(n).of(CheckManifest, "%v", err))
		}
		var l *layers.Layer
		switch {
		case n == 0 && init != nil:
			l, err = manifest.InitLayer(init, comp), nil
		case c.isFiles(n):
			l = manifest.FilesLayer(sys, comp)
		case n < len(c.layers):
			paths := make([]closure.StorePath, len(c.layers[n].paths))
			for k, p := range c.layers[n].paths {
				paths[k] = p.path
			}
			l, err = layers.Store(cl, sys.Source, paths, comp)
		default:
			l, err = manifest.LastLayer(sys, comp)
		}
		if err != nil {
			return nil, append(found, c.doc.place(n).of(CheckManifest, "%v", err))
		}
		all = append(all, l)
	}
	return all, found
}

// packedLayers returns the digests and sizes of the layers above the base, as verify read them.
func packedLayers(c *content) []layers.Packed {
	own := c.doc.manifest.Layers[c.own():]
	packed := make([]layers.Packed, len(own))
	for k, d := range own {
		n := c.own() + k
		packed[k] = layers.Packed{DiffID: c.layer(n).diffID, Digest: d.Digest, Size: d.Size, UncompressedSize: c.layer(n).tarSize}
	}
	return packed
}

// compressionOf returns a compression that fits a media type. It is used if the level is not
// recorded.
func compressionOf(mediaType string) layers.Compression {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return layers.DefaultCompression()
	case strings.HasSuffix(mediaType, "zstd"):
		return layers.Compression{Algorithm: layers.Zstd, Level: 3}
	}
	return layers.Compression{Algorithm: layers.None}
}

// checkLayer makes layer n again and compares it with the image. n counts from 0. If the tars
// differ, checkLayer compares their entries, to name the entry that differs.
func (v *verification) checkLayer(ctx context.Context, check Check, c *content, n int, l *layers.Layer) ([]Finding, error) {
	place := c.doc.place(n)
	packed, err := layers.NewPacker(1).Pack(ctx, l, io.Discard)
	if err != nil {
		return []Finding{place.of(check, "%v", err)}, nil
	}
	if packed.DiffID == c.layer(n).diffID {
		if d := c.doc.manifest.Layers[n]; packed.Digest != d.Digest && !v.noManifest {
			return []Finding{place.of(check, "the tar is right, but not the blob: compressed with %s, its digest is %s", l.Compression, packed.Digest)}, nil
		}
		return nil, nil
	}
	found := &collector{place: place, stopAtFirst: v.stopAtFirst()}
	err = v.compareTar(ctx, c.doc.manifest.Layers[n], l, func(entry, what string) error {
		return found.add(Finding{Path: entry}.of(check, "%s", what))
	})
	if err != nil && !errors.Is(err, errStop) {
		return found.findings, err
	}
	if len(found.findings) == 0 {
		found.addf(check, "made again, the layer has diffID %s", packed.DiffID)
	}
	return found.findings, nil
}

// compareTar reports the differences between the tar in the blob d and the tar of the layer l. It
// makes l while it reads d, see [differentTars].
func (v *verification) compareTar(ctx context.Context, d ocispec.Descriptor, l *layers.Layer, report func(entry, what string) error) error {
	got := openTar(ctx, v.src, d, true)
	defer got.Close()
	want, stop := tarOfLayer(ctx, l)
	defer stop()
	return differentTars(got, want, l.Owners, report)
}

// tarOfLayer returns a reader of the layer's tar. The tar is made while the caller reads.
func tarOfLayer(ctx context.Context, l *layers.Layer) (io.Reader, func()) {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	go func() {
		defer task.Guard()
		w := layers.NewTarWriter(pw)
		err := l.Content(ctx, w)
		if err == nil {
			err = w.Close()
		}
		pw.CloseWithError(err)
	}()
	return pr, func() { cancel(); pr.Close() }
}

// remakeDocuments makes config and manifest again, and compares them with the image. If it cannot
// make them, it returns nil.
func (v *verification) remakeDocuments(l *ledger, doc *document, sys *manifest.System, ls []*layers.Layer, packed []layers.Packed) *remade {
	r := &remade{}
	var err error
	if r.recorded, err = manifest.RecordedSettings(sys, doc.manifest, doc.configData, ls[0].Compression); err != nil {
		l.record([]Finding{Finding{}.of(CheckConfig, "%v", err)})
		return nil
	}
	settings := withoutToplevel(r.recorded)
	draft, err := manifest.NewDraft(sys, ls, settings)
	if err == nil {
		r.image, err = draft.Image(packed)
	}
	if err != nil {
		l.record([]Finding{Finding{}.of(CheckManifest, "%v", err)})
		return nil
	}
	var found []Finding
	if what := differentJSON(doc.configData, r.image.Config.Data); what != "" {
		found = append(found, doc.configPlace().of(CheckConfig, "config: %s", what))
	}
	if !l.record(found) {
		return r
	}
	a := alternatives{doc: doc, own: len(doc.manifest.Layers) - len(ls), draft: draft, settings: settings}
	r.chosen, found = a.chosen(v.o.DefaultSettings)
	if !l.record(requiredBy(false, found)) {
		return r
	}
	if doc.noManifest {
		l.record(nil, CheckConfig)
		return r
	}
	if !l.record(a.checkRecipe(), CheckConfig) {
		return r
	}
	found = nil
	if what := differentJSON(doc.blob.Data, r.image.Manifest.Data); what != "" {
		found = append(found, Finding{Digest: doc.blob.Descriptor.Digest}.of(CheckManifest, "manifest: %s", what))
	}
	l.record(found, CheckManifest)
	return r
}

// withoutToplevel removes the label that names the toplevel from settings. The settings were read
// from an image and contain all of its labels, but the user did not set this label.
func withoutToplevel(s manifest.Settings) manifest.Settings {
	s.Labels = maps.Clone(s.Labels)
	delete(s.Labels, manifest.AnnotationToplevel)
	return s
}
