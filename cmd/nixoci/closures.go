package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/systems"
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
	sources      bool                         // find the source of each argument that Nix builds, for the provenance
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

// systems returns the systems that the CLOSURE arguments name, one for each platform. reader has
// the settings of the image. If this machine's cache or a trusted registry has a record of a
// system, systems opens no file in the store.
func (a *app) systems(ctx context.Context, args []string, f *closureFlags, img *imageFlags, reader *systems.Reader) ([]*manifest.System, error) {
	if _, err := f.planFlags.options(); err != nil { // a wrong flag is reported before anything is built
		return nil, err
	}
	init, err := img.init.choice()
	if err != nil {
		return nil, err
	}
	choices, err := img.application.choices()
	if err != nil {
		return nil, err
	}
	resolved, err := a.closures(ctx, args, f)
	if err != nil {
		return nil, err
	}
	platforms, err := a.parsePlatforms()
	if err != nil {
		return nil, err
	}
	contents, err := reader.Contents(ctx, resolved, platforms)
	if err != nil {
		return nil, err
	}
	if err := f.base.checkContents(contents); err != nil {
		return nil, err
	}
	if err := img.application.checkContents(contents, &img.init); err != nil {
		return nil, err
	}
	all, err := reader.Systems(ctx, contents, choices)
	if err != nil {
		return nil, err
	}
	if all, err = a.selectPlatforms(all, platforms); err != nil {
		return nil, err
	}
	all, noInit, err := reader.Finish(ctx, all, init)
	for _, p := range noInit {
		a.log.Warnf("nixoci has no nixoci-init for %s: /sbin/init of the image links to the system's own init", manifest.FormatPlatform(p))
	}
	return all, err
}

// plan plans the layers of each system.
func (a *app) plan(ctx context.Context, systems []*manifest.System, f *planFlags, previous *previousImage) ([]push.PlannedSystem, error) {
	planner, err := a.newPlanner(ctx, f, previous)
	if err != nil {
		return nil, err
	}
	return push.Plan(planner, systems)
}

// systemReader returns the reader for the systems of an image. base is nil if there is no base
// image.
func (a *app) systemReader(opts *push.Options, base *systems.BaseImage) *systems.Reader {
	return &systems.Reader{Cache: opts.Cache, Signed: opts.SignedFacts, Settings: opts.Settings, Base: base}
}

// selectPlatforms returns the systems for the platforms of --platform. Without this flag it returns
// all systems.
func (a *app) selectPlatforms(all []*manifest.System, platforms []ocispec.Platform) ([]*manifest.System, error) {
	if len(platforms) == 0 {
		return all, nil
	}
	var selected []*manifest.System
	for k, p := range platforms {
		i := slices.IndexFunc(all, func(s *manifest.System) bool { return manifest.SamePlatform(s.Platform, p) })
		if i < 0 {
			var names []string
			for _, s := range all {
				names = append(names, manifest.FormatPlatform(s.Platform))
			}
			return nil, usageError{hint.Add(fmt.Errorf("--platform %s: no closure is for this platform", a.platforms[k]), "closures are for "+strings.Join(names, ", "))}
		}
		selected = append(selected, all[i])
	}
	return selected, nil
}

// closures returns the closures that the CLOSURE arguments name. Without arguments, it takes
// ./result and ./result-*, and if there are none, the base system.
func (a *app) closures(ctx context.Context, args []string, f *closureFlags) ([]systems.Resolved, error) {
	return a.resolve(ctx, args, f, (*systems.Resolver).Resolve)
}

// graphs does the same as closures, but reads only the graphs of graph files.
func (a *app) graphs(ctx context.Context, args []string, f *closureFlags) ([]systems.Resolved, error) {
	return a.resolve(ctx, args, f, (*systems.Resolver).ResolveGraphs)
}

func (a *app) resolve(ctx context.Context, args []string, f *closureFlags, resolve func(*systems.Resolver, context.Context, []string) ([]systems.Resolved, error)) ([]systems.Resolved, error) {
	for _, arg := range args {
		if err := checkClosureFile(arg); err != nil {
			return nil, err
		}
	}
	r, err := a.resolver(f)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		if args, err = systems.ResultLinks(); err != nil {
			return nil, err
		}
		if len(args) == 0 && !a.quiet {
			a.stderr.Printf("no CLOSURE given, and no NixOS system at ./result: building %s\n", systems.BaseSystem)
		}
	}
	resolved, err := resolve(r, ctx, args)
	if _, ok := errors.AsType[*systems.NoSystemError](err); ok {
		err = usageError{err}
	}
	for _, in := range resolved {
		if in.Built != nil {
			a.built[in.Built.Path] = in.Built
		}
	}
	return resolved, err
}

// resolver returns the resolver for CLOSURE arguments.
func (a *app) resolver(f *closureFlags) (*systems.Resolver, error) {
	platforms, err := a.parsePlatforms()
	if err != nil {
		return nil, err
	}
	nix, err := a.openNix(f)
	if err != nil {
		return nil, err
	}
	caches, err := a.cacheOptions(f)
	if err != nil {
		return nil, err
	}
	return &systems.Resolver{From: a.from, Caches: caches, Nix: nix, Platforms: platforms, Programs: f.programs}, nil
}

// readClosure returns what the single CLOSURE argument names.
func (a *app) readClosure(ctx context.Context, args []string, f *reading) (systems.Content, error) {
	resolved, err := a.closures(ctx, args, &f.closure)
	if err != nil {
		return systems.Content{}, err
	}
	contents, err := a.look(ctx, resolved)
	if err == nil && len(contents) != 1 {
		err = usagef("found %d closures here: name one", len(contents))
	}
	if err != nil {
		return systems.Content{}, err
	}
	return contents[0], nil
}

// look returns the contents of an image of these closures, for commands that make no image.
func (a *app) look(ctx context.Context, resolved []systems.Resolved) ([]systems.Content, error) {
	platforms, err := a.parsePlatforms()
	if err != nil {
		return nil, err
	}
	reader := systems.Reader{Cache: a.cache, Debug: func(err error) { a.log.Debug(err) }}
	return reader.Look(ctx, resolved, platforms), nil
}

// askForClosure returns an error if no CLOSURE is given and ./result is not a NixOS system.
// Commands that only read call it. Without it, they would have to build the base system
// first.
func (a *app) askForClosure(args []string, command string) error {
	if len(args) > 0 {
		return nil
	}
	found, err := systems.ResultLinks()
	if err != nil || len(found) > 0 {
		return err
	}
	return usageError{hint.Add(fmt.Errorf("%s: CLOSURE is missing, and there is no NixOS system at ./result", strings.TrimPrefix(command, "nixoci ")),
		fmt.Sprintf("name one: %s .#web, or %s nginx.nix, or a graph file (nix path-info --json -r)", command, command))}
}

// cacheOptions returns the options for reading the binary caches of --from.
func (a *app) cacheOptions(f *closureFlags) (closure.CacheOptions, error) {
	o := closure.CacheOptions{NoSignatures: f.noSignatures, MinSpeed: a.leastSpeed(), Retry: retrySchedule}
	var err error
	if o.Keys, err = a.trustedKeys(f); err != nil {
		return o, err
	}
	if a.cache != nil {
		o.NarinfoDir = filepath.Join(a.cache.Dir(), "narinfo")
	}
	return o, nil
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
