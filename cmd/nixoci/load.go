package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/engine"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/push"
)

// load builds an image into the image store of an engine.
func (a *app) load(ctx context.Context, output string, tags, closures []string, img *imageFlags, in *closureFlags) error {
	start := time.Now()
	program, name, err := engine.Parse(output)
	if err != nil {
		return usageError{err}
	}
	opts, err := a.newOptions(img)
	if err != nil {
		return err
	}
	opts.Tags = []string{name}
	for _, t := range tags {
		name, err := layout.DockerName(t)
		if err != nil {
			return usagef("--tag %q: %w", t, err)
		}
		if !slices.Contains(opts.Tags, name) {
			opts.Tags = append(opts.Tags, name)
		}
	}
	base, baseSource, err := a.openBase(&in.base, in.planFlags.registry)
	if err != nil {
		return err
	}
	defer baseSource.Close()
	systems, err := a.systems(ctx, closures, in, img, a.systemReader(&opts, base))
	if err != nil {
		return err
	}
	images, err := a.plan(ctx, systems, &in.planFlags, nil)
	if err != nil {
		return err
	}
	dst := engine.New(program)
	dst.Warn = opts.Warn
	if images, err = forEngine(ctx, dst, images); err != nil {
		return err
	}
	result, err := a.pushImages(ctx, dst, images, opts)
	if err != nil {
		return err
	}
	p := dst.Pulled()
	a.printOutcome(result, string(program), fmt.Sprintf("%s took %s of %s in %s; all %s", program, human.Bytes(p.Bytes), human.Count(p.Layers, "layer"), human.Duration(p.Time), a.spent(start, nil)))
	return a.printResult(output, result, nil)
}

// forEngine chooses the one image that an engine can store. If there are several platforms,
// it returns the image for the platform of the engine's machine.
func forEngine(ctx context.Context, dst *engine.Engine, images []push.PlannedSystem) ([]push.PlannedSystem, error) {
	if len(images) > 1 {
		own, err := dst.OwnPlatform(ctx)
		if err != nil {
			return nil, err
		}
		p, err := manifest.ParsePlatform(own)
		i := slices.IndexFunc(images, func(s push.PlannedSystem) bool { return manifest.SamePlatform(s.System.Platform, p) })
		if err != nil || i < 0 {
			var platforms []string
			for _, s := range images {
				platforms = append(platforms, manifest.FormatPlatform(s.System.Platform))
			}
			return nil, usageError{hint.Add(fmt.Errorf("load into %s: no closure is for its platform, %s", dst.Name(), own),
				"choose one with --platform: "+strings.Join(platforms, " or "))}
		}
		images = images[i : i+1]
	}
	if len(images) == 0 {
		return nil, errors.New("no platform to load")
	}
	dst.Platform = manifest.FormatPlatform(images[0].System.Platform)
	return images, nil
}
