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
	"github.com/nixoci/nixoci/internal/task"
)

// content is what the layers of one image hold.
type content struct {
	doc    *document
	form   form
	system *systemContent  // nil where the image is not ours
	layers []*layerContent // all but the system layer, up to the first that was not read
}

// roots are those of the closure that the image says it has.
func (c *content) roots() []closure.StorePath {
	if app := c.system.application; app != nil {
		return app.Roots
	}
	return []closure.StorePath{c.system.toplevel}
}

// isFiles reports whether layer n, from 0, is the files layer of an application.
func (c *content) isFiles(n int) bool { return c.system.isFiles(n, len(c.doc.manifest.Layers)) }

// isFiles reports whether layer n of so many is the files layer.
func (s *systemContent) isFiles(n, layers int) bool {
	return s.application != nil && s.application.HasFiles() && n == layers-2
}

// complete reports whether every layer was read, as far as it can be.
func (c *content) complete() bool {
	return c.system != nil && len(c.layers) == len(c.doc.manifest.Layers)-1
}

// as is sys as this image has it: in its format, with its init, and with a plan
// that continues the one that it names.
func (c *content) as(sys *manifest.System, init *manifest.Init) *manifest.System {
	from := digest.Digest(c.doc.manifest.Annotations[manifest.AnnotationPlanFrom])
	return sys.In(c.form.version, init).Continuing(from).On(c.base())
}

// base is what the image has below, as it says; nil where there is none, or nobody
// knows.
func (c *content) base() *manifest.Base {
	if c.system == nil {
		return nil
	}
	return c.system.base
}

// own is the number, from 0, of the first layer that is not the base's.
func (c *content) own() int { return c.form.base }

// damaged reports whether a part of some layer could not be read.
func (c *content) damaged() bool {
	return c.system.damaged || slices.ContainsFunc(c.layers, func(l *layerContent) bool { return l.damaged })
}

// layer is layer n, from 0; the last is the system layer.
func (c *content) layer(n int) *layerContent {
	if n == len(c.doc.manifest.Layers)-1 {
		return c.system.layerContent
	}
	return c.layers[n]
}

// checkDiffID compares layer n, from 0, with the config.
func (d *document) checkDiffID(n int, c *layerContent) []Finding {
	if want := d.config.RootFS.DiffIDs[n]; c.diffID != "" && c.diffID != want {
		return []Finding{d.place(n).of(CheckDigests, "diffID is %s, the config has %s", c.diffID, want)}
	}
	return nil
}

// readLayers is the third stage: every layer but the system layers, the largest
// first. A layer that several images have is read once.
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
		all[n] = &content{doc: doc, form: doc.form, system: systems[n]}
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

// layerKind is what a layer should be.
type layerKind int

const (
	kindStore layerKind = iota
	kindInit
	kindFiles
	kindBase // another tool's
)

// kind is that of layer n, from 0, of so many. The last is read before.
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

// layerRead is a layer that is read once, for all images that have it.
type layerRead struct {
	job     layerJob
	kind    layerKind     // that it should be of
	order   int           // of its findings among those of all layers
	content *layerContent // nil: a finding before it was enough
}

// readEach reads the layers, as many at once as there are jobs. After a finding
// that is enough, only layers before that one are of interest.
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

// earliest is the first layer, in the order of findings, with a finding that is
// enough. What is read of later layers is of no interest.
type earliest struct {
	mu      sync.Mutex
	order   int
	cancels []context.CancelFunc // of the layers that are being read, by order
}

// begin reports whether a layer is of interest. If it stops being that while it
// is read, cancel is called.
func (e *earliest) begin(order int, cancel context.CancelFunc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancels[order] = cancel
	return order <= e.order
}

// end calls keep for a layer that is still of interest. Enough ends the reading
// of all later ones.
func (e *earliest) end(order int, enough bool, keep func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if order > e.order {
		return nil // it was cancelled
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

// readOne reads one layer. The NARs of toplevels that are in it are kept in
// files: they are read again to find out what system it is.
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

// contentIn is a layer that was read as layer n, from 0, of doc. Its findings are
// then those of that image.
func contentIn(doc *document, n int, read *layerContent) *layerContent {
	c := *read
	c.findings = slices.Clone(c.findings)
	for k := range c.findings {
		c.findings[k].Platform, c.findings[k].Layer = doc.platform, n+1
	}
	c.findings = append(c.findings, doc.checkDiffID(n, &c)...)
	return &c
}
