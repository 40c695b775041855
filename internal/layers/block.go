package layers

import (
	"context"
	"fmt"
	"sync/atomic"
)

// block holds a part of a tar while the stages of the packer work on it.
type block struct {
	raw  []byte  // part of the tar; the capacity is the block size of the compression
	nars narPart // the parts of NARs that belong to this block
	out  []byte  // the compressed block; unused with algorithm none
	err  error   // error of the compressor

	own        chan struct{} // release takes one token from this channel; nil if the block uses a shared place
	compressed chan struct{} // contains a token for each stage that needs the output
	users      atomic.Int32  // stages that still need the block
}

// These constants limit how many blocks are in use. A block in use is being filled, is being
// compressed, or waits to be written.
const (
	// ownBlocks is the number of blocks that are reserved for each layer: one to fill and one
	// to write. So a layer never waits for the blocks of another layer. This is necessary
	// because a registry may read one upload to its end before it reads any other. The blocks
	// of the other layers stay in use until then.
	ownBlocks = 2

	// sharedBlocks, plus two for each worker, is the number of blocks that any layer can use.
	// With these blocks, compressors have work while finished blocks wait for the network.
	sharedBlocks = 4

	// layerLookahead, plus the number of workers, is the number of blocks of one layer that may
	// wait for one stage.
	layerLookahead = 3
)

// acquire returns an empty block. It waits until the layer may use one more block.
func (s *packStream) acquire() (*block, error) {
	if err := context.Cause(s.ctx); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	var own chan struct{}
	select {
	case s.own <- struct{}{}: // try the own blocks first, so that other layers can use the shared ones
		own = s.own
	default:
		if err := s.wait(&own); err != nil {
			return nil, err
		}
	}
	size := s.comp.blockSize()
	var b *block
	select {
	case b = <-s.packer.free:
	default:
		b = &block{compressed: make(chan struct{}, outputStages)}
	}
	if cap(b.raw) != size {
		b.raw = make([]byte, 0, size)
	}
	b.own = own
	return b, nil
}

// wait waits for a shared place or for one of the layer's own blocks. In the second case it
// sets own.
func (s *packStream) wait(own *chan struct{}) error {
	w := s.packer.shared.join(&s.left)
	if w == nil {
		return nil
	}
	select {
	case <-w.granted:
		s.packer.shared.forget(w)
		return nil
	case s.own <- struct{}{}:
		*own = s.own
		s.packer.shared.leave(w)
		return nil
	case <-s.ctx.Done():
		s.packer.shared.leave(w)
		return fmt.Errorf("pack layer: %w", context.Cause(s.ctx))
	}
}

func (p *Packer) release(b *block) {
	if b == nil {
		return
	}
	own := b.own
	b.raw, b.err, b.own = b.raw[:0], nil, nil
	b.nars.reset()
	select {
	case p.free <- b:
	default: // more layers than usual were packed at once, so do not keep the block
	}
	if own != nil {
		<-own
	} else {
		p.shared.release()
	}
}
