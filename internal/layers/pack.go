package layers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/task"
)

// Packer packs layers with a limited number of workers and buffers. Its memory depends on
// the number of workers and on how many layers are packed at the same time, not on their
// sizes. It is safe for concurrent use. All layers of a push should share one Packer.
type Packer struct {
	slots    chan struct{} // one for each running compressor
	shared   chan struct{} // one for each block that a layer has in addition to its own
	free     chan *block   // blocks for reuse
	perLayer int           // limit for the blocks of one layer in flight

	mu       sync.Mutex
	encoders map[Compression][]encoder
}

// Numbers of blocks that are being filled or compressed, or that wait to be written.
const (
	// ownBlocks are reserved for each layer: one to fill and one to write. A layer must
	// not wait for another layer's blocks. A registry may read one upload to its end
	// before it reads any other, and the blocks of the others stay in use until then.
	ownBlocks = 2

	// sharedBlocks, plus two for each worker, are for any layer that needs them. With
	// these blocks each compressor finds work while finished blocks wait for the network.
	sharedBlocks = 4

	// layerLookahead, plus the number of workers, is how many blocks a layer may be ahead
	// of its writer.
	layerLookahead = 3
)

// NewPacker returns a packer that runs at most workers compressors at once. ≤0 means
// GOMAXPROCS.
func NewPacker(workers int) *Packer {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	shared := 2*workers + sharedBlocks
	return &Packer{
		slots:    make(chan struct{}, workers),
		shared:   make(chan struct{}, shared),
		free:     make(chan *block, shared+2*ownBlocks),
		perLayer: workers + layerLookahead,
		encoders: map[Compression][]encoder{},
	}
}

// block is a piece of tar on its way through the packer.
type block struct {
	raw []byte // part of the tar; its capacity is the block size of the compression
	out []byte // the compressed block; unused with algorithm none
	err error

	holds      chan struct{} // the channel that release empties by one: shared, or the layer's own
	compressed chan struct{} // gets one token when out is ready
}

// Pack writes l's blob to w in one pass over the contents. These run at the same time:
// reading and NAR hashing, compression, and hashing and writing of the output. Pack
// returns a result only after it has written everything.
func (p *Packer) Pack(ctx context.Context, l *Layer, w io.Writer) (Packed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &packStream{
		packer: p, ctx: ctx, comp: l.Compression,
		progress: l.Progress,
		queue:    make(chan *block, p.perLayer),
		own:      make(chan struct{}, ownBlocks),
	}
	sunk := make(chan error, 1)
	var packed Packed
	go func() {
		defer task.Guard()
		var err error
		if packed, err = s.sink(w); err != nil {
			cancel(err) // the producer need not go on
			s.discard()
		}
		sunk <- err
	}()

	s.failed = s.produce(l)
	close(s.queue)
	// If the producer failed first, the sink returns the producer's error.
	if err := <-sunk; err != nil {
		return Packed{}, err
	}
	return packed, nil
}

// packStream is one layer that is being packed. The producer fills blocks and queues them
// in order. The sink takes them out of the queue in the same order.
type packStream struct {
	packer *Packer
	ctx    context.Context
	comp   Compression

	progress func(n int)
	queue    chan *block
	own      chan struct{} // one for each of the layer's own blocks in use
	failed   error         // error of the producer; set before queue is closed

	current *block // the block that the producer is filling
}

// produce writes the tar stream into blocks.
func (s *packStream) produce(l *Layer) error {
	first, err := s.acquire()
	if err != nil {
		return err
	}
	s.current = first
	tw := &TarWriter{buf: first.raw[:0], flush: s.flush}
	err = l.Content(s.ctx, tw)
	if err == nil {
		err = tw.Close()
	}
	s.packer.release(s.current)
	return err
}

// flush queues the full block and returns an empty one.
func (s *packStream) flush(full []byte) ([]byte, error) {
	b := s.current
	s.current = nil
	b.raw = full
	if s.comp.Algorithm == None {
		b.compressed <- struct{}{}
	} else {
		task.Go(func() { s.compress(b) })
	}
	s.queue <- b // waits while perLayer blocks are queued; the sink always takes them
	next, err := s.acquire()
	if err != nil {
		return nil, err
	}
	s.current = next
	return next.raw[:0], nil
}

// compress compresses one block. At most one block per worker is compressed at a time.
func (s *packStream) compress(b *block) {
	s.packer.slots <- struct{}{}
	enc, err := s.packer.encoder(s.comp)
	if err == nil {
		b.out, err = enc.encode(b.out[:0], b.raw)
		s.packer.keep(s.comp, enc)
	}
	<-s.packer.slots
	b.err = err
	b.compressed <- struct{}{}
}

// sink hashes and writes the blocks in order.
func (s *packStream) sink(w io.Writer) (Packed, error) {
	frame := framing{algorithm: s.comp.Algorithm}
	diff, blob := sha256.New(), sha256.New()
	var packed Packed
	put := func(b []byte) error {
		if len(b) == 0 {
			return nil
		}
		blob.Write(b)
		packed.Size += int64(len(b))
		_, err := w.Write(b)
		return err
	}
	if err := put(frame.header()); err != nil {
		return Packed{}, err
	}
	for b := range s.queue {
		if s.comp.Algorithm != None { // with algorithm none, the blob is the tar
			diff.Write(b.raw)
		}
		frame.add(b.raw)
		packed.UncompressedSize += int64(len(b.raw))
		<-b.compressed
		out := b.out
		if s.comp.Algorithm == None {
			out = b.raw
		}
		err := b.err
		if err == nil {
			err = put(out)
		}
		if s.progress != nil {
			s.progress(len(b.raw))
		}
		s.packer.release(b)
		if err != nil {
			return Packed{}, err
		}
	}
	if s.failed != nil {
		return Packed{}, s.failed
	}
	if err := put(frame.trailer()); err != nil {
		return Packed{}, err
	}
	packed.Digest = digest.NewDigestFromBytes(digest.SHA256, blob.Sum(nil))
	packed.DiffID = packed.Digest
	if s.comp.Algorithm != None {
		packed.DiffID = digest.NewDigestFromBytes(digest.SHA256, diff.Sum(nil))
	}
	return packed, nil
}

// discard releases the queued blocks after the sink has failed.
func (s *packStream) discard() {
	for b := range s.queue {
		<-b.compressed
		s.packer.release(b)
	}
}

// acquire returns an empty block. It waits until the layer may have one.
func (s *packStream) acquire() (*block, error) {
	var holds chan struct{}
	select {
	case s.own <- struct{}{}: // try the own blocks first, so that other layers can use the shared ones
		holds = s.own
	default:
		select {
		case s.own <- struct{}{}:
			holds = s.own
		case s.packer.shared <- struct{}{}:
			holds = s.packer.shared
		case <-s.ctx.Done():
			return nil, fmt.Errorf("pack layer: %w", context.Cause(s.ctx))
		}
	}
	size := s.comp.blockSize()
	var b *block
	select {
	case b = <-s.packer.free:
	default:
		b = &block{compressed: make(chan struct{}, 1)}
	}
	if cap(b.raw) != size {
		b.raw = make([]byte, 0, size)
	}
	b.holds = holds
	return b, nil
}

func (p *Packer) release(b *block) {
	if b == nil {
		return
	}
	holds := b.holds
	b.raw, b.err, b.holds = b.raw[:0], nil, nil
	select {
	case p.free <- b:
	default: // more layers at once than usual: free the block
	}
	<-holds
}

func (p *Packer) encoder(c Compression) (encoder, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept := p.encoders[c]; len(kept) > 0 {
		p.encoders[c] = kept[:len(kept)-1]
		return kept[len(kept)-1], nil
	}
	return c.newEncoder()
}

func (p *Packer) keep(c Compression, e encoder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.encoders[c] = append(p.encoders[c], e)
}
