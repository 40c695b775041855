package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/push"
)

// closureFlags holds the flags that decide what goes into an image and how the content is
// divided into layers.
type closureFlags struct {
	keys         []string
	noSignatures bool
	nixpkgs      string
	spec         specFlag
	base         baseFlag
	programs     map[closure.StorePath]string // main program of each closure, as --spec lists it
	planFlags
}

// add adds all closure flags. r holds the registry flags of the command: nixoci needs them to
// read the images that --plan and --plan-from name.
func (c *closureFlags) add(f *pflag.FlagSet, r *registryFlags) {
	c.addTrust(f)
	c.addPlan(f)
	c.planFlags.registry = r
}

// addTrust adds only the flags for reading closures. Commands that make no image call
// addTrust instead of add.
func (c *closureFlags) addTrust(f *pflag.FlagSet) {
	f.StringArrayVar(&c.keys, "trusted-public-key", nil, "another public key of binary caches to trust, in addition to the keys of nix.conf (cache.nixos.org-1 by default); can be repeated")
	f.BoolVar(&c.noSignatures, "no-require-signatures", false, "accept unsigned paths from binary caches")
	f.StringVar(&c.nixpkgs, "nixpkgs", "", "build with this nixpkgs (directory or flake reference) instead of the locked one")
}

// input describes one CLOSURE argument with its graph.
type input struct {
	arg      string
	system   string // SYSTEM in an argument of the form SYSTEM=CLOSURE; otherwise ""
	toplevel closure.StorePath
	closure  *closure.Closure
	source   closure.Source
	program  string // meta.mainProgram of the package that Nix built; "" if there is none
}

// images resolves the CLOSURE arguments, reads their graphs, and plans the layers. If this
// machine's cache or a trusted registry has a record of the system, images opens no file in
// the store.
func (a *app) images(ctx context.Context, args []string, f *closureFlags, job push.Job, img *imageFlags) ([]push.PlannedSystem, error) {
	init, err := img.init.choice()
	if err != nil {
		return nil, err
	}
	choices, err := img.application.choices()
	if err != nil {
		return nil, err
	}
	inputs, err := a.inputs(ctx, args, f)
	if err != nil {
		return nil, err
	}
	subjects, err := a.subjects(ctx, inputs, &job)
	if err != nil {
		return nil, err
	}
	if err := checkBase(subjects, &f.base); err != nil {
		return nil, err
	}
	if err := checkApplicationFlags(subjects, img); err != nil {
		return nil, err
	}
	var systems []*manifest.System
	for _, s := range subjects {
		var sys *manifest.System
		if s.isApplication() {
			sys, err = s.makeApplication(ctx, choices, &job)
		} else {
			sys, err = a.system(ctx, s.input, &job)
		}
		if err != nil {
			return nil, fmt.Errorf("closure %s: %w", s.arg, err)
		}
		systems = append(systems, sys)
	}
	if err := manifest.CheckPlatforms(systems); err != nil {
		return nil, err
	}
	if systems, err = a.selectPlatforms(systems); err != nil {
		return nil, err
	}
	for i, sys := range systems {
		if sys.App != nil {
			if systems[i], err = onBase(ctx, sys, &job); err != nil {
				return nil, err
			}
			continue
		}
		program, err := init.For(sys.Platform)
		if err != nil {
			return nil, err
		}
		if program == nil && !init.None {
			a.log.Warnf("nixoci has no nixoci-init for %s: /sbin/init of the image links to the system's own init", manifest.FormatPlatform(sys.Platform))
		}
		systems[i] = sys.In(manifest.CurrentFormat, program)
	}
	return a.plans(ctx, systems, f)
}

// onBase puts an application on the base image of the job. If the job has no base image,
// onBase returns sys unchanged.
func onBase(ctx context.Context, sys *manifest.System, job *push.Job) (*manifest.System, error) {
	if job.Base == nil {
		return sys, nil
	}
	base, err := job.Base.For(ctx, job.Cache, sys.Platform)
	if err != nil {
		return nil, err
	}
	return sys.On(base), nil
}

// plans plans the layers of each system.
func (a *app) plans(ctx context.Context, systems []*manifest.System, f *closureFlags) ([]push.PlannedSystem, error) {
	planner, err := a.newPlanner(ctx, &f.planFlags)
	if err != nil {
		return nil, err
	}
	var images []push.PlannedSystem
	for _, sys := range systems {
		planner, err := aboveBase(planner, sys.Base)
		if err != nil {
			return nil, err
		}
		plan, continues, err := planner.Plan(sys.Closure, manifest.FormatPlatform(sys.Platform), configuration(sys)...)
		if err != nil {
			return nil, err
		}
		images = append(images, push.PlannedSystem{System: sys.Continuing(continues), Plan: plan})
	}
	return images, nil
}

// configuration returns the paths that change with every update of sys. For an application,
// this is the application itself. For a NixOS system, configuration returns nil, because the
// planner finds these paths by their names.
func configuration(sys *manifest.System) []closure.StorePath {
	if sys.App == nil {
		return nil
	}
	return sys.App.Roots[:1]
}

// system reads the NixOS system of one CLOSURE.
func (a *app) system(ctx context.Context, in input, job *push.Job) (*manifest.System, error) {
	facts, err := job.Facts(ctx, in.source, in.closure, in.toplevel)
	if err != nil {
		return nil, err
	}
	return manifest.NewSystem(in.source, in.closure, in.toplevel, in.system, facts)
}

// selectPlatforms returns the systems for the platforms of --platform. Without this flag it
// returns all systems.
func (a *app) selectPlatforms(systems []*manifest.System) ([]*manifest.System, error) {
	if len(a.platforms) == 0 {
		return systems, nil
	}
	var kept []*manifest.System
	for _, name := range a.platforms {
		p, err := manifest.ParsePlatform(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--platform: %w", err)}
		}
		i := slices.IndexFunc(systems, func(s *manifest.System) bool { return manifest.SamePlatform(s.Platform, p) })
		if i < 0 {
			return nil, usageError{hint.Add(fmt.Errorf("--platform %s: no closure is for this platform", name), "closures are for "+platformNames(systems))}
		}
		kept = append(kept, systems[i])
	}
	return kept, nil
}

func platformNames(systems []*manifest.System) string {
	var names []string
	for _, s := range systems {
		names = append(names, manifest.FormatPlatform(s.Platform))
	}
	return strings.Join(names, ", ")
}

// inputs resolves the CLOSURE arguments and reads their graphs. If an argument names a target
// that does not exist yet, Nix builds it first.
func (a *app) inputs(ctx context.Context, args []string, f *closureFlags) ([]input, error) {
	if len(args) == 0 {
		var err error
		if args, err = resultLinks(); err != nil {
			return nil, err
		}
		if len(args) == 0 {
			return a.buildTarget(ctx, baseSystem, nixbuild.Argument{}, f)
		}
	}
	var inputs []input
	var src closure.Source // opened only when an argument needs the source, because Nix creates its store at the first build
	root := closure.LocalRoot(a.from)
	for _, arg := range args {
		if err := checkClosureFile(arg); err != nil {
			return nil, err
		}
		target, err := nixbuild.Resolve(arg, root)
		if err != nil {
			return nil, err
		}
		if target.ToBuild() {
			built, err := a.buildTarget(ctx, arg, target, f)
			if err != nil {
				return nil, err
			}
			inputs = append(inputs, built...)
			continue
		}
		// A graph file contains its own source. inputs still opens --from, so that a wrong
		// value causes an error.
		if src == nil && (target.Graph == "" || len(a.from) > 0) {
			if src, err = a.source(f); err != nil {
				return nil, err
			}
		}
		in, err := a.input(ctx, arg, target, src, root)
		if err != nil {
			return nil, err
		}
		in.program = f.programs[in.toplevel]
		inputs = append(inputs, in)
	}
	return inputs, nil
}

// input reads the graph of a target that already exists.
func (a *app) input(ctx context.Context, arg string, target nixbuild.Argument, src closure.Source, root string) (in input, err error) {
	in = input{arg: arg, system: target.System, toplevel: target.Path, source: src}
	roots := []closure.StorePath{target.Path}
	if target.Graph != "" {
		g, err := closure.OpenGraph(target.Graph, root)
		if err != nil {
			return input{}, fmt.Errorf("closure %q: %w", arg, err)
		}
		in.source, roots = g, g.Roots()
		if len(roots) != 1 {
			return input{}, hint.Add(fmt.Errorf("closure %q: %d paths that no other path refers to; which one is the system?", arg, len(roots)),
				"make the graph of one toplevel: nix path-info --json -r ./result")
		}
		in.toplevel = roots[0]
	}
	if in.closure, err = in.source.Closure(ctx, roots); err != nil {
		return input{}, fmt.Errorf("closure %q: %w", arg, err)
	}
	return in, nil
}

// resultLinks returns the links ./result and ./result-*, which nix build makes, if they point
// to NixOS systems.
func resultLinks() ([]string, error) {
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

// askForClosure returns an error if no CLOSURE is given and ./result is not a NixOS system.
// Commands that only read call it. Without it, they would have to build the base system
// first.
func (a *app) askForClosure(args []string, command string) error {
	if len(args) > 0 {
		return nil
	}
	found, err := resultLinks()
	if err != nil || len(found) > 0 {
		return err
	}
	return usageError{hint.Add(fmt.Errorf("%s: CLOSURE is missing, and there is no NixOS system at ./result", strings.TrimPrefix(command, "nixoci ")),
		fmt.Sprintf("name one: %s .#web, or %s nginx.nix, or a graph file (nix path-info --json -r)", command, command))}
}

// source opens the source from which store paths are read, as --from names it.
func (a *app) source(f *closureFlags) (closure.Source, error) {
	o := closure.CacheOptions{NoSignatures: f.noSignatures, MinSpeed: a.leastSpeed(), Retry: retryPolicy}
	var err error
	if o.Keys, err = a.trustedKeys(f); err != nil {
		return nil, err
	}
	if a.cache != nil {
		o.NarinfoDir = filepath.Join(a.cache.Dir(), "narinfo")
	}
	src, err := closure.Open(a.from, o)
	if err != nil && len(a.from) == 0 {
		err = hint.Add(err, "on a machine without Nix, name a binary cache: --from https://cache.nixos.org")
	}
	return src, err
}

// trustedKeys returns the keys of nix.conf and of --trusted-public-key.
func (a *app) trustedKeys(f *closureFlags) (closure.TrustedKeys, error) {
	keys, err := closure.NixConfigKeys()
	if err != nil {
		a.log.Warnf("trusting only the key cache.nixos.org-1: %v", err)
		keys = []string{closure.DefaultPublicKey}
	}
	trusted, err := closure.NewTrustedKeys(append(keys, f.keys...)...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--trusted-public-key: %w", err)}
	}
	return trusted, nil
}
