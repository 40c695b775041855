package closure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/nar"
)

// Info is what a source knows of one store path without reading its bytes.
type Info struct {
	Path       StorePath
	NarHash    Hash        // sha256 of the NAR
	NarSize    int64       // bytes of the NAR
	References []StorePath // sorted, unique; with Path itself where Nix found it
	CA         string      // content address as Nix writes it, "" for input-addressed paths

	// Deriver and Signatures depend on who built the path. Nothing made from
	// them may reach an image.
	Deriver    string   // store path base name, "" where unknown
	Signatures []string // "key-name:base64"
}

// Closure is a set of store paths that is closed under references.
type Closure struct {
	Roots []StorePath // sorted, unique
	Paths []Info      // sorted by Path, unique

	index map[StorePath]int
}

// Errors that New wraps.
var (
	ErrMissingReference = errors.New("reference is not in the closure")
	ErrCycle            = errors.New("references form a cycle")
	ErrDuplicate        = errors.New("store path is there twice")
	ErrUnreachable      = errors.New("store path is not reachable from the roots")
)

// New checks and orders a closure: every reference is there, none of them
// forms a cycle but a path's own, and every path is reachable from roots.
// With no roots, the paths that no other path refers to become the roots.
// Infos may come in any order and is not kept.
func New(roots []StorePath, infos []Info) (*Closure, error) {
	c := &Closure{Paths: slices.Clone(infos), index: make(map[StorePath]int, len(infos))}
	slices.SortFunc(c.Paths, func(a, b Info) int { return strings.Compare(string(a.Path), string(b.Path)) })
	for i := range c.Paths {
		p := &c.Paths[i]
		if _, dup := c.index[p.Path]; dup {
			return nil, fmt.Errorf("closure: %s: %w", p.Path, ErrDuplicate)
		}
		c.index[p.Path] = i
		refs := slices.Clone(p.References)
		slices.Sort(refs)
		p.References = slices.Compact(refs)
	}
	referred := make([]bool, len(c.Paths))
	for _, p := range c.Paths {
		for _, r := range p.References {
			i, ok := c.index[r]
			if !ok {
				return nil, fmt.Errorf("closure: %s refers to %s: %w", p.Path, r, ErrMissingReference)
			}
			if r != p.Path {
				referred[i] = true
			}
		}
	}
	if len(roots) == 0 {
		for i, p := range c.Paths {
			if !referred[i] {
				roots = append(roots, p.Path)
			}
		}
	}
	c.Roots = slices.Clone(roots)
	slices.Sort(c.Roots)
	c.Roots = slices.Compact(c.Roots)
	for _, r := range c.Roots {
		if _, ok := c.index[r]; !ok {
			return nil, fmt.Errorf("closure: root %s: %w", r, ErrMissingReference)
		}
	}
	return c, c.checkOrder()
}

// frame is a path on the way from a root, and which of its references is next.
type frame struct{ path, next int }

// cycleError names the paths from ref, which is on stack, to its top and back.
func (c *Closure) cycleError(stack []frame, ref int) error {
	start := slices.IndexFunc(stack, func(f frame) bool { return f.path == ref })
	var cycle []string
	for _, f := range stack[start:] {
		cycle = append(cycle, string(c.Paths[f.path].Path))
	}
	return fmt.Errorf("closure: %w: %s", ErrCycle, strings.Join(append(cycle, string(c.Paths[ref].Path)), " -> "))
}

// checkOrder walks from the roots and reports the first cycle, as the paths on
// it, or the first path that no root reaches.
func (c *Closure) checkOrder() error {
	const (
		unseen = iota
		open
		done
	)
	state := make([]uint8, len(c.Paths))
	var stack []frame // explicit: a closure's depth is the input's choice
	visit := func(start int) error {
		stack = append(stack[:0], frame{path: start})
		state[start] = open
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			refs := c.Paths[f.path].References
			if f.next == len(refs) {
				state[f.path] = done
				stack = stack[:len(stack)-1]
				continue
			}
			ref := c.index[refs[f.next]]
			f.next++
			switch {
			case ref == f.path || state[ref] == done:
			case state[ref] == open:
				return c.cycleError(stack, ref)
			default:
				state[ref] = open
				stack = append(stack, frame{path: ref})
			}
		}
		return nil
	}
	for _, r := range c.Roots {
		if i := c.index[r]; state[i] == unseen {
			if err := visit(i); err != nil {
				return err
			}
		}
	}
	for i := range c.Paths {
		if state[i] != unseen {
			continue
		}
		// A path that nothing reaches is most often part of a cycle: say so.
		if err := visit(i); err != nil {
			return err
		}
		return fmt.Errorf("closure: %s: %w", c.Paths[i].Path, ErrUnreachable)
	}
	return nil
}

// Info returns what is known of p, nil if p is not in the closure.
func (c *Closure) Info(p StorePath) *Info {
	if i, ok := c.index[p]; ok {
		return &c.Paths[i]
	}
	return nil
}

// Index returns p's place in c.Paths, and whether it is there.
func (c *Closure) Index(p StorePath) (int, bool) {
	i, ok := c.index[p]
	return i, ok
}

// NarSize is the sum of all NarSizes in bytes.
func (c *Closure) NarSize() int64 {
	var n int64
	for i := range c.Paths {
		n += c.Paths[i].NarSize
	}
	return n
}

// Subset returns the part of c that roots reach.
func (c *Closure) Subset(roots ...StorePath) (*Closure, error) {
	seen := map[StorePath]Info{}
	todo := slices.Clone(roots)
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, ok := seen[p]; ok {
			continue
		}
		info := c.Info(p)
		if info == nil {
			return nil, fmt.Errorf("closure: root %s: %w", p, ErrMissingReference)
		}
		seen[p] = *info
		todo = append(todo, info.References...)
	}
	return New(roots, slices.Collect(maps.Values(seen)))
}

// A Source knows store paths: what is in their closure, and their file trees.
// Implementations are safe for concurrent use.
type Source interface {
	// Closure returns the closure of roots.
	Closure(ctx context.Context, roots []StorePath) (*Closure, error)

	// Tree calls v for every entry of info.Path's file tree in NAR order. It
	// does not check info.NarHash: callers use [Walk], which does. Tree may be
	// called again and again and gives the same entries.
	Tree(ctx context.Context, info *Info, v nar.Visitor) error
}
