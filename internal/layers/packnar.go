package layers

import "github.com/nixoci/nixoci/internal/closure"

// narPart contains the part of the NARs that belongs to one block of tar: the file contents
// in this block, and the bytes of the NARs between them.
type narPart struct {
	framing []byte // bytes of the NARs between the file contents
	steps   []narStep
}

// narStep describes the next bytes of a NAR.
type narStep struct {
	framing int                      // first, this many bytes of narPart.framing
	content []byte                   // then this content, which is a part of the block
	check   func(closure.Hash) error // if not nil, the NAR ends after content, and check compares its hash
}

// last returns the step to which the next bytes of framing are added.
func (p *narPart) last() *narStep {
	if n := len(p.steps); n > 0 && p.steps[n-1].content == nil && p.steps[n-1].check == nil {
		return &p.steps[n-1]
	}
	p.steps = append(p.steps, narStep{})
	return &p.steps[len(p.steps)-1]
}

// reset empties the part for another block.
func (p *narPart) reset() {
	clear(p.steps) // the functions keep errors and closures in memory
	p.framing, p.steps = p.framing[:0], p.steps[:0]
}

// narWriter collects the NARs of the paths while the producer writes the tar. It implements
// [closure.NARSink].
type narWriter struct{ s *packStream }

func (w narWriter) Framing(b []byte) {
	p := &w.s.current.nars
	p.framing = append(p.framing, b...)
	p.last().framing += len(b)
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

// hashNARs hashes the NARs of one block. If a NAR ends in the block, it checks the hash.
func (s *packStream) hashNARs(b *block) error {
	framing := b.nars.framing
	for _, step := range b.nars.steps {
		s.nar.Write(framing[:step.framing])
		framing = framing[step.framing:]
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
