package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// baseSystem is the name that messages use for nixoci's own NixOS system.
const baseSystem = "the base system"

// buildTarget runs Nix to build target for every requested platform, and reads the graphs of
// the results.
func (a *app) buildTarget(ctx context.Context, arg string, target nixbuild.Argument, f *closureFlags) ([]input, error) {
	systems, err := a.buildSystems(target)
	if err != nil {
		return nil, err
	}
	if target == (nixbuild.Argument{}) && !a.quiet {
		a.stderr.Printf("no CLOSURE given, and no NixOS system at ./result: building %s\n", baseSystem)
	}
	nix, err := a.openNix(f)
	if err != nil {
		return nil, err
	}
	built, err := nix.Build(ctx, target, systems)
	if err != nil {
		return nil, fmt.Errorf("closure %q: %w", arg, err)
	}
	// The results are in the local store, even if --from names binary caches.
	src, err := closure.OpenLocal(nix.Store)
	if err != nil {
		return nil, err
	}
	var inputs []input
	for i, b := range built {
		a.built[b.Path] = &built[i]
		name := arg
		if len(built) > 1 {
			name = b.System + "=" + arg
		}
		in, err := a.input(ctx, name, nixbuild.Argument{System: b.System, Path: b.Path}, src, nix.Store)
		if err != nil {
			return nil, err
		}
		in.program = b.Program
		inputs = append(inputs, in)
	}
	return inputs, nil
}

// openNix returns the Nix that builds and evaluates. It uses the store that --from names.
func (a *app) openNix(f *closureFlags) (*nixbuild.Nix, error) {
	root, err := filepath.Abs(closure.LocalRoot(a.from))
	if err != nil {
		return nil, err
	}
	if a.nix == nil {
		a.nix = &nixbuild.Nix{Flake: nixoci.Flake, Store: root, Nixpkgs: nixpkgs(f.nixpkgs), Answers: a.stdin, Verbose: a.verbose, Sources: a.sources}
		if !a.quiet {
			a.nix.Progress = a.stderr.Raw() // Nix itself draws its progress
		}
	}
	return a.nix, nil
}

// buildSystems returns the systems for which Nix must build target: the system in the
// argument, else the systems of --platform, else the system of this machine. For a flake
// without a system in the argument and without --platform, it returns nil: then the flake
// decides.
func (a *app) buildSystems(target nixbuild.Argument) ([]string, error) {
	if target.System != "" {
		return []string{target.System}, nil
	}
	platforms, err := a.parsePlatforms()
	if err != nil {
		return nil, err
	}
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
			return nil, usageError{hint.Add(fmt.Errorf("--platform: Nix has no system for %s/%s", p.OS, p.Architecture), "use for instance linux/amd64,linux/arm64")}
		}
		systems = append(systems, system)
	}
	return systems, nil
}

// nixpkgs returns the value of --nixpkgs as a flake reference. If arg names an existing
// directory, it returns that directory.
func nixpkgs(arg string) string {
	if arg == "" || filepath.IsAbs(arg) {
		return arg
	}
	if st, err := os.Stat(arg); err == nil && st.IsDir() {
		if abs, err := filepath.Abs(arg); err == nil {
			return abs
		}
	}
	return arg
}
