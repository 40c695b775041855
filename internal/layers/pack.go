package layers

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/task"
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
//
// Five kinds of work must process a layer from its first byte to its last: reading, the
// narHashes, the diffID, the digest of the blob, and writing. Each is a stage in its own
// goroutine. All stages work at the same time, on the same blocks. So with enough processors,
// a layer takes as long as its slowest stage, not as long as all stages together. The slowest
// stage is one sha256 over the tar. No packer can be faster, because the sha256 of a stream
// cannot be computed in parts. Only reading can be slower, if the source must decompress xz.
// Compression is not a stage: the blocks of a layer are compressed independently.
func (p *Packer) PackWithProgress(ctx context.Context, l *Layer, w io.Writer, progress func(n int)) (Packed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &packStream{
		packer: p, ctx: ctx, cancel: cancel, comp: l.Compression,
		frame: framing{algorithm: l.Compression.Algorithm},
		nar:   p.newHash(), diff: p.newHash(), blob: p.newHash(),
		w: w, progress: progress,
		own: make(chan struct{}, ownBlocks),
	}
	s.left.Store(l.Size)
	s.blob.Write(s.frame.header())
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
	trailer := s.frame.trailer()
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

// packStream is a layer that is being packed. The producer fills blocks, and each stage
// receives all blocks in order.
type packStream struct {
	packer *Packer
	ctx    context.Context
	cancel context.CancelCauseFunc
	comp   Compression

	current *block        // the block that the producer is filling
	own     chan struct{} // contains one token for each of the layer's own blocks in use
	stages  []stage
	running sync.WaitGroup // the goroutines of the stages

	nar, diff, blob hash.Hash
	frame           framing
	w               io.Writer
	progress        func(n int)
	size, tarSize   int64        // bytes of the blob that were written, bytes of the tar
	left            atomic.Int64 // about how many bytes of contents are not in blocks yet

	once   sync.Once // so that only the first error is recorded
	err    error
	failed atomic.Bool
}

// stage is a kind of work that processes a layer block by block.
type stage struct {
	do       func(*packStream, *block) error
	computes bool        // do needs a processor, so the stage waits for a slot
	output   bool        // do needs the compressed block
	queue    chan *block // the blocks that wait for the stage
}

// outputStages is the number of stages of a layer that need the compressed blocks.
const outputStages = 2

// start starts the goroutines of all stages.
func (s *packStream) start() {
	s.stages = []stage{
		{do: (*packStream).hashNARs, computes: true},
		{do: (*packStream).hashTar, computes: true},
		{do: (*packStream).hashBlob, computes: true, output: true},
		{do: (*packStream).write, output: true},
	}
	if s.comp.Algorithm == None { // the blob is the tar, so one digest is enough
		s.stages = slices.Delete(s.stages, 1, 2)
	}
	s.running.Add(len(s.stages))
	for i := range s.stages {
		s.stages[i].queue = make(chan *block, s.packer.perLayer)
		go s.run(&s.stages[i])
	}
}

// run does the work of one stage on all blocks. After an error it only releases the blocks.
func (s *packStream) run(st *stage) {
	defer s.running.Done() // after Guard, so that Pack never returns after a panic
	defer task.Guard()
	for b := range st.queue {
		if st.output {
			<-b.compressed
		}
		if !s.failed.Load() {
			if err := s.do(st, b); err != nil {
				s.fail(err)
			}
		}
		s.done(b)
	}
}

func (s *packStream) do(st *stage, b *block) error {
	if st.computes {
		s.packer.slots.take(&s.left)
		defer s.packer.slots.release()
	}
	return st.do(s, b)
}

// fail stops the packing. Pack returns the first error that fail was called with.
func (s *packStream) fail(err error) {
	s.once.Do(func() {
		s.err = err
		s.failed.Store(true)
		s.cancel(err) // stops the producer
	})
}

// done reports that a stage no longer needs the block. After the last stage, it releases the
// block.
func (s *packStream) done(b *block) {
	if b.users.Add(-1) == 0 {
		s.packer.release(b)
	}
}

// produce writes the tar stream into blocks.
func (s *packStream) produce(l *Layer) error {
	first, err := s.acquire()
	if err != nil {
		return err
	}
	s.current = first
	tw := &TarWriter{buf: first.raw[:0], flush: s.flush, nars: narWriter{s}}
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
	b.users.Store(int32(len(s.stages)))
	s.left.Add(-int64(len(full)))
	if s.comp.Algorithm == None {
		s.compressed(b)
	} else {
		go s.compress(b)
	}
	for i := range s.stages {
		s.stages[i].queue <- b // waits while perLayer blocks are queued; every stage empties its queue, even after an error
	}
	next, err := s.acquire()
	if err != nil {
		return nil, err
	}
	s.current = next
	return next.raw[:0], nil
}

// compress compresses one block.
func (s *packStream) compress(b *block) {
	defer task.Guard()
	s.packer.slots.take(&s.left)
	enc, err := s.packer.encoder(s.comp)
	if err == nil {
		b.out, err = enc.encode(b.out[:0], b.raw)
		s.packer.keep(s.comp, enc)
	}
	s.packer.slots.release()
	b.err = err
	s.compressed(b)
}

// compressed tells the stages that the output b.out is ready.
func (s *packStream) compressed(b *block) {
	for range outputStages {
		b.compressed <- struct{}{}
	}
}

// hashTar computes the diffID.
func (s *packStream) hashTar(b *block) error {
	s.diff.Write(b.raw)
	s.frame.add(b.raw)
	return nil
}

// hashBlob computes the digest of the blob.
func (s *packStream) hashBlob(b *block) error {
	s.blob.Write(s.output(b))
	return b.err
}

// write writes the blob.
func (s *packStream) write(b *block) error {
	if s.tarSize == 0 {
		if err := s.put(s.frame.header()); err != nil {
			return err
		}
	}
	s.tarSize += int64(len(b.raw))
	err := b.err
	if err == nil {
		err = s.put(s.output(b))
	}
	if s.progress != nil {
		s.progress(len(b.raw))
	}
	return err
}

func (s *packStream) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	s.size += int64(len(b))
	_, err := s.w.Write(b)
	return err
}

// output returns the bytes of the blob that correspond to the block.
func (s *packStream) output(b *block) []byte {
	if s.comp.Algorithm == None {
		return b.raw
	}
	return b.out
}

func (p *Packer) encoder(c Compression) (encoder, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept := p.encoders[c]; len(kept) > 0 {
		p.encoders[c] = kept[:len(kept)-1]
		return kept[len(kept)-1], nil
	}
	return p.newEncoder(c)
}

func (p *Packer) keep(c Compression, e encoder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.encoders[c] = append(p.encoders[c], e)
}
