package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/task"
)

// compareClosures assembles the image again from the closures that were given,
// with the plan and the settings that it has, and compares. Findings go to the
// images' compared.
func (v *verifier) compareClosures(ctx context.Context) error {
	for _, sys := range v.o.Closures {
		found := false
		for _, i := range v.images {
			if i.m == nil || i.config == nil || !manifest.SamePlatform(i.cfg.Platform, sys.Platform) {
				continue
			}
			found, i.given = true, sys.In(i.format, i.init)
			if err := i.compare(ctx); err != nil && !errors.Is(err, errStop) {
				return fmt.Errorf("closure of %s: %w", sys.Toplevel, err)
			}
		}
		if !found {
			v.top.add(Finding{Check: CheckClosure, Path: string(sys.Toplevel),
				What: "the image has nothing for " + manifest.FormatPlatform(sys.Platform)})
		}
	}
	return nil
}

// again is one layer made from the closure, and how it compares.
type again struct {
	layer  *layers.Layer // nil where the closure cannot make it
	packed layers.Packed
	findings
	wrapped string // how the blob differs where its tar does not
}

func (i *image) compare(ctx context.Context) error {
	i.compared.at.Platform = i.name
	if !i.made || len(i.layers) != len(i.m.Layers)-1 || i.system == nil {
		return nil // it has no plan that could be known, or nobody could read it
	}
	all := make([]again, len(i.m.Layers))
	group, gctx := task.WithContext(ctx)
	group.SetLimit(i.v.jobs())
	packer := layers.NewPacker(i.v.o.Jobs)
	for n := range all {
		a := &all[n]
		a.at = Finding{Platform: i.name, Layer: n + 1, Digest: i.m.Layers[n].Digest}
		a.one = !i.v.o.KeepGoing
		if err := i.plan(a, n); err != nil {
			return err
		}
		if a.layer == nil {
			continue
		}
		i.v.o.Progress.More(1, a.layer.Size)
		a.layer.Progress = func(n int) { i.v.o.Progress.Did(int64(n)) }
		group.Go(func() error { return i.compareLayer(gctx, packer, a, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	same, damaged := true, i.system.damaged
	for n := range all {
		i.compared.all = append(i.compared.all, all[n].all...)
		same = same && all[n].layer != nil && len(all[n].all) == 0
		damaged = damaged || n < len(i.layers) && i.layers[n].damaged
	}
	if damaged {
		return nil // and it was said what is
	}
	i.done(CheckClosure)
	i.missing()
	for n := range all { // contents first, then how they are wrapped
		if a := &all[n]; a.wrapped != "" {
			a.addf(CheckClosure, "%s", a.wrapped)
			i.compared.all = append(i.compared.all, a.all...)
			same = false
		}
	}
	if !same || len(i.compared.all) > 0 {
		return nil // what names the layers differs because they do
	}
	return i.compareDocuments(all)
}

// plan makes the layer that the closure has for layer n: of the same paths, as
// far as it has them.
func (i *image) plan(a *again, n int) error {
	comp, err := layers.ParseCompression(i.m.Layers[n].Annotations[manifest.AnnotationCompression])
	if i.v.noManifest || err != nil {
		comp = i.guess(i.m.Layers[n].MediaType)
	}
	if n == 0 && i.hasInit {
		if i.init != nil { // no closure has it: it is the image's own, and checkInit says which
			a.layer = manifest.InitLayer(i.init, comp)
		}
		return nil
	}
	if n == len(i.layers) {
		a.layer, err = manifest.SystemLayer(i.given, comp)
		return err
	}
	var paths []closure.StorePath
	for _, p := range i.layers[n].paths {
		if i.given.Closure.Info(p.path) == nil {
			a.add(Finding{Check: CheckClosure, Path: string(p.path), What: "the closure does not have it"})
			continue
		}
		paths = append(paths, p.path)
	}
	if len(paths) == 0 {
		return nil
	}
	a.layer, err = layers.Store(i.given.Closure, i.given.Source, paths, comp)
	if err != nil { // a path twice: that was said
		a.layer = nil
	}
	return nil
}

// compareLayer packs one layer and looks for what differs.
func (i *image) compareLayer(ctx context.Context, packer *layers.Packer, a *again, n int) (err error) {
	if a.packed, err = packer.Pack(ctx, a.layer, io.Discard); err != nil {
		return err
	}
	a.layer.Progress = nil
	d := i.m.Layers[n]
	i.v.o.Progress.Layer(d, "made")
	if a.packed.Digest == d.Digest || i.v.noManifest && a.packed.DiffID == i.cfg.RootFS.DiffIDs[n] {
		return nil
	}
	content := i.system.layerContent
	if n < len(i.layers) {
		content = i.layers[n]
	}
	if a.packed.DiffID == content.diffID {
		a.wrapped = fmt.Sprintf("the tar is right, but compressed with %s it has digest %s", a.layer.Compression, a.packed.Digest)
		return nil
	}
	got := openTar(ctx, i.v.src, d, true)
	defer got.Close()
	want, stop := tarOfLayer(ctx, a.layer)
	defer stop()
	err = differentTars(got, want, func(entry, what string) error {
		f := entryPlace(entry)
		if p := closure.StorePath(f.Path); n < len(i.layers) && f.Path != entry && i.given.Closure.Info(p) == nil {
			return nil // the closure does not have it: said
		}
		f.Check, f.What = CheckClosure, what
		return a.add(f)
	})
	_, damaged := contentFinding(err)
	switch {
	case damaged || errors.Is(err, errStop) || errors.As(err, new(*layers.FormatError)):
		err = nil // said of the layer itself
	case err == nil && len(a.all) == 0:
		a.addf(CheckClosure, "made from the closure, its diffID is %s", a.packed.DiffID)
	}
	return err
}

// tarOfLayer is a layer's tar while it is made.
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

// missing names the paths of the closure that no layer has.
func (i *image) missing() {
	in := map[closure.StorePath]bool{}
	for _, c := range i.layers {
		for _, p := range c.paths {
			in[p.path] = true
		}
	}
	for k := range i.given.Closure.Paths {
		if p := i.given.Closure.Paths[k].Path; !in[p] {
			i.compared.add(Finding{Check: CheckClosure, Path: string(p), What: "the closure has it, and no layer"})
		}
	}
}

// compareDocuments: all layers are the same; so are config and manifest, if the
// toplevel is.
func (i *image) compareDocuments(all []again) error {
	stack := make([]manifest.PackedLayer, len(all))
	for n := range all {
		stack[n] = manifest.PackedLayer{Layer: all[n].layer, Packed: all[n].packed}
		if i.v.noManifest { // its blobs may be compressed in another way
			stack[n].Digest, stack[n].Packed.Size = i.m.Layers[n].Digest, i.m.Layers[n].Size
		}
	}
	settings, err := i.settings(i.given, stack)
	if err != nil {
		return i.compared.addf(CheckClosure, "%v", err)
	}
	made, err := manifest.NewImage(i.given, stack, settings)
	if err != nil {
		return i.compared.addf(CheckClosure, "%v", err)
	}
	if what := differentJSON(i.config, made.Config.Data); what != "" {
		if err := i.compared.add(Finding{Check: CheckClosure, Digest: i.m.Config.Digest, What: "config: " + what}); err != nil {
			return err
		}
	}
	if i.v.noManifest {
		return nil
	}
	if what := differentJSON(i.blob.Data, made.Manifest.Data); what != "" {
		return i.compared.add(Finding{Check: CheckClosure, Digest: i.blob.Descriptor.Digest, What: "manifest: " + what})
	}
	return nil
}

func (v *verifier) jobs() int {
	if v.o.Jobs > 0 {
		return v.o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}
