package layers

import "github.com/nixoci/nixoci/internal/closure"

// narPart is a part of the NARs of a layer's store paths: the part whose file contents
// are in one block of tar.
type narPart struct {
	frames []byte // bytes of the NARs between the contents
	steps  []narStep
}

// narStep is what follows next in a NAR.
type narStep struct {
	frame   int                      // so many bytes of frames first
	content []byte                   // then these, which are in the block
	check   func(closure.Hash) error // then the NAR ends; nil: it goes on
}

// last returns the step to which more bytes of frames belong.
func (p *narPart) last() *narStep {
	if n := len(p.steps); n > 0 && p.steps[n-1].content == nil && p.steps[n-1].check == nil {
		return &p.steps[n-1]
	}
	p.steps = append(p.steps, narStep{})
	return &p.steps[len(p.steps)-1]
}

// reset empties the part for another block.
func (p *narPart) reset() {
	clear(p.steps) // its functions keep errors and closures in memory
	p.frames, p.steps = p.frames[:0], p.steps[:0]
}

// narWriter collects the NARs beside the tar that the producer writes. It implements
// [closure.NARSink].
type narWriter struct{ s *packStream }

func (w narWriter) Frame(b []byte) {
	p := &w.s.current.nars
	p.frames = append(p.frames, b...)
	p.last().frame += len(b)
}

func (w narWriter) Content(b []byte) {
	if len(b) > 0 {
		w.s.current.nars.last().content = b
	}
}

func (w narWriter) End(check func(closure.Hash) error) error {
	w.s.current.nars.last().check = check
	return nil
}

// hashNARs hashes the NARs, and checks each one that ends in the block.
func (s *packStream) hashNARs(b *block) error {
	frames := b.nars.frames
	for _, step := range b.nars.steps {
		s.nar.Write(frames[:step.frame])
		frames = frames[step.frame:]
		s.nar.Write(step.content)
		if step.check == nil {
			continue
		}
		var sum closure.Hash
		s.nar.Sum(sum[:0])
		s.nar.Reset()
		if err := step.check(sum); err != nil {
			return err
		}
	}
	return nil
}
