package closure

import (
	"fmt"

	"github.com/nixoci/nixoci/internal/limit"
)

var errTooManyPaths = fmt.Errorf("the closure has more than %d store paths", limit.Paths)

// meter counts the paths, references and text bytes of a closure. Its method add
// returns an error if one of these numbers exceeds its limit. So a closure cannot
// fill the memory.
type meter struct {
	paths, references int
	text              int64
}

func (m *meter) add(i *Info) error {
	m.paths++
	m.references += len(i.References)
	m.text += int64(len(i.CA) + len(i.Deriver))
	for _, s := range i.Signatures {
		m.text += int64(len(s))
	}
	switch {
	case m.paths > limit.Paths:
		return errTooManyPaths
	case m.references > limit.References:
		return fmt.Errorf("a closure with more than %d references", limit.References)
	case m.text > limit.PathText:
		return fmt.Errorf("a closure with more than %d bytes of signatures and derivers", limit.PathText)
	case len(i.Signatures) > limit.Signatures:
		return fmt.Errorf("%s: %d signatures, more than %d", i.Path, len(i.Signatures), limit.Signatures)
	}
	return nil
}

// names holds one copy of each store path in memory, even if many paths refer to it.
type names map[StorePath]StorePath

func (n names) intern(p StorePath) StorePath {
	if known, ok := n[p]; ok {
		return known
	}
	n[p] = p
	return p
}
