package closure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/nar"
)

// Info describes one store path, without the content.
type Info struct {
	Path       StorePath
	NarHash    Hash        // sha256 of the NAR
	NarSize    int64       // bytes of the NAR
	References []StorePath // sorted, unique; includes Path if the path refers to itself
	CA         string      // content address in Nix's form; "" for input-addressed paths

	// Deriver and Signatures depend on who built the path. The bytes of an image
	// must not depend on them.
	Deriver    string   // base name of a store path; "" if unknown
	Signatures []string // "key-name:base64"
}

// Closure is a set of store paths that contains all references of its paths.
type Closure struct {
	Roots []StorePath // sorted, unique
	Paths []Info      // sorted by Path, unique

	index map[StorePath]int
}

// These errors are wrapped by the errors of [New].
var (
	ErrMissingReference = errors.New("reference is not in the closure")
	ErrCycle            = errors.New("references form a cycle")
	ErrDuplicate        = errors.New("store path occurs twice")
	ErrUnreachable      = errors.New("store path is not reachable from the roots")
)

// New checks and sorts a closure. Every reference must be in infos. References
// must not form a cycle, but a path may refer to itself. Every path must be
// reachable from roots. If roots is empty, the roots are the paths to which no other
// path refers. infos may be in any order. New copies infos.
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

// visit describes a path that checkOrder is visiting. path is the path's index, and
// next is the index of the reference that checkOrder visits next.
type visit struct{ path, next int }

// cycleError returns an error that lists the paths of a cycle. The cycle goes from
// ref, which is on the stack, to the top of the stack and back to ref.
func (c *Closure) cycleError(stack []visit, ref int) error {
	start := slices.IndexFunc(stack, func(v visit) bool { return v.path == ref })
	var cycle []string
	for _, v := range stack[start:] {
		cycle = append(cycle, string(c.Paths[v.path].Path))
	}
	return fmt.Errorf("closure: %w: %s", ErrCycle, strings.Join(append(cycle, string(c.Paths[ref].Path)), " -> "))
}

// checkOrder visits the closure from the roots. It returns an error about the first
// cycle, with all paths of the cycle, or about the first path that is not reachable
// from a root.
func (c *Closure) checkOrder() error {
	const (
		unseen = iota
		open
		done
	)
	state := make([]uint8, len(c.Paths))
	var stack []visit // checkOrder does not recurse, because the input decides how long a chain of references is
	from := func(start int) error {
		stack = append(stack[:0], visit{path: start})
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
				stack = append(stack, visit{path: ref})
			}
		}
		return nil
	}
	for _, r := range c.Roots {
		if i := c.index[r]; state[i] == unseen {
			if err := from(i); err != nil {
				return err
			}
		}
	}
	for i := range c.Paths {
		if state[i] != unseen {
			continue
		}
		// An unreachable path is usually part of a cycle. If so, report the cycle.
		if err := from(i); err != nil {
			return err
		}
		return fmt.Errorf("closure: %s: %w", c.Paths[i].Path, ErrUnreachable)
	}
	return nil
}

// Info returns the info of p, or nil if p is not in the closure.
func (c *Closure) Info(p StorePath) *Info {
	if i, ok := c.index[p]; ok {
		return &c.Paths[i]
	}
	return nil
}

// Index returns the index of p in c.Paths, or false if p is not in the closure.
func (c *Closure) Index(p StorePath) (int, bool) {
	i, ok := c.index[p]
	return i, ok
}

// NarSize returns the sum of all NarSizes in bytes.
func (c *Closure) NarSize() int64 {
	var n int64
	for i := range c.Paths {
		n += c.Paths[i].NarSize
	}
	return n
}

// Subset returns the closure of roots. All roots must be in c. If all paths of c are
// reachable from roots, the result and c share Paths. So a large closure is not in
// memory twice.
func (c *Closure) Subset(roots ...StorePath) (*Closure, error) {
	seen := make([]bool, len(c.Paths))
	count := 0
	todo := slices.Clone(roots)
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		i, ok := c.index[p]
		if !ok {
			return nil, fmt.Errorf("closure: root %s: %w", p, ErrMissingReference)
		}
		if seen[i] {
			continue
		}
		seen[i] = true
		count++
		todo = append(todo, c.Paths[i].References...)
	}
	if count == len(c.Paths) && len(roots) > 0 {
		all := &Closure{Roots: slices.Clone(roots), Paths: c.Paths, index: c.index}
		slices.Sort(all.Roots)
		all.Roots = slices.Compact(all.Roots)
		return all, nil
	}
	infos := make([]Info, 0, count)
	for i, p := range c.Paths {
		if seen[i] {
			infos = append(infos, p)
		}
	}
	return New(roots, infos)
}

// A Source reads the closure and the file trees of store paths. Implementations
// are safe for concurrent use.
type Source interface {
	// Closure returns the closure of roots.
	Closure(ctx context.Context, roots []StorePath) (*Closure, error)

	// Tree calls v for every entry of info.Path's file tree in NAR order. It
	// does not check info.NarHash. So callers should use [Walk], which checks it.
	// Callers may call Tree several times, and each call visits the same entries.
	Tree(ctx context.Context, info *Info, v nar.Visitor) error
}
