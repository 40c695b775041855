package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/task"
)

// comparison holds the result of comparing one image with one of Options.Closures.
type comparison struct {
	completed bool
	findings  []Finding
}

// compareClosures is a stage of [Image]. It assembles images again from the given closures, with
// the plan and the settings of the image. It compares the results with the image.
func (v *verification) compareClosures(ctx context.Context, contents []*content, all []*checks) (comparisons []*comparison, unmatched []Finding, err error) {
	comparisons = make([]*comparison, len(contents))
	for _, sys := range v.o.Closures {
		found := false
		for n, c := range contents {
			if !c.doc.complete() || !manifest.SamePlatform(c.doc.config.Platform, sys.Platform) {
				continue
			}
			found = true
			as, err := c.given(ctx, sys)
			if err != nil {
				if ctx.Err() != nil || errors.As(err, new(*application.ReadError)) {
					return nil, nil, fmt.Errorf("closure of %s: %w", sys.Toplevel, errors.Join(err, context.Cause(ctx)))
				}
				comparisons[n] = &comparison{findings: []Finding{Finding{Platform: c.doc.platform, Path: string(sys.Toplevel)}.of(CheckClosure, "%v", err)}}
				continue
			}
			g := &givenClosure{v: v, content: c, init: all[n].init, sys: c.as(as, all[n].init)}
			if comparisons[n], err = g.compare(ctx); err != nil {
				return nil, nil, fmt.Errorf("closure of %s: %w", sys.Toplevel, err)
			}
		}
		if !found {
			unmatched = append(unmatched, requiredBy(false, []Finding{Finding{Path: string(sys.Toplevel)}.of(CheckClosure,
				"the image has no platform %s", manifest.FormatPlatform(sys.Platform))})...)
		}
	}
	return comparisons, unmatched, nil
}

// givenClosure holds a given closure and the image that this closure should make.
type givenClosure struct {
	v       *verification
	content *content
	init    *manifest.Init // read from the image, because a closure has no nixoci-init
	sys     *manifest.System
}

// madeLayer is a layer made from the closure, with its differences from the layer in the image.
type madeLayer struct {
	layer    *layers.Layer // nil if the closure cannot make this layer
	packed   layers.Packed
	findings []Finding // differences of the tar
	blob     []Finding // difference of the blob, if the tars are equal
}

func (g *givenClosure) compare(ctx context.Context) (*comparison, error) {
	c := g.content
	if !c.doc.made || !c.complete() {
		return &comparison{}, nil // the image has no known plan, or it could not be read completely
	}
	all := make([]madeLayer, len(c.doc.manifest.Layers))
	group, gctx := task.WithContext(ctx)
	group.SetLimit(g.v.jobs())
	packer := layers.NewPacker(g.v.o.Jobs)
	for n := c.own(); n < len(all); n++ { // the layers of the base cannot be made from the closure
		l, found, err := g.layer(n)
		if err != nil {
			return nil, err
		}
		all[n] = madeLayer{layer: l, findings: found}
		if l == nil {
			continue
		}
		g.v.o.Progress.More(1, l.Size)
		group.Go(func() (err error) {
			all[n], err = g.compareLayer(gctx, packer, l, found, n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	same := true
	result := &comparison{}
	for _, m := range all[c.own():] {
		result.findings = append(result.findings, m.findings...)
		same = same && m.layer != nil
	}
	if c.damaged() {
		return result, nil // findings report the damage
	}
	result.completed = true
	result.findings = append(result.findings, g.missing()...)
	for _, m := range all { // list differences of contents before differences of compression
		result.findings = append(result.findings, m.blob...)
	}
	if same && len(result.findings) == 0 { // if layers differ, config and manifest differ too, so do not report these again
		result.findings = g.compareDocuments(all)
	}
	return result, nil
}

// layer describes layer n as the closure makes it. The layer contains the same paths as the image's
// layer, except paths that the closure lacks. If the closure has none of the paths, layer returns
// nil.
func (g *givenClosure) layer(n int) (l *layers.Layer, found []Finding, err error) {
	c := g.content
	comp, _ := c.doc.compression(n)
	if n == 0 && c.form.hasInit {
		if g.init == nil {
			return nil, nil, nil // a finding reports what is wrong with the init layer
		}
		return manifest.InitLayer(g.init, comp), nil, nil
	}
	if n == len(c.layers) {
		l, err = manifest.LastLayer(g.sys, comp)
		return l, nil, err
	}
	if c.isFiles(n) {
		if !g.sys.App.HasFiles() {
			return nil, nil, nil
		}
		return manifest.FilesLayer(g.sys, comp), nil, nil
	}
	var paths []closure.StorePath
	for _, p := range c.layers[n].paths {
		if g.sys.Closure.Info(p.path) == nil {
			place := c.doc.place(n)
			place.Path = string(p.path)
			found = append(found, place.of(CheckClosure, "the closure does not contain this path"))
			continue
		}
		paths = append(paths, p.path)
	}
	if len(paths) == 0 {
		return nil, found, nil
	}
	if l, err = layers.Store(g.sys.Closure, g.sys.Source, paths, comp); err != nil {
		return nil, found, nil // the layer contains a path twice, and a finding reports that
	}
	return l, found, nil
}

// compareLayer packs layer n and compares it with the image. found contains the findings so far.
func (g *givenClosure) compareLayer(ctx context.Context, packer *layers.Packer, l *layers.Layer, found []Finding, n int) (made madeLayer, err error) {
	c, d := g.content, g.content.doc.manifest.Layers[n]
	made = madeLayer{layer: l, findings: found}
	progress := func(n int) { g.v.o.Progress.Did(int64(n)) }
	if made.packed, err = packer.PackWithProgress(ctx, l, io.Discard, progress); err != nil {
		return made, err
	}
	g.v.o.Progress.Layer(d, "made")
	if made.packed.Digest == d.Digest || g.v.noManifest && made.packed.DiffID == c.doc.config.RootFS.DiffIDs[n] {
		return made, nil
	}
	place := c.doc.place(n)
	if made.packed.DiffID == c.layer(n).diffID {
		made.blob = []Finding{place.of(CheckClosure, "the tar is right, but not the blob: compressed with %s, its digest is %s", l.Compression, made.packed.Digest)}
		return made, nil
	}
	differences := &collector{place: place, stopAtFirst: !g.v.o.KeepGoing, findings: found}
	err = g.v.compareTar(ctx, d, l, func(entry, what string) error {
		f := entryPlace(entry)
		if n < len(c.layers) && f.Path != entry && g.sys.Closure.Info(closure.StorePath(f.Path)) == nil {
			return nil // a finding already reports that the closure does not contain the path
		}
		return differences.add(f.of(CheckClosure, "%s", what))
	})
	_, damaged := contentFinding(err)
	switch {
	case damaged || errors.Is(err, errStop) || errors.As(err, new(*layers.FormatError)):
		err = nil // findings about the layer itself report this fault
	case err == nil && len(differences.findings) == 0:
		differences.addf(CheckClosure, "made from the closure, the layer has diffID %s", made.packed.DiffID)
	}
	made.findings = differences.findings
	return made, err
}

// missing returns a finding for each path of the closure that no layer contains.
func (g *givenClosure) missing() (found []Finding) {
	in := map[closure.StorePath]bool{}
	for _, l := range g.content.layers {
		for _, p := range l.paths {
			in[p.path] = true
		}
	}
	for k := range g.sys.Closure.Paths {
		if p := g.sys.Closure.Paths[k].Path; !in[p] {
			found = append(found, Finding{Platform: g.content.doc.platform, Path: string(p)}.of(CheckClosure, "the closure contains this path, but no layer does"))
		}
	}
	return found
}

// compareDocuments compares config and manifest. Call it only if all layers are equal.
func (g *givenClosure) compareDocuments(all []madeLayer) []Finding {
	doc, own := g.content.doc, g.content.own()
	all = all[own:]
	ls, packed := make([]*layers.Layer, len(all)), make([]layers.Packed, len(all))
	for n := range all {
		ls[n], packed[n] = all[n].layer, all[n].packed
		if doc.noManifest { // the archive may compress its blobs in another way
			packed[n].Digest, packed[n].Size = doc.manifest.Layers[own+n].Digest, doc.manifest.Layers[own+n].Size
		}
	}
	fail := func(err error) []Finding {
		return []Finding{Finding{Platform: doc.platform}.of(CheckClosure, "%v", err)}
	}
	recorded, err := manifest.RecordedSettings(g.sys, doc.manifest, doc.configData, ls[0].Compression)
	if err != nil {
		return fail(err)
	}
	draft, err := manifest.NewDraft(g.sys, ls, withoutToplevel(recorded))
	if err != nil {
		return fail(err)
	}
	made, err := draft.Image(packed)
	if err != nil {
		return fail(err)
	}
	var found []Finding
	if what := differentJSON(doc.configData, made.Config.Data); what != "" {
		found = append(found, doc.configPlace().of(CheckClosure, "config: %s", what))
	}
	if what := differentJSON(doc.blob.Data, made.Manifest.Data); what != "" && !doc.noManifest {
		found = append(found, Finding{Platform: doc.platform, Digest: doc.blob.Descriptor.Digest}.of(CheckClosure, "manifest: %s", what))
	}
	return found
}
