package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// ReadSystem reads the facts of the toplevel with [ReadFacts], and passes them to
// [NewSystem].
func ReadSystem(ctx context.Context, src closure.Source, c *closure.Closure, toplevel closure.StorePath, stated string) (*System, error) {
	facts, err := ReadFacts(ctx, src, c, toplevel)
	if err != nil {
		return nil, err
	}
	return NewSystem(src, c, toplevel, stated, facts)
}

// NewSystem returns the System with the facts f. It opens no store file. stated is the Nix
// system that the user named, or "" if the user named none. stated must be the Nix system for
// which the toplevel was built. NewSystem returns an error if the system cannot boot as PID 1
// of a container.
func NewSystem(src closure.Source, c *closure.Closure, toplevel closure.StorePath, stated string, f Facts) (*System, error) {
	fail := func(err error) (*System, error) { return nil, fmt.Errorf("system %s: %w", toplevel, err) }
	info := c.Info(toplevel)
	if info == nil {
		return fail(errors.New("not in the closure"))
	}
	if i := slices.IndexFunc(c.Roots, func(r closure.StorePath) bool { return r != toplevel }); i >= 0 {
		return fail(fmt.Errorf("the closure has another root, %s", c.Roots[i]))
	}
	if err := f.check(); err != nil {
		return fail(err)
	}
	p, err := closure.ParseSystem(f.System)
	if err != nil {
		return fail(err)
	}
	if stated != "" {
		want, err := ParsePlatform(stated)
		if err != nil {
			return fail(err)
		}
		if !SamePlatform(p, want) {
			return fail(hint.Add(fmt.Errorf("was built for %s, not for %s as stated", f.System, stated),
				"the platform is read from the closure: leave out "+stated+"=, or give the closure that was built for it"))
		}
	}
	if err := f.checkBoot(); err != nil {
		return fail(err)
	}
	sys := &System{Format: CurrentFormat, Platform: p, Toplevel: toplevel, NarHash: info.NarHash, Closure: c, Source: src,
		Init: DefaultInit(p), Own: systemInit, Guest: f.Guest, Version: f.Version, Facts: f}
	if f.Guest {
		sys.Own = guestInit
	}
	return sys, nil
}

// In returns a copy of sys with another format version and another init program.
func (sys *System) In(format int, init *Init) *System {
	other := *sys
	other.Format, other.Init = format, init
	return &other
}

// Continuing returns a copy of sys with a plan that continues the plan of another manifest.
func (sys *System) Continuing(manifest digest.Digest) *System {
	other := *sys
	other.PlanFrom = manifest
	return &other
}

// On returns a copy of sys with a base image. nil means no base image.
func (sys *System) On(b *Base) *System {
	other := *sys
	other.Base = b
	return &other
}

func (sys *System) format() int { return cmp.Or(sys.Format, CurrentFormat) }

// checkBoot returns an error if the init of the toplevel is systemd itself.
//
// If NixOS uses systemd in stage 1, top-level.nix installs systemd as init, and the script
// stage 2 as prepare-root. Only the initrd runs prepare-root. With system.nixos-init.enable,
// prepare-root does not exist either. A container has no initrd, so systemd would find an
// empty /etc.
//
// boot.isContainer turns the initrd off. Since NixOS 25.11 this also makes stage 2 the init
// again (nixpkgs pull request 441777). In older versions, the user must also turn off systemd
// in stage 1 (nixpkgs issue 287097). In a later NixOS, nixos-init can work without an initrd:
// such a toplevel contains nixos-init.json. If init is a binary and the toplevel contains no
// systemd, the init is the user's own.
func (f *Facts) checkBoot() error {
	if !f.PrepareRoot && (f.Init == initScript || f.ContainerInit || !f.Systemd) {
		return nil
	}
	return hint.Add(errors.New("its init is systemd itself, which needs an initrd to prepare /etc; containers have no initrd"),
		"set boot.isContainer = true in the configuration; up to NixOS 25.05 boot.initrd.systemd.enable = false too")
}
