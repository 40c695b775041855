package push

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
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

	// defaultWholeLayers bounds the memory for layers that are sent whole: with
	// defaultUploads at most 32 MiB, and a third of that where gzip does its usual
	// work. The layers that an update changes are mostly smaller, and those that
	// are larger cost one request more.
	defaultWholeLayers = 2 << 20
)

// PlannedSystem is one platform's system, and which of its store paths go into
// which layer.
type PlannedSystem struct {
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
	WholeLayers int64                                    // bytes, before compression, of layers that a registry gets in one request instead of two; <0: none
	Cache       *Cache                                   // what this machine knows; nil: nothing
	Reuse       []*Remote                                // images that may know layers, the first one's word counts
	ReuseElse   func(context.Context) ([]*Remote, error) // more of them, asked for if none of Reuse is there
	Base        *BaseImage                               // that applications are put on; nil: none
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

// Outcome says what a push did with a layer.
type Outcome string

// The outcomes.
const (
	Made   Outcome = "made"   // packed and sent
	Reused Outcome = "reused" // its recipe was known and the blob was there

	// Of layers of a base image.
	Present Outcome = "present" // it was there
	Mounted Outcome = "mounted" // the registry took it from the base's repository
	Copied  Outcome = "copied"  // read where the base is, and sent
)

// LayerResult is one distinct layer of a push.
type LayerResult struct {
	Layer      *layers.Layer
	Packed     layers.Packed
	Outcome    Outcome
	ReusedFrom string // who said what the recipe of a reused layer makes
	Checked    bool   // reused, made again, and found the same
}

// Result is what a push did.
type Result struct {
	Index     ocispec.Descriptor
	Platforms []ocispec.Descriptor // as the index lists them
	Layers    []LayerResult        // distinct, in the order of the images
	Base      []BaseResult         // layers of base images, distinct
	Unchanged bool                 // the destination had all of it; Layers is empty
}

// Push assembles the image of systems and puts it where dst says: blobs, then
// manifests by digest, then the index by digest, then the tags. It changes
// nothing that a person would see before all of it is there, and nothing at all
// when it fails.
func Push(ctx context.Context, dst oci.Destination, systems []PlannedSystem, job Job) (Result, error) {
	p, err := newPusher(dst, systems, job)
	if err != nil {
		return Result{}, err
	}
	if p.job.ReuseCheck <= 0 {
		if result, ok, err := p.unchanged(ctx); err != nil || ok {
			return result, err
		}
	}
	p.baseMoved(ctx)
	p.job.Progress.Start(p.platforms())
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

// pusher is one push: where it goes, what it sends, and what it has learned of
// the destination.
type pusher struct {
	dst oci.Destination
	job Job

	images []*pushedImage // one for each platform
	layers []*pushedLayer // of all images, each once, in the order of first use
	base   []*baseLayer   // of all base images, likewise
	recipe digest.Digest  // of an index that holds all images and nothing else

	own        map[layers.Recipe]bool // layers without store paths that this run has made to compare them
	listed     map[digest.Digest]bool // blobs that manifests of the destination's repository list; none where the job checks what it reuses
	hasBase    map[digest.Digest]bool // layers in base
	incomplete bool                   // the destination has lost something: what is listed proves nothing
}

// newPusher drafts the images. It reads nothing.
func newPusher(dst oci.Destination, systems []PlannedSystem, job Job) (*pusher, error) {
	p := &pusher{dst: dst, job: job, own: map[layers.Recipe]bool{}, listed: map[digest.Digest]bool{}, hasBase: map[digest.Digest]bool{}}
	if p.job.Packer == nil {
		p.job.Packer = layers.NewPacker(0)
	}
	if p.job.Uploads <= 0 {
		p.job.Uploads = defaultUploads
	}
	if p.job.WholeLayers == 0 {
		p.job.WholeLayers = defaultWholeLayers
	}
	if p.job.Progress == nil {
		p.job.Progress = noProgress{}
	}
	if err := p.job.Settings.Validate(p.job.Compression); err != nil {
		return nil, err
	}
	return p, p.draft(systems)
}

func (p *pusher) warn(err error) {
	if p.job.Warn != nil {
		p.job.Warn(err)
	}
}

// name is the destination's, for people.
func (p *pusher) name() string {
	if named, ok := p.dst.(interface{ Name() string }); ok {
		return named.Name()
	}
	return "the destination"
}
