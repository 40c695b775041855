package layers

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Packer packs layers with a limited number of workers and buffers. Its memory depends on the
// number of workers and on how many layers are packed at the same time, not on the sizes of
// layers. It is safe for concurrent use. All layers of a push should share one Packer.
type Packer struct {
	slots    *turns      // one place for each compressor or hash that runs
	shared   *turns      // one place for each block that a layer uses in addition to its own blocks
	free     chan *block // blocks for reuse
	perLayer int         // limit for the blocks that wait for one stage of a layer

	newEncoder func(Compression) (encoder, error)
	newHash    func() hash.Hash // makes the hashes for NARs, diffIDs and digests

	mu       sync.Mutex
	encoders map[Compression][]encoder
}

// NewPacker returns a packer that runs at most this many compressors and hashes at the same
// time. If workers is 0 or less, GOMAXPROCS is used.
func NewPacker(workers int) *Packer {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	shared := 2*workers + sharedBlocks
	return &Packer{
		slots:    &turns{places: workers},
		shared:   &turns{places: shared},
		free:     make(chan *block, shared+2*ownBlocks),
		perLayer: workers + layerLookahead,

		newEncoder: Compression.newEncoder,
		newHash:    sha256.New,

		encoders: map[Compression][]encoder{},
	}
}

// Pack writes the blob of l to w in one pass over the contents. It returns a result only
// after it has checked all narHashes and written all bytes.
func (p *Packer) Pack(ctx context.Context, l *Layer, w io.Writer) (Packed, error) {
	return p.PackWithProgress(ctx, l, w, nil)
}

// PackWithProgress does the same as Pack, and calls progress for each block that was written.
// n is the number of bytes of tar in the block. progress may be nil.
func (p *Packer) PackWithProgress(ctx context.Context, l *Layer, w io.Writer, progress func(n int)) (Packed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &packStream{ // its stages are in stages.go
		packer: p, ctx: ctx, cancel: cancel, comp: l.Compression,
		envelope: envelope{algorithm: l.Compression.Algorithm},
		nar:      p.newHash(), diff: p.newHash(), blob: p.newHash(),
		w: w, progress: progress,
		own: make(chan struct{}, ownBlocks),
	}
	s.left.Store(l.Size)
	s.blob.Write(s.envelope.header())
	s.start()
	if err := s.produce(l); err != nil {
		s.fail(err)
	}
	for i := range s.stages {
		close(s.stages[i].queue)
	}
	s.running.Wait()
	if s.failed.Load() {
		return Packed{}, s.err
	}
	trailer := s.envelope.trailer()
	s.blob.Write(trailer)
	if err := s.put(trailer); err != nil {
		return Packed{}, err
	}
	packed := Packed{
		Digest: digest.NewDigestFromBytes(digest.SHA256, s.blob.Sum(nil)),
		Size:   s.size, UncompressedSize: s.tarSize,
	}
	packed.DiffID = packed.Digest
	if s.comp.Algorithm != None {
		packed.DiffID = digest.NewDigestFromBytes(digest.SHA256, s.diff.Sum(nil))
	}
	return packed, nil
}

// encoder returns a kept encoder for c, or a new one.
func (p *Packer) encoder(c Compression) (encoder, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept := p.encoders[c]; len(kept) > 0 {
		p.encoders[c] = kept[:len(kept)-1]
		return kept[len(kept)-1], nil
	}
	return p.newEncoder(c)
}

// keep keeps e for the next block.
func (p *Packer) keep(c Compression, e encoder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.encoders[c] = append(p.encoders[c], e)
}
