package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// maxConfig bounds an image config in bytes.
const maxConfig = limit.Config

// image is one platform of what is verified.
type image struct {
	v     *verifier
	entry *ocispec.Descriptor // as the index lists it; nil where there is no index
	name  string              // platform, for people
	dir   string              // for what is too large for memory

	blob   oci.Blob
	m      *manifest.Manifest
	config []byte
	cfg    ocispec.Image

	top      findings // of manifest and config, before any layer
	made     bool     // by nixoci, as far as the manifest says
	system   *systemContent
	toplevel closure.StorePath
	infos    []closure.Info
	format   int             // version of the image format
	hasInit  bool            // the first layer is an init layer, as far as the image says
	init     *manifest.Init  // what it has; nil where there is none, or nothing that can run
	claims   findings        // of the database
	after    findings        // of all layers, and of what was made again
	reads    []*layerRead    // of all layers but the system layer
	layers   []*layerContent // the same, with this image's findings

	closure  *closure.Closure
	sys      *manifest.System
	checked  map[Check]bool   // whether a check was made to its end
	given    *manifest.System // the closure that the image is compared with; nil without
	compared findings

	addressed   map[closure.StorePath]bool // content-addressed paths that were checked to be
	withAddress int
	signed      signed

	comp    layers.Compression // of the first layer
	image   *manifest.Image    // made again; nil where it could not be
	result  PlatformReport
	foreign []CheckResult // of an image that another tool has made
}

// layerRead is a layer that is read once, for all images that have it.
type layerRead struct {
	job     layerJob
	order   int // of its findings among those of all layers
	content *layerContent
}

// open reads manifest and config, and checks what needs no layer.
func (i *image) open(ctx context.Context, d ocispec.Descriptor) error {
	blob, err := i.v.src.GetManifest(ctx, d.Digest.String())
	if what, ok := contentFinding(err); ok {
		return i.top.add(Finding{Check: CheckDigests, Digest: d.Digest, What: "manifest: " + what})
	} else if err != nil {
		return err
	}
	if d.Size != blob.Descriptor.Size {
		if err := i.top.addf(CheckDigests, "manifest: it has %d bytes instead of %d", blob.Descriptor.Size, d.Size); err != nil {
			return err
		}
	}
	if d.MediaType != blob.Descriptor.MediaType {
		if err := i.top.addf(CheckDigests, "manifest: media type is %q, the index has %q", blob.Descriptor.MediaType, d.MediaType); err != nil {
			return err
		}
	}
	return i.read(ctx, blob)
}

// read takes the manifest and reads the config.
func (i *image) read(ctx context.Context, blob oci.Blob) error {
	i.blob = blob
	i.result.Digest = blob.Descriptor.Digest
	var err error
	if i.m, err = manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType); err != nil {
		return i.top.addf(CheckDigests, "manifest: %v", err)
	}
	if i.config, err = i.readConfig(ctx); err != nil || i.config == nil {
		return err
	}
	if err := json.Unmarshal(i.config, &i.cfg); err != nil {
		return i.top.addf(CheckDigests, "config %s: %v", i.m.Config.Digest, err)
	}
	if i.name == "" {
		i.name = manifest.FormatPlatform(i.cfg.Platform)
		i.top.at.Platform = i.name
	}
	i.result.Platform = i.name
	if n, want := len(i.cfg.RootFS.DiffIDs), len(i.m.Layers); n != want {
		return i.top.addf(CheckDigests, "config %s: %d diffIDs for the manifest's %d layers", i.m.Config.Digest, n, want)
	}
	if i.v.noManifest {
		i.made = i.cfg.Config.Labels[manifest.AnnotationToplevel] != ""
		return nil
	}
	format, ok := i.m.Annotations[manifest.AnnotationFormat]
	if i.made = ok; !ok {
		return nil
	}
	if i.format, err = strconv.Atoi(format); err != nil || i.format < manifest.Format1 || i.format > manifest.CurrentFormat || strconv.Itoa(i.format) != format {
		return i.top.addf(CheckFormat, "manifest: image format is %q, known are %d to %d", format, manifest.Format1, manifest.CurrentFormat)
	}
	i.hasInit = i.format >= manifest.Format2 && i.m.Annotations[manifest.AnnotationInit] != ""
	return nil
}

func (i *image) readConfig(ctx context.Context) ([]byte, error) {
	d := i.m.Config
	if d.Size > maxConfig {
		return nil, i.top.addf(CheckDigests, "config %s: %d bytes, at most %d are read", d.Digest, d.Size, maxConfig)
	}
	var data []byte
	r, err := i.v.src.GetBlob(ctx, d)
	if err == nil {
		data, err = io.ReadAll(r)
		r.Close()
	}
	if what, ok := contentFinding(err); ok {
		return nil, i.top.addf(CheckDigests, "config %s: %s", d.Digest, what)
	}
	return data, err
}

// readSystem reads the system layer and the database in it.
func (i *image) readSystem(ctx context.Context) error {
	n := len(i.m.Layers)
	if n < 2 {
		return i.top.addf(CheckFormat, "manifest: %d layers, and an image has one for the system and one for store paths at least", n)
	}
	j := layerJob{desc: i.m.Layers[n-1], number: n, at: Finding{Platform: i.name}}
	var err error
	if i.system, err = readSystemLayer(ctx, i.v.src, j, i.dir, i.v.one()); err != nil {
		return err
	}
	i.checkDiffID(n-1, i.system.layerContent)
	if i.system.damaged || i.system.findings.enough() {
		return nil
	}
	if i.v.noManifest { // its own files say what the manifest would
		i.format = manifest.Format1
		if info, err := manifest.ParseImageInfo(i.system.info); err == nil {
			i.format, i.hasInit = manifest.Format2, info.Program != ""
		}
	}
	if err := i.checkDatabaseClaims(ctx); err != nil && !errors.Is(err, errStop) {
		return err
	}
	return nil
}

// checkDatabaseClaims reads what the system layer says.
func (i *image) checkDatabaseClaims(ctx context.Context) (err error) {
	i.claims.at = i.system.findings.at
	i.toplevel, i.infos, err = i.system.claims(ctx, &i.claims)
	return err
}

// checkDiffID compares what layer n, from 0, turned out to be with the config.
func (i *image) checkDiffID(n int, c *layerContent) {
	if c.diffID == "" || c.findings.enough() {
		return
	}
	if want := i.cfg.RootFS.DiffIDs[n]; c.diffID != want {
		c.findings.addf(CheckDigests, "diffID is %s, the config has %s", c.diffID, want)
	}
}

// listLayers lists the layers to read. Those that another image has too are
// read once.
func (i *image) listLayers() error {
	if i.toplevel != "" && i.v.keep[i.toplevel] == nil {
		f, err := os.Create(filepath.Join(i.dir, "toplevel.nar"))
		if err != nil {
			return err
		}
		i.v.keep[i.toplevel] = f
	}
	for n, d := range i.m.Layers[:len(i.m.Layers)-1] {
		r := i.v.shared[d.Digest]
		init := n == 0 && i.hasInit
		if r == nil || r.job.desc.MediaType != d.MediaType || r.job.desc.Size != d.Size || r.job.init != init {
			r = &layerRead{order: len(i.v.reads), job: layerJob{desc: d, number: n + 1, init: init, at: Finding{Platform: i.name}, keep: i.v.keepers()}}
			i.v.shared[d.Digest] = r
			i.v.reads = append(i.v.reads, r)
		}
		i.reads = append(i.reads, r)
	}
	return nil
}

// own returns the content of layer n, from 0, with findings that are this
// image's; nil where it was not read.
func (i *image) own(n int) *layerContent {
	if i.reads[n].content == nil {
		return nil
	}
	c := *i.reads[n].content
	c.findings.at = Finding{Platform: i.name, Layer: n + 1, Digest: i.m.Layers[n].Digest}
	c.findings.all = slices.Clone(c.findings.all)
	for k := range c.findings.all {
		c.findings.all[k].Platform, c.findings.all[k].Layer = i.name, n+1
	}
	i.checkDiffID(n, &c)
	return &c
}

// source is the image's own layers as a source of trees.
type source struct {
	i      *image
	failed error // why a layer could not be read once more
}

// Closure implements [closure.Source].
func (s *source) Closure(context.Context, []closure.StorePath) (*closure.Closure, error) {
	return nil, errors.New("an image has one closure")
}

// Tree implements [closure.Source]. The toplevel is at hand; for any other path
// its layer is read once more.
func (s *source) Tree(ctx context.Context, info *closure.Info, v nar.Visitor) error {
	if f := s.i.v.keep[info.Path]; f != nil {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return nar.Read(f, v)
	}
	for n, c := range s.i.layers {
		if !slices.ContainsFunc(c.paths, func(p pathContent) bool { return p.path == info.Path }) {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		pr, pw := io.Pipe()
		defer pr.Close()
		j := layerJob{desc: s.i.m.Layers[n], number: n + 1, keep: map[closure.StorePath]io.Writer{info.Path: pw}}
		go func() {
			defer task.Guard()
			c, err := readStoreLayer(ctx, s.i.v.src, j, true)
			if err == nil && len(c.findings.all) > 0 {
				err = errors.New(c.findings.all[0].String()) // it was good before
			}
			pw.CloseWithError(err)
		}()
		err := nar.Read(pr, v)
		if err != nil && !errors.Is(err, nar.ErrMalformed) {
			s.failed = err
		}
		return err
	}
	return fmt.Errorf("%s: %w", info.Path, closure.ErrNotInStore)
}
