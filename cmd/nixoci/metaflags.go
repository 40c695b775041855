package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/systems"
)

// metaFlags holds the flags that ask for the metadata of packages in nixpkgs.
type metaFlags struct {
	own  bool     // evaluate the CLOSURE arguments for the metadata
	from []string // also evaluate these flake outputs and NixOS configurations
}

func (m *metaFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&m.own, "meta", false, "evaluate each CLOSURE, which must be a flake output or a NixOS configuration, for licences, homepages, CPEs, maintainers and patches")
	f.StringArrayVar(&m.from, "meta-from", nil, "like --meta, but evaluate this flake output or NixOS configuration, from which the image or the store path was built; can be repeated")
}

func (m *metaFlags) given() bool { return m.own || len(m.from) > 0 }

// sources parses the values of --meta-from.
func (m *metaFlags) sources(root string) (all []nixbuild.Argument, err error) {
	for _, from := range m.from {
		target, err := evaluable("--meta-from "+from, from, root)
		if err != nil {
			return nil, err
		}
		all = append(all, target)
	}
	return all, nil
}

// check returns an error if Nix cannot evaluate what the flags and the CLOSURE arguments name.
// Commands call it before they build or push anything.
func (m *metaFlags) check(args []string, root string) error {
	if _, err := m.sources(root); err != nil || !m.own {
		return err
	}
	if len(args) == 0 {
		var err error
		if args, err = systems.ResultLinks(); err != nil {
			return err
		}
	}
	for _, arg := range args {
		// With --meta-from, a CLOSURE may also be a store path, because --meta-from names its source.
		if _, err := evaluable("--meta", arg, root); err != nil && len(m.from) == 0 {
			return err
		}
	}
	return nil
}

// evaluable parses what, which must name a flake output or a NixOS configuration. flag is the
// flag that requires this.
func evaluable(flag, what, root string) (nixbuild.Argument, error) {
	target, err := nixbuild.Resolve(what, root)
	if err != nil && !isClosure(what) || err == nil && !target.ToBuild() {
		err = fmt.Errorf("%s is neither a flake output nor a NixOS configuration, and only these can be evaluated", what)
	}
	if err != nil {
		return target, usageError{hint.Add(fmt.Errorf("%s: %w", flag, err), "name the source that it was built from: --meta-from .#web, or --meta-from nginx.nix")}
	}
	return target, nil
}

// packageMeta returns the metadata of the packages of c in nixpkgs, or nil if the flags do not ask
// for it. With --meta, it evaluates the arguments from which this run has built the roots of
// c. system is the platform of c, in the form that reports use.
func (a *app) packageMeta(ctx context.Context, m *metaFlags, f *closureFlags, c *closure.Closure, system string) (nixbuild.PackageMeta, error) {
	if !m.given() {
		return nil, nil
	}
	targets, err := m.sources(closure.LocalRoot(a.from))
	if err != nil {
		return nil, err
	}
	for _, root := range c.Roots {
		if built := a.built[root]; m.own && built != nil && !slices.Contains(targets, built.Argument) {
			targets = append(targets, built.Argument)
		}
	}
	nix, err := a.openNix(f)
	if err != nil {
		return nil, err
	}
	if strings.Contains(system, "/") {
		system = "" // an OCI platform
	}
	all, err := nix.Meta(ctx, targets, c, system)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		a.log.Warnf("--meta: the evaluation has none of the %d store paths; is it the same configuration?", len(c.Paths))
	}
	a.log.Debugf("nixpkgs describes %d of %d store paths", len(all), len(c.Paths))
	return all, nil
}

// packageMetaOf returns the metadata of each image's packages, by toplevel. A push calls it before it
// sends anything, because an evaluation may fail.
func (a *app) packageMetaOf(ctx context.Context, images []push.PlannedSystem, m *metaFlags, f *closureFlags) (map[closure.StorePath]nixbuild.PackageMeta, error) {
	all := map[closure.StorePath]nixbuild.PackageMeta{}
	for _, image := range images {
		sys := image.System
		if _, ok := all[sys.Toplevel]; ok {
			continue
		}
		system, _ := closure.NixSystem(sys.Platform)
		var err error
		if all[sys.Toplevel], err = a.packageMeta(ctx, m, f, sys.Closure, system); err != nil {
			return nil, err
		}
	}
	return all, nil
}
