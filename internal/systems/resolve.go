package systems

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// BaseSystem is the name that messages use for the NixOS system that nixoci ships.
const BaseSystem = "the base system"

// Resolver finds the closures that CLOSURE arguments name. If an argument names something that is
// not built yet, Nix builds it.
type Resolver struct {
	From      []string                     // the values of --from
	Caches    closure.CacheOptions         // how to read the binary caches in From
	Nix       *nixbuild.Nix                // builds into the first local store of From
	Platforms []ocispec.Platform           // the platforms to build for; if it is empty, the flake or this machine decides
	Programs  map[closure.StorePath]string // the program that starts, for closures that Nix does not build

	source closure.Source // the source for From; nil until an argument needs it, see open
}

// open opens From at the first call. Resolve calls it only for arguments that need it, because Nix
// creates its store at the first build.
func (r *Resolver) open() (closure.Source, error) {
	if r.source != nil {
		return r.source, nil
	}
	src, err := closure.Open(r.From, r.Caches)
	if err != nil {
		if len(r.From) == 0 {
			err = hint.Add(err, "on a machine without Nix, name a binary cache: --from https://cache.nixos.org")
		}
		return nil, err
	}
	r.source = src
	return src, nil
}

// Resolved describes a resolved CLOSURE argument: its closure, and the source of the files.
type Resolved struct {
	Arg      string            // the argument, with SYSTEM= in front if Nix built the argument for several systems
	System   string            // the system that the argument states, or for which Nix built it; otherwise ""
	Toplevel closure.StorePath // the root of the closure; "" if the closure has several roots
	Closure  *closure.Closure
	Source   closure.Source
	Program  string          // name of the program that starts; "" if neither the package nor the user names it
	Built    *nixbuild.Built // how Nix built the argument; nil if Nix did not build it
}

// NoSystemError reports a platform for which Nix has no system.
type NoSystemError struct{ Platform ocispec.Platform }

func (e *NoSystemError) Error() string {
	return fmt.Sprintf("--platform: Nix has no system for %s/%s", e.Platform.OS, e.Platform.Architecture)
}

// Resolve returns the closures that the arguments name. Without arguments, it builds the base system.
func (r *Resolver) Resolve(ctx context.Context, args []string) ([]Resolved, error) {
	if len(args) == 0 {
		return r.build(ctx, BaseSystem, nixbuild.Argument{})
	}
	return r.resolveEach(args, func(arg string, target nixbuild.Argument) ([]Resolved, error) {
		return r.resolve(ctx, arg, target)
	})
}

// ResolveGraphs does the same as Resolve, for commands that read no store files. A graph file may
// then have several roots, and needs no store.
func (r *Resolver) ResolveGraphs(ctx context.Context, args []string) ([]Resolved, error) {
	if len(args) == 0 {
		return r.Resolve(ctx, args)
	}
	return r.resolveEach(args, func(arg string, target nixbuild.Argument) ([]Resolved, error) {
		if target.Graph == "" {
			return r.resolve(ctx, arg, target)
		}
		g, err := closure.OpenGraphShape(target.Graph, closure.LocalRoot(r.From))
		if err != nil {
			return nil, err
		}
		in := Resolved{Arg: arg, System: target.System, Source: g}
		if roots := g.Roots(); len(roots) == 1 {
			in.Toplevel = roots[0]
		}
		in.Closure, err = g.Closure(ctx, g.Roots())
		return []Resolved{in}, err
	})
}

// resolveEach calls read for each argument and returns all results, in the order of the arguments.
func (r *Resolver) resolveEach(args []string, read func(string, nixbuild.Argument) ([]Resolved, error)) (all []Resolved, err error) {
	for _, arg := range args {
		target, err := nixbuild.Resolve(arg, closure.LocalRoot(r.From))
		if err != nil {
			return nil, err
		}
		resolved, err := read(arg, target)
		if err != nil {
			return nil, err
		}
		all = append(all, resolved...)
	}
	return all, nil
}

// resolve returns the closure of one argument, or one closure for each system if Nix builds it.
func (r *Resolver) resolve(ctx context.Context, arg string, target nixbuild.Argument) ([]Resolved, error) {
	if target.ToBuild() {
		return r.build(ctx, arg, target)
	}
	var src closure.Source
	// A graph file contains its own source. With --from, resolve still opens it, so that a wrong
	// value causes an error.
	if target.Graph == "" || len(r.From) > 0 {
		var err error
		if src, err = r.open(); err != nil {
			return nil, err
		}
	}
	in, err := readGraph(ctx, arg, target, src, closure.LocalRoot(r.From))
	in.Program = r.Programs[in.Toplevel]
	return []Resolved{in}, err
}

// readGraph reads the graph of a target that is already built.
func readGraph(ctx context.Context, arg string, target nixbuild.Argument, src closure.Source, root string) (in Resolved, err error) {
	in = Resolved{Arg: arg, System: target.System, Toplevel: target.Path, Source: src}
	roots := []closure.StorePath{target.Path}
	if target.Graph != "" {
		g, err := closure.OpenGraph(target.Graph, root)
		if err != nil {
			return Resolved{}, fmt.Errorf("closure %q: %w", arg, err)
		}
		in.Source, roots = g, g.Roots()
		if len(roots) != 1 {
			return Resolved{}, hint.Add(fmt.Errorf("closure %q: %d paths that no other path refers to; which one is the system?", arg, len(roots)),
				"make the graph of one toplevel: nix path-info --json -r ./result")
		}
		in.Toplevel = roots[0]
	}
	if in.Closure, err = in.Source.Closure(ctx, roots); err != nil {
		return Resolved{}, fmt.Errorf("closure %q: %w", arg, err)
	}
	return in, nil
}

// build runs Nix to build target for each platform, and reads the graphs of the results.
func (r *Resolver) build(ctx context.Context, arg string, target nixbuild.Argument) ([]Resolved, error) {
	systems, err := r.systemsOf(target)
	if err != nil {
		return nil, err
	}
	built, err := r.Nix.Build(ctx, target, systems)
	if err != nil {
		return nil, fmt.Errorf("closure %q: %w", arg, err)
	}
	// The results are in the local store, even if --from names binary caches.
	src, err := closure.OpenLocal(r.Nix.Store)
	if err != nil {
		return nil, err
	}
	var resolved []Resolved
	for i, b := range built {
		name := arg
		if len(built) > 1 {
			name = b.System + "=" + arg
		}
		in, err := readGraph(ctx, name, nixbuild.Argument{System: b.System, Path: b.Path}, src, r.Nix.Store)
		if err != nil {
			return nil, err
		}
		in.Program, in.Built = b.Program, &built[i]
		resolved = append(resolved, in)
	}
	return resolved, nil
}

// systemsOf returns the systems for which Nix must build target. A system in the argument has
// priority over r.Platforms. If neither is given, a flake decides itself, and systemsOf returns nil.
// For other arguments, it returns the system of this machine.
func (r *Resolver) systemsOf(target nixbuild.Argument) ([]string, error) {
	if target.System != "" {
		return []string{target.System}, nil
	}
	platforms := r.Platforms
	if len(platforms) == 0 {
		if target.Flake != "" {
			return nil, nil
		}
		platforms = []ocispec.Platform{{OS: "linux", Architecture: runtime.GOARCH}}
	}
	var systems []string
	for _, p := range platforms {
		system, ok := closure.NixSystem(p)
		if !ok {
			return nil, hint.Add(&NoSystemError{p}, "use for instance linux/amd64,linux/arm64")
		}
		systems = append(systems, system)
	}
	return systems, nil
}

// ResultLinks returns the links ./result and ./result-*, which nix build makes, if they point to
// NixOS systems.
func ResultLinks() ([]string, error) {
	more, err := filepath.Glob("result-*")
	if err != nil {
		return nil, err
	}
	slices.Sort(more)
	var found []string
	for _, name := range append([]string{"result"}, more...) {
		if st, err := os.Lstat(name); err != nil || st.Mode()&os.ModeSymlink == 0 {
			continue
		}
		if _, err := os.Stat(filepath.Join(name, "nixos-version")); err == nil {
			found = append(found, "./"+name)
		}
	}
	return found, nil
}
