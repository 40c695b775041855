package closure

import (
	"context"
	"errors"
	"fmt"

	"github.com/nixoci/nixoci/internal/nar"
)

// Part holds a closure, and the source of its trees.
type Part struct {
	Closure *Closure
	Source  Source
}

// Union joins the closures of all parts. It returns the closure of all roots, and a
// source for all trees of this closure. If a path is in several parts, it must have
// the same narHash and narSize in all of them.
func Union(parts ...Part) (*Closure, Source, error) {
	if len(parts) == 1 {
		return parts[0].Closure, parts[0].Source, nil
	}
	u := &union{owner: map[StorePath]Source{}}
	var infos []Info
	var roots []StorePath
	have := map[StorePath]*Info{}
	one := true
	for _, p := range parts {
		one = one && p.Source == parts[0].Source
		roots = append(roots, p.Closure.Roots...)
		for i := range p.Closure.Paths {
			info := &p.Closure.Paths[i]
			if other := have[info.Path]; other != nil {
				if other.NarHash != info.NarHash || other.NarSize != info.NarSize {
					return nil, nil, fmt.Errorf("closure: %s has narHash %s in one of the closures, and %s in another", info.Path, other.NarHash, info.NarHash)
				}
				continue
			}
			have[info.Path] = info
			u.owner[info.Path] = p.Source
			infos = append(infos, *info)
		}
	}
	c, err := New(roots, infos)
	if err != nil {
		return nil, nil, err
	}
	if one {
		return c, parts[0].Source, nil
	}
	return c, u, nil
}

// union is a Source that reads each path from the source of the path's part.
type union struct{ owner map[StorePath]Source }

// Closure implements [Source].
func (u *union) Closure(context.Context, []StorePath) (*Closure, error) {
	return nil, errors.New("closure: a union of closures cannot be read again")
}

// Tree implements [Source].
func (u *union) Tree(ctx context.Context, info *Info, v nar.Visitor) error {
	src := u.owner[info.Path]
	if src == nil {
		return fmt.Errorf("%s: %w", info.Path, ErrNotInStore)
	}
	return src.Tree(ctx, info, v)
}
