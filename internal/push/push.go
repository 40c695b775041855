package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/task"
)

// Bounds of one push, over all of its platforms.
const (
	// defaultUploads is enough that the round trips of small layers hide behind
	// the packing of large ones: at 30 ms, 16 uploads of four round trips each
	// move 133 layers a second. How many of them may be packed at a time is for
	// the destination to say.
	defaultUploads = 16

	// defaultQueries are HEAD requests, which cost a round trip and nothing
	// else: 100 of them take four.
	defaultQueries = 32
)

// Image is one platform's part of a push.
type Image struct {
	System *manifest.System
	Plan   *plan.Plan
}

// Job says what image is made, and how. The zero value of a field is its default.
type Job struct {
	Compression layers.Compression
	Settings    manifest.Settings
	Tags        []string // moved to the index, last of all
	Packer      *layers.Packer
	Uploads     int                                      // blobs that are uploaded at once
	Cache       *Cache                                   // what this machine knows; nil: nothing
	Reuse       []*Remote                                // images that may know layers, the first one's word counts
	ReuseElse   func(context.Context) ([]*Remote, error) // more of them, asked for if none of Reuse is there
	Join        bool                                     // keep the other platforms of the index that Tags[0] names

	// SampleClaims makes a few small layers again that only an unsigned image in
	// a registry vouches for. For sources that are read from this machine.
	SampleClaims bool

	// ReuseCheck is the share of the reused layers, 0 to 1, that are made again
	// and compared. One that differs ends the push. With a share an image that
	// is there already is looked at layer by layer, too.
	ReuseCheck float64

	// Warn, if any, is told what made the push slower and not wrong.
	Warn func(error)

	// Progress, if any, is told of the layers. Its methods are called
	// concurrently.
	Progress Progress
}

// Progress is told what happens to the layers of a push.
type Progress interface {
	Start(platforms []PlatformLayers)   // once it is known what the layers are
	Packing(l *layers.Layer, bytes int) // that many more bytes of its tar are packed
	Done(r LayerResult)
}

// PlatformLayers are the layers of one platform. Two platforms may share some.
type PlatformLayers struct {
	Platform string
	Layers   []*layers.Layer
}

type noProgress struct{}

func (noProgress) Start([]PlatformLayers)     {}
func (noProgress) Packing(*layers.Layer, int) {}
func (noProgress) Done(LayerResult)           {}

// How a layer came to be at the destination.
type How string

// The ways.
const (
	Made   How = "made"   // packed and sent
	Reused How = "reused" // its recipe was known and the blob was there
)

// LayerResult is one distinct layer of a push.
type LayerResult struct {
	Layer   *layers.Layer
	Packed  layers.Packed
	How     How
	From    string
	Checked bool // reused, made again, and found the same
}

// Result is what a push did.
type Result struct {
	Index     ocispec.Descriptor
	Platforms []ocispec.Descriptor // as the index lists them
	Layers    []LayerResult        // distinct, in the order of the images
	Unchanged bool                 // the destination had all of it; Layers is empty
}

// Push assembles images and puts them where dst says: blobs, then manifests by
// digest, then the index by digest, then the tags. It changes nothing that a
// person would see before all of it is there, and nothing at all when it fails.
func Push(ctx context.Context, dst oci.Destination, images []Image, job Job) (Result, error) {
	p := &pusher{dst: dst, job: job, layers: map[layers.Recipe]*distinct{}, listed: map[digest.Digest]bool{}}
	if p.job.Packer == nil {
		p.job.Packer = layers.NewPacker(0)
	}
	if p.job.Uploads <= 0 {
		p.job.Uploads = defaultUploads
	}
	if p.job.Progress == nil {
		p.job.Progress = noProgress{}
	}
	return p.push(ctx, images)
}

func (p *pusher) warn(err error) {
	if p.job.Warn != nil {
		p.job.Warn(err)
	}
}

type pusher struct {
	dst oci.Destination
	job Job

	layers map[layers.Recipe]*distinct
	order  []*distinct // of first use

	listed     map[digest.Digest]bool // blobs that manifests of the destination's repository list
	incomplete bool                   // the destination has lost something: what is listed proves nothing
}

func layersOf(stack []*distinct) []*layers.Layer {
	all := make([]*layers.Layer, len(stack))
	for i, d := range stack {
		all[i] = d.layer
	}
	return all
}

// distinct is a layer that several platforms may share.
type distinct struct {
	layer   *layers.Layer
	known   *layers.Packed // what the recipe is said to make
	from    string         // who said so
	claimed bool           // only an unsigned image said so
	LayerResult
}

func (p *pusher) push(ctx context.Context, images []Image) (Result, error) {
	var err error
	stacks := make([][]*distinct, len(images))
	for i, image := range images {
		if stacks[i], err = p.stack(image); err != nil {
			return Result{}, err
		}
	}
	recipe, err := newRecipes(images, stacks, p.job.Settings)
	if err != nil {
		return Result{}, err
	}
	if p.job.ReuseCheck <= 0 {
		if result, ok, err := p.unchanged(ctx, images, stacks, recipe); err != nil || ok {
			return result, err
		}
	}
	platforms := make([]PlatformLayers, len(images))
	for i, image := range images {
		platforms[i] = PlatformLayers{manifest.FormatPlatform(image.System.Platform), layersOf(stacks[i])}
	}
	p.job.Progress.Start(platforms)
	if err := p.recall(ctx); err != nil {
		return Result{}, err
	}
	if err := p.putLayers(ctx); err != nil {
		return Result{}, err
	}
	return p.putImages(ctx, images, stacks, recipe)
}

// stack makes the layers of one platform, the init layer first and the system
// layer last, and finds those that another platform has too.
func (p *pusher) stack(image Image) ([]*distinct, error) {
	var stack []*distinct
	add := func(l *layers.Layer) {
		d := p.layers[l.Recipe]
		if d == nil {
			d = &distinct{layer: l, LayerResult: LayerResult{Layer: l}}
			p.layers[l.Recipe] = d
			p.order = append(p.order, d)
			l.Progress = func(n int) { p.job.Progress.Packing(l, n) }
		}
		stack = append(stack, d)
	}
	if image.System.Init != nil {
		add(manifest.InitLayer(image.System.Init, p.job.Compression))
	}
	for _, g := range image.Plan.Groups {
		l, err := layers.Store(image.System.Closure, image.System.Source, g.Paths, p.job.Compression)
		if err != nil {
			return nil, err
		}
		add(l)
	}
	system, err := manifest.SystemLayer(image.System, p.job.Compression)
	if err != nil {
		return nil, err
	}
	add(system)
	return stack, nil
}

// putLayers asks for the layers whose recipe is known, then makes what is
// missing, and again what is to be checked.
func (p *pusher) putLayers(ctx context.Context) error {
	if err := p.query(ctx); err != nil {
		return err
	}
	var todo []*distinct
	for _, d := range p.order {
		if d.How == "" {
			todo = append(todo, d)
		}
	}
	sample := p.sample() // before anything is made: that changes what it reads
	if err := p.makeAll(ctx, todo); err != nil {
		return err
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(p.job.Uploads)
	for _, d := range sample {
		group.Go(func() error {
			err := p.recheck(ctx, d.layer, d.Packed, d.From)
			d.Checked = err == nil
			return err
		})
	}
	return group.Wait()
}

// makeAll makes and sends layers, the largest first so that no large one is
// left alone at the end.
func (p *pusher) makeAll(ctx context.Context, todo []*distinct) error {
	uploads := p.job.Uploads
	if _, ordered := p.dst.(oci.Ordered); ordered {
		uploads = 1 // a single layer keeps all compressors busy
	} else {
		slices.SortStableFunc(todo, func(a, b *distinct) int { return cmp.Compare(b.layer.Size, a.layer.Size) })
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(uploads)
	for _, d := range todo {
		if ctx.Err() != nil {
			break // Go would wait for a place
		}
		group.Go(func() error { return p.make(ctx, d) })
	}
	return group.Wait()
}

// query marks the known layers that the destination has. One that a manifest of
// the same repository lists is there: if not, the registry says so when it is
// given the new manifest, see [pusher.putImages].
func (p *pusher) query(ctx context.Context) error {
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for _, d := range p.order {
		if d.known == nil {
			continue
		}
		if p.listed[d.known.Digest] && p.job.ReuseCheck <= 0 {
			p.reused(d)
			continue
		}
		group.Go(func() error {
			desc, err := p.descriptor(d, *d.known)
			if err != nil {
				return err
			}
			has, err := p.dst.HasBlob(ctx, desc)
			if err != nil || !has {
				return err
			}
			p.reused(d)
			return nil
		})
	}
	return group.Wait()
}

func (p *pusher) reused(d *distinct) {
	d.Packed, d.How, d.From = *d.known, Reused, d.from
	p.job.Progress.Done(d.LayerResult)
}

// putBack asks again for all layers, also for those that were sent: the registry
// has refused a manifest. It makes what is not there.
func (p *pusher) putBack(ctx context.Context) error {
	clear(p.listed)
	if dst, ok := p.dst.(oci.Forgetful); ok {
		dst.Forget()
	}
	var missing []*distinct
	var mu sync.Mutex
	group, groupCtx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for _, d := range p.order {
		group.Go(func() error {
			desc, err := p.descriptor(d, d.Packed)
			if err != nil {
				return err
			}
			has, err := p.dst.HasBlob(groupCtx, desc)
			if err == nil && !has {
				mu.Lock()
				missing = append(missing, d)
				mu.Unlock()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil || len(missing) == 0 {
		return err
	}
	p.warn(fmt.Errorf("%s: the registry has lost %d layers that it said it had; nixoci puts them back", p.name(), len(missing)))
	return p.makeAll(ctx, missing)
}

// make packs one layer and sends it in the same pass, and keeps its recipe.
func (p *pusher) make(ctx context.Context, d *distinct) error {
	pack := func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		return p.job.Packer.Pack(ctx, d.layer, w)
	}
	packed, err := p.dst.PutLayer(ctx, d.known, pack)
	if d.known != nil && errors.Is(err, oci.ErrOtherContent) {
		// Whoever said what this recipe makes was wrong. What was made counts.
		p.job.Cache.Drop(kindLayer, d.layer.Recipe.String())
		packed, err = p.dst.PutLayer(ctx, nil, pack)
	}
	if err != nil {
		return err
	}
	d.Packed, d.How = packed, Made
	if err := p.job.Cache.PutLayer(d.layer.Recipe, packed); err != nil {
		p.warn(err)
	}
	p.job.Progress.Done(d.LayerResult)
	return nil
}

func (p *pusher) descriptor(d *distinct, packed layers.Packed) (ocispec.Descriptor, error) {
	mediaType, err := d.layer.Compression.MediaType(p.job.Settings.Docker)
	return ocispec.Descriptor{MediaType: mediaType, Digest: packed.Digest, Size: packed.Size}, err
}

// putImages puts configs and manifests, then the index, then the tags.
func (p *pusher) putImages(ctx context.Context, images []Image, stacks [][]*distinct, recipe recipes) (Result, error) {
	built, index, err := p.putManifests(ctx, images, stacks)
	if errors.Is(err, oci.ErrMissingBlob) {
		if err := p.putBack(ctx); err != nil {
			return Result{}, err
		}
		built, index, err = p.putManifests(ctx, images, stacks)
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{}
	for _, d := range p.order {
		result.Layers = append(result.Layers, d.LayerResult)
	}
	if err := p.dst.Commit(ctx); err != nil {
		return Result{}, err
	}
	if !p.job.Join { // a joined index has more than the recipe makes
		known := knownIndex{Descriptor: index.Descriptor}
		for _, m := range built {
			known.Manifests = append(known.Manifests, m.Manifest.Descriptor)
		}
		if err := p.job.Cache.Put(kindImage, recipe.index.String(), known); err != nil {
			p.warn(err)
		}
	}
	result.Index = index.Descriptor
	if parsed, err := manifest.ParseIndex(index.Data, index.Descriptor.MediaType); err == nil {
		result.Platforms = parsed.Manifests
	}
	return result, nil
}

// putManifests puts each platform's config and manifest, then the index and the
// tags.
func (p *pusher) putManifests(ctx context.Context, images []Image, stacks [][]*distinct) ([]*manifest.Image, oci.Blob, error) {
	built := make([]*manifest.Image, len(images))
	group, groupCtx := task.WithContext(ctx)
	group.SetLimit(p.job.Uploads)
	for i, image := range images {
		stack := make([]manifest.PackedLayer, len(stacks[i]))
		for k, d := range stacks[i] {
			stack[k] = manifest.PackedLayer{Layer: d.layer, Packed: d.Packed}
		}
		m, err := manifest.NewImage(image.System, stack, p.job.Settings)
		if err != nil {
			return nil, oci.Blob{}, err
		}
		built[i] = m
		group.Go(func() error {
			if !p.listed[m.Config.Descriptor.Digest] {
				if err := p.dst.PutBlob(groupCtx, m.Config); err != nil {
					return err
				}
			}
			return p.dst.PutManifest(groupCtx, m.Manifest, "")
		})
	}
	if err := group.Wait(); err != nil {
		return nil, oci.Blob{}, err
	}
	index, err := p.putIndex(ctx, built)
	return built, index, err
}

// putIndex puts the index, joined with what is there where that is wanted,
// under its digest and then under each tag.
func (p *pusher) putIndex(ctx context.Context, images []*manifest.Image) (oci.Blob, error) {
	tags := p.job.Tags
	var index oci.Blob
	var err error
	if p.job.Join {
		if len(tags) == 0 {
			return oci.Blob{}, errors.New("join: no tag is given")
		}
		index, err = p.join(ctx, tags[0], images)
		tags = tags[1:]
	} else if index, err = manifest.NewIndex(images, p.job.Settings); err == nil {
		err = p.dst.PutManifest(ctx, index, "")
	}
	if err != nil {
		return oci.Blob{}, err
	}
	group, ctx := task.WithContext(ctx)
	for _, t := range tags {
		group.Go(func() error { return p.dst.PutManifest(ctx, index, t) })
	}
	return index, group.Wait()
}
