package systems

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// Reader finds the systems and applications in closures, by reading their files. The zero Reader
// reads all files and uses no earlier result.
type Reader struct {
	Cache *cache.Cache // results of earlier runs on this machine; nil if there are none

	// Signed returns the facts about a toplevel from images with a trusted signature. It may be
	// nil. Signed is a function because it sends requests, and Reader needs the facts only if
	// Cache does not contain them.
	Signed func(context.Context, *closure.Info) (manifest.Facts, bool)

	Settings manifest.Settings // settings of the image; entrypoint, command and user must fit an application
	Base     *BaseImage        // base image of applications; nil if there is none

	Debug func(error) // receives the reasons why a report has less detail; may be nil
}

// Systems returns the system of each content. choices applies to all applications. Systems ignores
// the fields Roots and Program of choices, because each content has its own roots and program. If two
// systems have the same platform, Systems returns an error.
func (r *Reader) Systems(ctx context.Context, contents []Content, choices application.Choices) ([]*manifest.System, error) {
	return each(contents, func(c *Content) (*manifest.System, error) {
		if c.IsApplication() {
			app, err := r.application(ctx, c, choices)
			if err != nil {
				return nil, err
			}
			return manifest.NewApplication(c.Source, c.Closure, app), nil
		}
		facts, err := r.facts(ctx, &c.Resolved)
		if err != nil {
			return nil, err
		}
		return manifest.NewSystem(c.Source, c.Closure, c.Toplevel, c.System, facts)
	})
}

// Expected returns the systems that an image must contain if it was made from contents. It reads the
// files of each toplevel again. For an application, it sets only the platform, the roots and the
// program. The image records the other choices, and verify uses them to make the application again.
func (r *Reader) Expected(ctx context.Context, contents []Content) ([]*manifest.System, error) {
	return each(contents, func(c *Content) (*manifest.System, error) {
		if c.IsApplication() {
			choices := application.Choices{Roots: c.Roots, Program: c.Program}
			return manifest.NewApplication(c.Source, c.Closure, &application.Application{Choices: choices, Platform: *c.Platform}), nil
		}
		return manifest.ReadSystem(ctx, c.Source, c.Closure, c.Toplevel, c.System)
	})
}

// each calls read for each content and checks that no two systems have the same platform.
func each(contents []Content, read func(*Content) (*manifest.System, error)) ([]*manifest.System, error) {
	var all []*manifest.System
	for i := range contents {
		sys, err := read(&contents[i])
		if err != nil {
			return nil, fmt.Errorf("closure %s: %w", contents[i].Arg, err)
		}
		all = append(all, sys)
	}
	return all, manifest.CheckPlatforms(all)
}

// Finish adds the parts of a system that are not in its closure: a NixOS system gets the init
// program, and an application gets the base image. noInit lists the platforms for which nixoci has no
// init program, although init requires one.
func (r *Reader) Finish(ctx context.Context, systems []*manifest.System, init *manifest.InitChoice) (finished []*manifest.System, noInit []ocispec.Platform, err error) {
	for _, sys := range systems {
		if sys.App != nil {
			sys, err = r.onBase(ctx, sys)
		} else if sys, err = withInit(sys, init); err == nil && sys.Init == nil && !init.None {
			noInit = append(noInit, sys.Platform)
		}
		if err != nil {
			return nil, nil, err
		}
		finished = append(finished, sys)
	}
	return finished, noInit, nil
}

// onBase puts an application on the base image. Without a base image, it returns sys unchanged.
func (r *Reader) onBase(ctx context.Context, sys *manifest.System) (*manifest.System, error) {
	if r.Base == nil {
		return sys, nil
	}
	base, err := r.Base.For(ctx, r.Cache, sys.Platform)
	if err != nil {
		return nil, err
	}
	return sys.On(base), nil
}

func withInit(sys *manifest.System, init *manifest.InitChoice) (*manifest.System, error) {
	program, err := init.For(sys.Platform)
	if err != nil {
		return nil, err
	}
	return sys.In(manifest.CurrentFormat, program), nil
}

func (r *Reader) debug(err error) {
	if r.Debug != nil {
		r.Debug(err)
	}
}
