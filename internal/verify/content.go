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

// content is what the layers of one image contain.
type content struct {
	doc    *document
	form   form
	src    oci.Reader      // has the layers
	system *systemContent  // nil if nixoci has not made the image
	layers []*layerContent // all except the system layer, up to the first that was not read
}

// roots returns the roots of the closure, as the image records them.
func (c *content) roots() []closure.StorePath {
	if app := c.system.application; app != nil {
		return app.Roots
	}
	return []closure.StorePath{c.system.toplevel}
}

// isFiles reports whether layer n, from 0, is the files layer of an application.
func (c *content) isFiles(n int) bool { return c.system.isFiles(n, len(c.doc.manifest.Layers)) }

// isFiles reports whether layer n, from 0, of an image with so many layers is the files
// layer.
func (s *systemContent) isFiles(n, layers int) bool {
	return s.application != nil && s.application.HasFiles() && n == layers-2
}

// complete reports whether every layer was read as far as possible.
func (c *content) complete() bool {
	return c.system != nil && len(c.layers) == len(c.doc.manifest.Layers)-1
}

// as returns sys in the form of this image: with its format, its init, its base, and
// the plan that its own plan continues.
func (c *content) as(sys *manifest.System, init *manifest.Init) *manifest.System {
	from := digest.Digest(c.doc.manifest.Annotations[manifest.AnnotationPlanFrom])
	return sys.In(c.form.version, init).Continuing(from).On(c.base())
}

// base returns the base that the image records, nil if there is none or it is unknown.
func (c *content) base() *manifest.Base {
	if c.system == nil {
		return nil
	}
	return c.system.base
}

// own returns the number, from 0, of the first layer that does not belong to the base.
func (c *content) own() int { return c.form.base }

// damaged reports whether a part of some layer could not be read.
func (c *content) damaged() bool {
	return c.system.damaged || slices.ContainsFunc(c.layers, func(l *layerContent) bool { return l.damaged })
}

// layer returns layer n, from 0. The last one is the system layer.
func (c *content) layer(n int) *layerContent {
	if n == len(c.doc.manifest.Layers)-1 {
		return c.system.layerContent
	}
	return c.layers[n]
}

// checkDiffID compares the diffID of layer n, from 0, with the config.
func (d *document) checkDiffID(n int, c *layerContent) []Finding {
	if want := d.config.RootFS.DiffIDs[n]; c.diffID != "" && c.diffID != want {
		return []Finding{d.place(n).of(CheckDigests, "diffID is %s, the config has %s", c.diffID, want)}
	}
	return nil
}

// readLayers is a stage of [Image]. It reads all layers except the system layers, starting
// with the largest. A layer that several images share is read once.
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
			if r == nil || r.job.desc.MediaType != d.MediaType || r.job.desc.Size != d.Size || r.kind != kind {
				r = &layerRead{order: len(reads), kind: kind, job: layerJob{
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

// layerKind is the kind of content that a layer should have.
type layerKind int

const (
	kindStore layerKind = iota
	kindInit
	kindFiles
	kindBase // made by another tool
)

// kind returns the kind of layer n, from 0, in an image with so many layers. The last
// layer has no kind, because readSystems reads it.
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

// layerRead is a layer that is read once, for all images that share it.
type layerRead struct {
	job     layerJob
	kind    layerKind     // the kind that its place in the image requires
	order   int           // position of its findings among those of all layers
	content *layerContent // nil: an earlier finding made it unnecessary
}

// readEach reads the layers concurrently, limited by v.jobs. If the first finding is
// enough, it stops reading the layers after the one with that finding.
func (v *verification) readEach(ctx context.Context, reads []*layerRead, toplevels map[closure.StorePath]bool) error {
	todo := slices.Clone(reads)
	slices.SortStableFunc(todo, func(a, b *layerRead) int { return cmp.Compare(b.job.desc.Size, a.job.desc.Size) })
	var size int64
	for _, r := range todo {
		size += r.job.desc.Size
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
					return fmt.Errorf("layer %s: %w", r.job.desc.Digest, err)
				}
				r.content = c
				v.o.Progress.Layer(r.job.desc, "read")
				return nil
			})
		})
	}
	return group.Wait()
}

// earliest is the first layer, in the order of findings, with a finding that ends the
// verification. Later layers need not be read.
type earliest struct {
	mu      sync.Mutex
	order   int
	cancels []context.CancelFunc // for the layers that are being read, by order
}

// begin reports whether a layer must be read. If that changes during the reading,
// cancel is called.
func (e *earliest) begin(order int, cancel context.CancelFunc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancels[order] = cancel
	return order <= e.order
}

// end calls keep, unless the layer is not needed any more. If enough is set, it cancels
// the reading of all later layers.
func (e *earliest) end(order int, enough bool, keep func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if order > e.order {
		return nil // its reading was cancelled
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

// readOne reads one layer. It keeps the NARs of toplevels in files, because they are
// read again to find out which system they are.
func (v *verification) readOne(ctx context.Context, r *layerRead, toplevels map[closure.StorePath]bool) (*layerContent, error) {
	switch r.kind {
	case kindInit:
		return readInitLayer(ctx, v.src, r.job)
	case kindFiles:
		return readFilesLayer(ctx, v.src, r.job)
	case kindBase:
		return v.readBaseLayer(ctx, r.job)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	kept := map[closure.StorePath]string{}
	job := r.job
	job.keep = func(p closure.StorePath) (io.Writer, error) {
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
	c, err := readStoreLayer(ctx, v.src, job)
	if err != nil {
		return nil, err
	}
	for k := range c.paths {
		c.paths[k].narFile = kept[c.paths[k].path]
	}
	return c, nil
}

// contentIn returns a layer that was read, as layer n, from 0, of doc. The findings of
// the result name this image and this layer.
func contentIn(doc *document, n int, read *layerContent) *layerContent {
	c := *read
	c.findings = slices.Clone(c.findings)
	for k := range c.findings {
		c.findings[k].Platform, c.findings[k].Layer = doc.platform, n+1
	}
	c.findings = append(c.findings, doc.checkDiffID(n, &c)...)
	return &c
}
