package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/report"
)

// metaFlags holds the flags that ask for the metadata of packages in nixpkgs.
type metaFlags struct {
	own  bool   // read the metadata from the flake output that CLOSURE names
	from string // or read it from this flake output
}

func (m *metaFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&m.own, "meta", false, "evaluate the CLOSURE, which must be a flake output, for licences, homepages, CPEs, maintainers and patches")
	f.StringVar(&m.from, "meta-from", "", "like --meta, but evaluate this flake output, from which the image or the store path was built")
}

func (m *metaFlags) given() bool { return m.own || m.from != "" }

// target returns the flake output that Nix must evaluate, for a command with these CLOSURE
// arguments.
func (m *metaFlags) target(args []string, root string) (nixbuild.Argument, error) {
	what, flag := m.from, "--meta-from "+m.from
	help := "name a flake output, such as .#web"
	if what == "" {
		flag, help = "--meta", "name the flake output that it was built from: --meta-from .#web"
		if len(args) != 1 {
			return nixbuild.Argument{}, usageError{hint.Add(errors.New("--meta: it needs one CLOSURE, which is a flake output"), help)}
		}
		what = args[0]
	}
	target, err := nixbuild.Resolve(what, root)
	if err == nil && target.Flake == "" {
		err = fmt.Errorf("%s is not a flake output, so nothing says what its packages are", what)
	}
	if err != nil {
		return target, usageError{hint.Add(fmt.Errorf("%s: %w", flag, err), help)}
	}
	return target, nil
}

// meta returns the metadata of the packages of c in nixpkgs, or nil if the flags do not ask
// for it. system is the platform of c, in the form that reports use.
func (a *app) meta(ctx context.Context, m *metaFlags, args []string, f *closureFlags, c *closure.Closure, system string) (map[closure.StorePath]*nixbuild.Meta, error) {
	if !m.given() {
		return nil, nil
	}
	target, err := m.target(args, closure.LocalRoot(a.from))
	if err != nil {
		return nil, err
	}
	nix, err := a.openNix(f)
	if err != nil {
		return nil, err
	}
	if target.System != "" {
		system = target.System
	}
	if strings.Contains(system, "/") {
		system = ""
	}
	var names []string
	for i := range c.Paths {
		names = append(names, report.PackageOf(c.Paths[i].Path).Name)
	}
	slices.Sort(names)
	all, err := nix.Meta(ctx, target, slices.Compact(names), system)
	if err != nil {
		return nil, err
	}
	known := 0
	for i := range c.Paths {
		if all[c.Paths[i].Path] != nil {
			known++
		}
	}
	if known == 0 {
		a.log.Warnf("--meta: the evaluation has none of the %d store paths; is it the same configuration?", len(c.Paths))
	}
	a.log.Debugf("nixpkgs describes %d of %d store paths", known, len(c.Paths))
	return all, nil
}

// metaOf does the same as meta, for a system that is pushed. It runs Nix once for each
// system.
func (a *app) metaOf(ctx context.Context, m *metaFlags, args []string, f *closureFlags, sys *manifest.System) (map[closure.StorePath]*nixbuild.Meta, error) {
	if known, ok := a.metas[sys.Toplevel]; ok {
		return known, nil
	}
	system, _ := closure.NixSystem(sys.Platform)
	known, err := a.meta(ctx, m, args, f, sys.Closure, system)
	if err == nil {
		a.metas[sys.Toplevel] = known
	}
	return known, err
}
