package verify

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// content holds the contents of the layers of one image.
type content struct {
	doc    *document
	form   form
	src    oci.Reader      // the source from which the layers can be read again
	system *systemContent  // nil if another tool made the image
	layers []*layerContent // all layers except the system layer, up to the first one that was not read
}

// roots returns the roots of the closure, as the image records them.
func (c *content) roots() []closure.StorePath {
	if app := c.system.application; app != nil {
		return app.Roots
	}
	return []closure.StorePath{c.system.toplevel}
}

// isFiles reports whether layer n is the files layer of an application. n counts from 0.
func (c *content) isFiles(n int) bool { return c.system.isFiles(n, len(c.doc.manifest.Layers)) }

// isFiles reports whether layer n is the files layer of an application. n counts from 0, and layers
// is the number of layers in the image.
func (s *systemContent) isFiles(n, layers int) bool {
	return s.application != nil && s.application.HasFiles() && n == layers-2
}

// complete reports whether every layer was read as far as possible.
func (c *content) complete() bool {
	return c.system != nil && len(c.layers) == len(c.doc.manifest.Layers)-1
}

// as returns sys in the form of this image. The result has the image's format, init and base, and
// the plan that the image's own plan continues.
func (c *content) as(sys *manifest.System, init *manifest.Init) *manifest.System {
	from := digest.Digest(c.doc.manifest.Annotations[manifest.AnnotationPlanFrom])
	return sys.In(c.form.version, init).Continuing(from).On(c.base())
}

// base returns the base that the image records. If there is none, or if it is unknown, base returns
// nil.
func (c *content) base() *manifest.Base {
	if c.system == nil {
		return nil
	}
	return c.system.base
}

// own returns the number of the first layer that does not belong to the base. Numbers count from 0.
func (c *content) own() int { return c.form.base }

// damaged reports whether a part of some layer could not be read.
func (c *content) damaged() bool {
	return c.system.damaged || slices.ContainsFunc(c.layers, func(l *layerContent) bool { return l.damaged })
}

// layer returns layer n, where n counts from 0. The last layer is the system layer.
func (c *content) layer(n int) *layerContent {
	if n == len(c.doc.manifest.Layers)-1 {
		return c.system.layerContent
	}
	return c.layers[n]
}

// checkDiffID compares the diffID of layer n with the config. n counts from 0.
func (d *document) checkDiffID(n int, c *layerContent) []Finding {
	if want := d.config.RootFS.DiffIDs[n]; c.diffID != "" && c.diffID != want {
		return []Finding{d.place(n).of(CheckDigests, "diffID is %s, the config has %s", c.diffID, want)}
	}
	return nil
}

// readLayers is a stage of [Image]. It reads all layers except the system layers, starting with the
// largest. If several images share a layer, it reads the layer once.
func (v *verification) readLayers(ctx context.Context, docs *documents, systems []*systemContent) ([]*content, error) {
	var reads []*layerRead
	shared := map[digest.Digest]*layerRead{}
	ofImage := make([][]*layerRead, len(docs.images))
	toplevels := map[closure.StorePath]bool{}
	for n, doc := range docs.images {
		s := systems[n]
		if s == nil {
			continue
		}
		if s.application != nil {
			for _, root := range s.application.Roots {
				toplevels[root] = true
			}
		} else if s.toplevel != "" {
			toplevels[s.toplevel] = true
		}
		for k, d := range doc.manifest.Layers[:len(doc.manifest.Layers)-1] {
			r := shared[d.Digest]
			kind := s.kind(k, len(doc.manifest.Layers))
			if r == nil || r.layer.desc.MediaType != d.MediaType || r.layer.desc.Size != d.Size || r.kind != kind {
				r = &layerRead{order: len(reads), kind: kind, layer: layerToRead{
					desc: d, platform: doc.platform, number: k + 1,
					stopAtFirst: v.stopAtFirst(), progress: v.o.Progress.Did,
				}}
				shared[d.Digest] = r
				reads = append(reads, r)
			}
			ofImage[n] = append(ofImage[n], r)
		}
	}
	if err := v.readEach(ctx, reads, toplevels); err != nil {
		return nil, err
	}
	all := make([]*content, len(docs.images))
	for n, doc := range docs.images {
		all[n] = &content{doc: doc, form: doc.form, src: v.src, system: systems[n]}
		if systems[n] != nil {
			all[n].form = systems[n].form
		}
		for k, r := range ofImage[n] {
			if r.content == nil {
				break
			}
			all[n].layers = append(all[n].layers, contentIn(doc, k, r.content))
		}
	}
	return all, nil
}

// layerKind is the kind of layer that is expected at a place of the image.
type layerKind int

const (
	kindStore layerKind = iota
	kindInit
	kindFiles
	kindBase // a layer that another tool made
)

// kind returns the kind of layer n in an image with this number of layers. n counts from 0. Do not
// call it for the last layer, because readSystems reads that layer.
func (s *systemContent) kind(n, layers int) layerKind {
	switch {
	case n < s.form.base:
		return kindBase
	case n == 0 && s.form.hasInit:
		return kindInit
	case s.isFiles(n, layers):
		return kindFiles
	}
	return kindStore
}

// layerRead describes the reading of a layer, which happens once for all images that share the
// layer.
type layerRead struct {
	layer   layerToRead
	kind    layerKind     // the kind that is expected at this place of the image
	order   int           // position of the layer's findings among the findings of all layers
	content *layerContent // nil if an earlier finding made the reading unnecessary
}

// readEach reads the layers concurrently, at most v.jobs() at once. If the first finding ends the
// verification, readEach stops the reading of all layers after the layer with this finding.
func (v *verification) readEach(ctx context.Context, reads []*layerRead, toplevels map[closure.StorePath]bool) error {
	todo := slices.Clone(reads)
	slices.SortStableFunc(todo, func(a, b *layerRead) int { return cmp.Compare(b.layer.desc.Size, a.layer.desc.Size) })
	var size int64
	for _, r := range todo {
		size += r.layer.desc.Size
	}
	v.o.Progress.More(len(todo), size)
	e := earliest{order: len(reads), cancels: make([]context.CancelFunc, len(reads))}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(v.jobs())
	for _, r := range todo {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if !e.begin(r.order, cancel) {
				return nil
			}
			c, err := v.readOne(ctx, r, toplevels)
			return e.end(r.order, v.stopAtFirst() && err == nil && len(c.findings) > 0, func() error {
				if err != nil {
					return fmt.Errorf("layer %s: %w", r.layer.desc.Digest, err)
				}
				r.content = c
				v.o.Progress.Layer(r.layer.desc, "read")
				return nil
			})
		})
	}
	return group.Wait()
}

// earliest records the first layer, in the order of findings, with a finding that ends the
// verification. The layers after it need not be read.
type earliest struct {
	mu      sync.Mutex
	order   int
	cancels []context.CancelFunc // functions that cancel the reading of a layer, indexed by its order
}

// begin reports whether a layer must be read. If the layer becomes unnecessary during the reading,
// cancel is called.
func (e *earliest) begin(order int, cancel context.CancelFunc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancels[order] = cancel
	return order <= e.order
}

// end calls keep, unless the layer has become unnecessary. If enough is true, end cancels the
// reading of all later layers.
func (e *earliest) end(order int, enough bool, keep func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if order > e.order {
		return nil // the reading of this layer was cancelled
	}
	if enough {
		e.order = order
		for _, cancel := range e.cancels[order+1:] {
			if cancel != nil {
				cancel()
			}
		}
	}
	return keep()
}

// readOne reads one layer. It keeps the NARs of toplevels in files. They are read again later, to
// find out which system they contain.
func (v *verification) readOne(ctx context.Context, r *layerRead, toplevels map[closure.StorePath]bool) (*layerContent, error) {
	switch r.kind {
	case kindInit:
		return readInitLayer(ctx, v.src, r.layer)
	case kindFiles:
		return readFilesLayer(ctx, v.src, r.layer)
	case kindBase:
		return v.readBaseLayer(ctx, r.layer)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	kept := map[closure.StorePath]string{}
	todo := r.layer
	todo.keep = func(p closure.StorePath) (io.Writer, error) {
		if !toplevels[p] {
			return nil, nil
		}
		f, err := os.Create(filepath.Join(v.dir, fmt.Sprintf("layer-%d-%d.nar", r.order, len(files))))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		kept[p] = f.Name()
		return f, nil
	}
	c, err := readStoreLayer(ctx, v.src, todo)
	if err != nil {
		return nil, err
	}
	for k := range c.paths {
		c.paths[k].narFile = kept[c.paths[k].path]
	}
	return c, nil
}

// contentIn returns the layer read as layer n of doc. n counts from 0. The findings in the result
// name this image and this layer.
func contentIn(doc *document, n int, read *layerContent) *layerContent {
	c := *read
	c.findings = slices.Clone(c.findings)
	for k := range c.findings {
		c.findings[k].Platform, c.findings[k].Layer = doc.platform, n+1
	}
	c.findings = append(c.findings, doc.checkDiffID(n, &c)...)
	return &c
}
