package closure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/nar"
)

// finderSource is a Source that can report which paths it contains.
type finderSource interface {
	Source
	// Infos returns the infos of those paths that the source contains. The
	// result may also contain the infos of their references.
	Infos(ctx context.Context, paths []StorePath) ([]Info, error)
	String() string
}

// MultiSource is a Source that asks several sources, in order, for each path.
type MultiSource struct {
	sources []finderSource

	mu    sync.Mutex
	owner map[StorePath]finderSource
}

// Multi returns a Source that reads each path from the first source that contains
// this path. The sources must come from this package, and must not be MultiSources.
func Multi(sources ...Source) (*MultiSource, error) {
	m := &MultiSource{owner: map[StorePath]finderSource{}}
	for _, s := range sources {
		f, ok := s.(finderSource)
		if !ok {
			return nil, fmt.Errorf("a %T cannot be one of several sources", s)
		}
		m.sources = append(m.sources, f)
	}
	if len(m.sources) == 0 {
		return nil, errors.New("no source")
	}
	return m, nil
}

// Closure implements [Source].
func (m *MultiSource) Closure(ctx context.Context, roots []StorePath) (*Closure, error) {
	have := map[StorePath]*Info{}
	owner := map[StorePath]finderSource{}
	todo := slices.Clone(roots)
	for len(todo) > 0 {
		slices.Sort(todo)
		todo = slices.Compact(todo)
		missing := todo
		for _, s := range m.sources {
			if len(missing) == 0 {
				break
			}
			infos, err := s.Infos(ctx, missing)
			if err != nil {
				return nil, err
			}
			for i := range infos {
				if p := infos[i].Path; have[p] == nil {
					have[p], owner[p] = &infos[i], s
				}
			}
			missing = slices.DeleteFunc(slices.Clone(missing), func(p StorePath) bool { return have[p] != nil })
		}
		if len(missing) > 0 {
			return nil, m.missing(missing[0])
		}
		var next []StorePath
		for _, info := range have {
			for _, r := range info.References {
				if have[r] == nil {
					next = append(next, r)
				}
			}
		}
		todo = next
	}
	// A local store returns whole closures. So have may contain paths that are not
	// reachable from the roots. Leave these paths out.
	reached := map[StorePath]bool{}
	var infos []Info
	for todo = slices.Clone(roots); len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !reached[p] {
			reached[p] = true
			infos = append(infos, *have[p])
			todo = append(todo, have[p].References...)
		}
	}
	m.mu.Lock()
	for p := range reached {
		m.owner[p] = owner[p]
	}
	m.mu.Unlock()
	return New(roots, infos)
}

func (m *MultiSource) missing(p StorePath) error {
	names := ""
	for i, s := range m.sources {
		if i > 0 {
			names += ", "
		}
		names += s.String()
	}
	return hint.Add(fmt.Errorf("%s: %w: searched %s", p, ErrNotInStore, names), "name a source that has it with --from")
}

// of returns the source in which Closure found p.
func (m *MultiSource) of(p StorePath) (finderSource, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.owner[p]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("%s: %w: no closure that was read contains it", p, ErrNotInStore)
}

// Tree implements [Source].
func (m *MultiSource) Tree(ctx context.Context, info *Info, v nar.Visitor) error {
	s, err := m.of(info.Path)
	if err != nil {
		return err
	}
	return s.Tree(ctx, info, v)
}

// Lookup implements [FileSource].
func (m *MultiSource) Lookup(ctx context.Context, info *Info, name string) (Entry, error) {
	s, err := m.of(info.Path)
	if err != nil {
		return Entry{}, err
	}
	return Lookup(ctx, s, info, name)
}

// ReadFile implements [FileSource].
func (m *MultiSource) ReadFile(ctx context.Context, info *Info, name string, limit int64) ([]byte, error) {
	s, err := m.of(info.Path)
	if err != nil {
		return nil, err
	}
	return ReadFile(ctx, s, info, name, limit)
}

func (m *MultiSource) mismatchHint(p StorePath) string {
	if s, err := m.of(p); err == nil {
		if h, ok := s.(mismatchHinter); ok {
			return h.mismatchHint(p)
		}
	}
	return ""
}
