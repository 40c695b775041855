package verify

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// check compares what all layers turned out to hold with what the image says,
// in the order of the image. Findings go to i.after.
func (i *image) check(ctx context.Context) error {
	if !i.made {
		return i.checkForeign(ctx)
	}
	if i.m == nil || i.config == nil || len(i.reads) == 0 {
		return nil // and i.top says why
	}
	damaged := i.system.damaged
	for n := range i.reads {
		c := i.own(n)
		if c == nil {
			return nil // the finding before it is enough
		}
		i.layers = append(i.layers, c)
		i.after.all = append(i.after.all, c.findings.all...)
		if i.after.enough() {
			return errStop
		}
		damaged = damaged || c.damaged
	}
	if err := i.checkInit(); err != nil {
		return err
	}
	if i.infos == nil {
		return nil
	}
	if err := i.checkPaths(damaged); err != nil {
		return err
	}
	i.done(CheckDigests, CheckFormat, CheckPaths, CheckNarHashes)
	if err := i.checkClosure(); err != nil || i.closure == nil {
		return err
	}
	i.done(CheckReferences)
	if err := i.checkAddresses(); err != nil {
		return err
	}
	i.done(CheckAddresses)
	if !damaged && i.hasInit == (i.init != nil) { // else nothing can be made again of it
		if err := i.remake(ctx); err != nil {
			return err
		}
	}
	return i.checkSignatures(ctx)
}

// done says that checks were made to their end, whatever they found.
func (i *image) done(checks ...Check) {
	for _, c := range checks {
		i.checked[c] = true
	}
}

// checkPaths holds the store paths of the layers against those of the database.
func (i *image) checkPaths(damaged bool) error {
	infos := make(map[closure.StorePath]*closure.Info, len(i.infos))
	for k := range i.infos {
		infos[i.infos[k].Path] = &i.infos[k]
	}
	in := map[closure.StorePath]int{}
	for n, c := range i.layers {
		i.after.at.Layer, i.after.at.Digest = n+1, i.m.Layers[n].Digest
		for k := range c.paths {
			if err := i.checkPath(&c.paths[k], infos, in, n+1); err != nil {
				return err
			}
		}
	}
	i.after.at.Layer, i.after.at.Digest = 0, ""
	if damaged {
		return nil // a path that seems to be missing may be in what could not be read
	}
	var missing []string
	for p := range infos {
		if in[p] == 0 {
			missing = append(missing, string(p))
		}
	}
	slices.Sort(missing)
	for _, p := range missing {
		if err := i.after.add(Finding{Check: CheckPaths, Path: p, What: "the Nix database has it, and no layer"}); err != nil {
			return err
		}
	}
	return nil
}

func (i *image) checkPath(p *pathContent, infos map[closure.StorePath]*closure.Info, in map[closure.StorePath]int, layer int) error {
	found := func(c Check, format string, args ...any) error {
		return i.after.add(Finding{Check: c, Path: string(p.path), What: fmt.Sprintf(format, args...)})
	}
	if other := in[p.path]; other != 0 && other != layer {
		return found(CheckPaths, "layer %d has it too", other)
	}
	in[p.path] = layer
	info := infos[p.path]
	switch {
	case info == nil:
		return found(CheckPaths, "the Nix database does not have it")
	case p.broken:
		return nil
	case p.narHash != info.NarHash:
		return found(CheckNarHashes, "narHash is %s, the Nix database has %s", p.narHash, info.NarHash)
	case p.narSize != info.NarSize:
		return found(CheckNarHashes, "narSize is %d, the Nix database has %d", p.narSize, info.NarSize)
	}
	i.result.Paths++
	i.result.NarSize += p.narSize
	return nil
}

// checkClosure checks that the database's paths are one closure.
func (i *image) checkClosure() error {
	c, err := closure.New([]closure.StorePath{i.toplevel}, i.infos)
	if err != nil {
		return i.after.addf(CheckReferences, "%s", strings.TrimPrefix(err.Error(), "closure: "))
	}
	i.closure = c
	i.result.Toplevel, i.result.NarHash = string(i.toplevel), c.Info(i.toplevel).NarHash.SRI()
	return nil
}

// remake makes system layer, config and manifest again.
func (i *image) remake(ctx context.Context) error {
	src := &source{i: i}
	facts, err := manifest.ReadFacts(ctx, src, i.closure, i.toplevel)
	if err == nil {
		i.sys, err = manifest.NewSystem(src, i.closure, i.toplevel, "", facts)
	}
	if err != nil {
		if src.failed != nil || ctx.Err() != nil {
			return err
		}
		if len(i.after.all) > 0 {
			return nil // follows from what was found
		}
		return i.after.add(Finding{Check: CheckSystem, Path: string(i.toplevel), What: err.Error()})
	}
	i.sys = i.sys.In(i.format, i.init)
	if err := i.checkPlatform(); err != nil {
		return err
	}
	i.done(CheckPlatform)
	if err := i.checkProgram(); err != nil {
		return err
	}
	stack, err := i.stack()
	if err != nil || stack == nil {
		return err
	}
	if i.init != nil {
		if err := i.checkMade(ctx, CheckInit, 0, stack[0].Layer); err != nil {
			return err
		}
	}
	i.done(CheckInit)
	if err := i.checkMade(ctx, CheckSystem, len(stack)-1, stack[len(stack)-1].Layer); err != nil {
		return err
	}
	i.done(CheckSystem)
	return i.checkDocuments(stack)
}

// checkPlatform: the toplevel says what it was built for.
func (i *image) checkPlatform() error {
	differ := func(who string, p ocispec.Platform) error {
		if p.OS == i.sys.Platform.OS && p.Architecture == i.sys.Platform.Architecture && p.Variant == i.sys.Platform.Variant {
			return nil
		}
		return i.after.add(Finding{Check: CheckPlatform, Path: string(i.toplevel), File: "system",
			What: fmt.Sprintf("the system is for %s, and %s says %s", manifest.FormatPlatform(i.sys.Platform), who, manifest.FormatPlatform(p))})
	}
	if err := differ("the config", i.cfg.Platform); err != nil {
		return err
	}
	if i.entry == nil || i.entry.Platform == nil {
		return nil
	}
	return differ("the index", *i.entry.Platform)
}

// stack describes the layers from what they hold; the compression of a store
// layer is what its descriptor says.
func (i *image) stack() ([]manifest.PackedLayer, error) {
	var stack []manifest.PackedLayer
	for n, d := range i.m.Layers {
		content := i.system.layerContent
		if n < len(i.layers) {
			content = i.layers[n]
		}
		i.after.at.Layer, i.after.at.Digest = n+1, d.Digest
		comp, err := i.compression(d)
		if err != nil {
			return nil, err
		}
		var l *layers.Layer
		switch {
		case n == 0 && i.init != nil:
			l = manifest.InitLayer(i.init, comp)
		case n < len(i.layers):
			paths := make([]closure.StorePath, len(content.paths))
			for k, p := range content.paths {
				paths[k] = p.path
			}
			l, err = layers.Store(i.closure, i.sys.Source, paths, comp)
		default:
			l, err = manifest.SystemLayer(i.sys, comp)
		}
		if err != nil {
			return nil, i.after.addf(CheckManifest, "%v", err)
		}
		if n == 0 {
			i.comp = comp
		}
		stack = append(stack, manifest.PackedLayer{Layer: l, Packed: layers.Packed{
			DiffID: content.diffID, Digest: d.Digest, Size: d.Size, UncompressedSize: content.tarSize}})
	}
	i.after.at.Layer, i.after.at.Digest = 0, ""
	return stack, nil
}

func (i *image) compression(d ocispec.Descriptor) (layers.Compression, error) {
	if i.v.noManifest {
		return i.guess(d.MediaType), nil
	}
	comp, err := layers.ParseCompression(d.Annotations[manifest.AnnotationCompression])
	if err != nil {
		return i.guess(d.MediaType), i.after.addf(CheckManifest, "%v", err)
	}
	return comp, nil
}

// guess is a compression of a media type, where nobody says which level it was.
func (i *image) guess(mediaType string) layers.Compression {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return layers.DefaultCompression()
	case strings.HasSuffix(mediaType, "zstd"):
		return layers.Compression{Algorithm: layers.Zstd, Level: 3}
	}
	return layers.Compression{Algorithm: layers.None}
}

// checkMade makes layer n, from 0, again and compares it: its tar first, since
// that has places to name, then the blob.
func (i *image) checkMade(ctx context.Context, check Check, n int, l *layers.Layer) error {
	d := i.m.Layers[n]
	i.after.at.Layer, i.after.at.Digest = n+1, d.Digest
	defer func() { i.after.at.Layer, i.after.at.Digest = 0, "" }()
	packed, err := layers.NewPacker(1).Pack(ctx, l, io.Discard)
	if err != nil {
		return i.after.addf(check, "%v", err)
	}
	content := i.system.layerContent
	if n < len(i.layers) {
		content = i.layers[n]
	}
	if packed.DiffID != content.diffID {
		before := len(i.after.all)
		got := openTar(ctx, i.v.src, d, true)
		defer got.Close()
		want, stop := tarOfLayer(ctx, l)
		defer stop()
		err := differentTars(got, want, func(entry, what string) error {
			return i.after.add(Finding{Check: check, Path: entry, What: what})
		})
		if err != nil || len(i.after.all) > before {
			return err
		}
		return i.after.addf(check, "made again, its diffID is %s", packed.DiffID)
	}
	if packed.Digest != d.Digest && !i.v.noManifest {
		return i.after.addf(check, "its tar is right, but compressed with %s it has digest %s", l.Compression, packed.Digest)
	}
	return nil
}

// checkDocuments makes config and manifest again.
func (i *image) checkDocuments(stack []manifest.PackedLayer) error {
	settings, err := i.settings(i.sys, stack)
	if err != nil {
		return i.after.addf(CheckConfig, "%v", err)
	}
	i.image, err = manifest.NewImage(i.sys, stack, settings)
	if err != nil {
		return i.after.addf(CheckManifest, "%v", err)
	}
	if what := differentJSON(i.config, i.image.Config.Data); what != "" {
		if err := i.after.add(Finding{Check: CheckConfig, Digest: i.m.Config.Digest, What: "config: " + what}); err != nil {
			return err
		}
	}
	if err := i.chosen(stack, settings); err != nil {
		return err
	}
	if i.v.noManifest {
		i.done(CheckConfig)
		return nil
	}
	if err := i.checkRecipe(stack, settings); err != nil {
		return err
	}
	i.done(CheckConfig)
	if what := differentJSON(i.blob.Data, i.image.Manifest.Data); what != "" {
		return i.after.add(Finding{Check: CheckManifest, Digest: i.blob.Descriptor.Digest, What: "manifest: " + what})
	}
	i.done(CheckManifest)
	return nil
}

// settings are what whoever pushed the image chose.
func (i *image) settings(sys *manifest.System, stack []manifest.PackedLayer) (manifest.Settings, error) {
	s, err := manifest.RecordedSettings(sys, i.m, i.config, stack[0].Compression)
	if err != nil {
		return s, err
	}
	// RecordedSettings takes every label for the user's, but which system this is
	// is not his to say.
	s.Labels = maps.Clone(s.Labels)
	delete(s.Labels, manifest.AnnotationToplevel)
	return s, nil
}
