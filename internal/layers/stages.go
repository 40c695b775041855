package layers

import (
	"context"
	"hash"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nixoci/nixoci/internal/task"
)

// packStream is a layer that is being packed. Its producer reads the contents and fills blocks.
// Each stage receives all blocks in order.
//
// Five kinds of work must process a layer from its first byte to its last: the producer's
// reading, the narHashes, the diffID, the digest of the blob, and writing. Each runs in its own
// goroutine, and all work at the same time. So with enough processors, a layer takes as long as
// the slowest of them, not as long as all together. The slowest is one sha256 over the tar. No
// packer can be faster, because the sha256 of a stream cannot be computed in parts. Only reading
// can be slower, if the source must decompress xz. Compression is no stage: the blocks of a
// layer are compressed independently.
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
	envelope        envelope
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
	work     func(*packStream, *block) error
	computes bool        // work needs a processor, so the stage waits for a slot
	output   bool        // work needs the compressed block
	queue    chan *block // the blocks that wait for the stage
}

// outputStages is the number of stages of a layer that need the compressed blocks.
const outputStages = 2

// start starts the goroutines of all stages.
func (s *packStream) start() {
	s.stages = []stage{
		{work: (*packStream).hashNARs, computes: true},
		{work: (*packStream).hashTar, computes: true},
		{work: (*packStream).hashBlob, computes: true, output: true},
		{work: (*packStream).write, output: true},
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

// do works on one block. A stage that computes waits for a slot first.
func (s *packStream) do(st *stage, b *block) error {
	if st.computes {
		s.packer.slots.take(&s.left)
		defer s.packer.slots.release()
	}
	return st.work(s, b)
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
		s.announce(b)
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
	s.announce(b)
}

// announce tells the stages that the output b.out is ready.
func (s *packStream) announce(b *block) {
	for range outputStages {
		b.compressed <- struct{}{}
	}
}

// hashTar computes the diffID.
func (s *packStream) hashTar(b *block) error {
	s.diff.Write(b.raw)
	s.envelope.add(b.raw)
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
		if err := s.put(s.envelope.header()); err != nil {
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

// put writes bytes of the blob and counts them.
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
