package push

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/registry"
)

// These are the default limits of one push, for all of its platforms together.
const (
	// defaultUploads is large enough to hide the round trips of small layers behind the packing of
	// large ones. At 30 ms a round trip, 16 uploads with four round trips each move 133 layers per
	// second. The destination limits how many layers are packed at once.
	defaultUploads = 16

	// defaultQueries limits concurrent HEAD requests. Such a request costs only one round trip, so
	// 100 requests take the time of four.
	defaultQueries = 32

	// defaultWholeLayers limits the memory for layers that are sent in one request. With
	// defaultUploads these layers take at most 32 MiB. If gzip compresses as usual, they take about
	// a third of this. Most layers that an update changes are smaller. A larger layer costs one
	// request more.
	defaultWholeLayers = 2 << 20
)

// PlannedSystem is the system of one platform together with its plan. The plan decides
// which store paths go into which layer.
type PlannedSystem struct {
	System *manifest.System
	Plan   *plan.Plan
}

// Options describes the image to make and the way to push it. If a field has its zero value, the
// push uses the field's default.
type Options struct {
	Compression layers.Compression
	Settings    manifest.Settings
	Tags        []string // tags that name the index after everything else is stored
	Packer      *layers.Packer
	Uploads     int // largest number of concurrent uploads

	// WholeLayers is the size, in bytes before compression, up to which a registry gets a layer in
	// one request instead of two. A negative value turns this off.
	WholeLayers int64

	Cache *cache.Cache // results of earlier pushes on this machine; nil if there are none

	// Reuse contains images whose layers may be reused. If several images list a layer, the push
	// uses the record of the first image.
	Reuse []*Remote

	// ReuseNewest is a repository whose newest images are used if no image of Reuse exists. If it is
	// nil, the push uses no other images.
	ReuseNewest *registry.Repository

	// Signed returns nil if the image in src, with index d, has a signature by a trusted key. If
	// Signed is not nil, the push reuses layers of signed images only. Set it before the first call
	// of AddReuse.
	//
	// Signed is a function because it reads signatures through src, and the push finds some images
	// only while it runs. Package attest, which knows all forms of signatures, is not below push.
	Signed SignatureCheck

	Join bool // keep the other platforms of the index that Tags[0] names

	// SampleClaims makes a few small layers again and compares them, if their only source is an
	// unsigned image in a registry. Set it if the store paths are read from this machine.
	SampleClaims bool

	// ReuseCheck is the share of the reused layers, from 0 to 1, that are made again and compared.
	// If a layer differs, the push fails. If ReuseCheck > 0, even an unchanged image is checked
	// layer by layer.
	ReuseCheck float64

	// Settle is the time that a join waits for other joins. 0 means joinSettle. Tests in which no
	// other push joins set a shorter time.
	Settle time.Duration

	// Warn is called with each problem that made the push slower but not wrong. It may be nil. Warn
	// and Progress are called back, because the user wants to see both before the push ends.
	Warn func(error)

	// Progress receives the progress of the layers. Its methods are called concurrently. It may be
	// nil.
	Progress Progress
}

// Progress is told what happens to the layers of a push.
type Progress interface {
	Start(platforms []PlatformLayers)   // called when the list of layers is complete
	Packing(l *layers.Layer, bytes int) // bytes is the number of bytes packed since the last call for l
	Done(r LayerResult)
}

// PlatformLayers contains the layers of one platform. Two platforms may share layers.
type PlatformLayers struct {
	Platform string
	Layers   []*layers.Layer
}

type noProgress struct{}

func (noProgress) Start([]PlatformLayers)     {}
func (noProgress) Packing(*layers.Layer, int) {}
func (noProgress) Done(LayerResult)           {}

// Outcome is what a push did with one layer.
type Outcome string

// A layer that nixoci makes has one of these outcomes.
const (
	Made   Outcome = "made"   // packed and uploaded
	Reused Outcome = "reused" // the result of its recipe was recorded, and the destination had the blob

	// A layer of a base image has one of these outcomes.
	Present Outcome = "present" // the destination had the layer already
	Mounted Outcome = "mounted" // the registry mounted the layer from the base's repository
	Copied  Outcome = "copied"  // the push read the layer from the base image and uploaded it
)

// LayerResult describes what a push did with one layer. If several platforms share the layer, they
// share the LayerResult.
type LayerResult struct {
	Layer      *layers.Layer
	Packed     layers.Packed
	Outcome    Outcome
	ReusedFrom string // for a reused layer, the source that recorded the result of its recipe
	Checked    bool   // the layer was reused, and was made again with the same result
}

// Result describes what a push did.
type Result struct {
	Index     ocispec.Descriptor
	Platforms []ocispec.Descriptor // in the order of the index
	Layers    []LayerResult        // each layer once, in the order of the images
	Base      []BaseResult         // layers of base images, each once
	Unchanged bool                 // the destination had the whole image already, so Layers is empty
}

// Push assembles the image of systems and stores it in dst. It stores the blobs first. The
// manifests by digest, the index by digest, and the tags follow in this order. No tag changes
// before all content is stored. If Push fails before it writes the tags, no tag changes at all.
func Push(ctx context.Context, dst oci.Destination, systems []PlannedSystem, opts Options) (Result, error) {
	p, err := newPusher(dst, systems, opts)
	if err != nil {
		return Result{}, err
	}
	if p.opts.ReuseCheck <= 0 {
		if result, ok, err := p.unchanged(ctx); err != nil || ok {
			return result, err
		}
	}
	p.baseMoved(ctx)
	p.opts.Progress.Start(p.platforms())
	if err := p.recall(ctx); err != nil {
		return Result{}, err
	}
	if err := p.putBase(ctx); err != nil {
		return Result{}, err
	}
	if err := p.putLayers(ctx); err != nil {
		return Result{}, err
	}
	return p.putImages(ctx)
}

// pusher holds the state of one push: its destination, its images and layers, and what it learned
// about the destination.
type pusher struct {
	dst  oci.Destination
	opts Options

	images []*pushedImage // one for each platform
	layers []*pushedLayer // of all images, each once, in the order of first use
	base   []*baseLayer   // of all base images, each once, in the order of first use
	recipe digest.Digest  // recipe of an index with exactly these images

	madeForComparison map[layers.Recipe]bool // layers without store paths that this run made to compare them

	// listed contains the blobs that manifests in the destination's repository list. It is empty if
	// Options.ReuseCheck is set.
	listed map[digest.Digest]bool

	hasBase    map[digest.Digest]bool // digests of the layers in base
	incomplete bool                   // the destination has lost a part of an image, so a listed blob may be missing too
}

// newPusher drafts the images. It reads no files.
func newPusher(dst oci.Destination, systems []PlannedSystem, opts Options) (*pusher, error) {
	p := &pusher{dst: dst, opts: opts, madeForComparison: map[layers.Recipe]bool{}, listed: map[digest.Digest]bool{}, hasBase: map[digest.Digest]bool{}}
	if p.opts.Packer == nil {
		p.opts.Packer = layers.NewPacker(0)
	}
	if p.opts.Uploads <= 0 {
		p.opts.Uploads = defaultUploads
	}
	if p.opts.WholeLayers == 0 {
		p.opts.WholeLayers = defaultWholeLayers
	}
	if p.opts.Progress == nil {
		p.opts.Progress = noProgress{}
	}
	for _, r := range p.opts.Reuse {
		r.signed = p.opts.Signed // also for an image that the caller added to Reuse without AddReuse
	}
	if err := p.opts.Settings.Validate(p.opts.Compression); err != nil {
		return nil, err
	}
	return p, p.draft(systems)
}

func (p *pusher) warn(err error) {
	if p.opts.Warn != nil {
		p.opts.Warn(err)
	}
}

// name returns the destination's name for messages.
func (p *pusher) name() string {
	if named, ok := p.dst.(interface{ Name() string }); ok {
		return named.Name()
	}
	return "the destination"
}
