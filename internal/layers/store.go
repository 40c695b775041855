package layers

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// Store describes the layer with these store paths. All of them must be in c, and src must be
// able to read them. [Packer.Pack] checks the narHash of every path. If a narHash does not
// match, the error of Pack wraps [closure.HashMismatchError].
func Store(c *closure.Closure, src closure.Source, paths []closure.StorePath, comp Compression) (*Layer, error) {
	paths = slices.Clone(paths)
	slices.Sort(paths)
	if len(slices.Compact(slices.Clone(paths))) != len(paths) || len(paths) == 0 {
		return nil, fmt.Errorf("make layer: %d store paths, some of them twice", len(paths))
	}
	infos := make([]closure.Info, len(paths))
	var size int64
	for i, p := range paths {
		info := c.Info(p)
		if info == nil {
			return nil, fmt.Errorf("make layer: %s: %w", p, closure.ErrMissingReference)
		}
		infos[i] = *info
		size += info.NarSize
	}
	return &Layer{
		Recipe:      NewRecipe(comp, infos),
		Paths:       paths,
		Size:        size,
		Compression: comp,
		Comment:     storeComment(paths),
		Annotations: map[string]string{AnnotationPaths: recordPaths(paths)},
		Content: func(ctx context.Context, w *TarWriter) error {
			if err := w.storeRoot(); err != nil {
				return err
			}
			defer closure.Prefetch(ctx, src, infos)()
			for i := range infos {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				v := storeVisitor{w: w, root: strings.TrimPrefix(string(infos[i].Path), "/")}
				if err := w.walk(ctx, src, &infos[i], v); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// walk writes the tree of a store path through v, which must write to w. If w belongs to a
// packer, the packer checks the narHash later. Otherwise walk checks it.
func (w *TarWriter) walk(ctx context.Context, src closure.Source, info *closure.Info, v storeVisitor) error {
	if w.nars == nil {
		return closure.Walk(ctx, src, info, v)
	}
	return closure.WalkInto(ctx, src, info, v, w.nars)
}

// storeRoot writes the directories nix and nix/store, with which every layer of store paths
// begins.
func (w *TarWriter) storeRoot() error {
	if err := w.Directory("nix", modeStoreDir); err != nil {
		return err
	}
	return w.Directory("nix/store", modeStoreDir)
}

// storeComment returns a comment for docker history with the names of the layer's paths.
func storeComment(paths []closure.StorePath) string {
	const most = 3
	var names []string
	for _, p := range paths[:min(len(paths), most)] {
		names = append(names, p.Name())
	}
	s := strings.Join(names, " ")
	if more := len(paths) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// storeVisitor writes the tree of one store path as tar entries.
type storeVisitor struct {
	w    *TarWriter
	root string // "nix/store/<base>"
}

func (v storeVisitor) name(name string) string {
	if name == "" {
		return v.root
	}
	return v.root + "/" + name
}

func (v storeVisitor) Directory(name string) error {
	return v.w.Directory(v.name(name), modeDirectory)
}

func (v storeVisitor) Symlink(name, target string) error {
	return v.w.Symlink(v.name(name), target)
}

func (v storeVisitor) File(name string, executable bool, size int64, content io.Reader) error {
	mode := int64(modeFile)
	if executable {
		mode = modeExec
	}
	return v.w.File(v.name(name), mode, size, content)
}
