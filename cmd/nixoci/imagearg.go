package main

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/report"
)

// reading holds the flags of commands that read images and closures.
type reading struct {
	registry registryFlags
	closure  closureFlags
}

// isClosure reports whether arg is a CLOSURE, for commands that accept a CLOSURE or a REF.
// Everything else names an image.
func isClosure(arg string) bool { return !layout.IsImage(arg) && nixbuild.IsClosure(arg) }

// openImage opens the image that arg names, for reading.
func (a *app) openImage(arg string, f *reading) (*oci.OpenedImage, error) {
	if layout.IsImage(arg) {
		return layout.OpenImage(arg)
	}
	if err := checkReference(arg); err != nil {
		return nil, err
	}
	if _, err := registry.ParseReference(arg); err != nil {
		return nil, usageError{err}
	}
	o := f.registry.options(a)
	o.ReadOnly = true
	return registry.OpenImage(arg, o)
}

// readImage opens and reads the image that arg names.
func (a *app) readImage(ctx context.Context, arg string, f *reading, o report.ReadOptions) (*report.Image, error) {
	var err error
	if o.Platforms, err = a.parsePlatforms(); err != nil {
		return nil, err
	}
	o.Reading = func(layers int, size int64) {
		a.log.Infof("reading %s (%s) to find their store paths", human.Count(layers, "layer"), human.Bytes(size))
	}
	o.Warn = func(err error) { a.log.Warn(err) }
	src, err := a.openImage(arg, f)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return report.ReadImage(ctx, src, o)
}

func (a *app) parsePlatforms() ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, name := range a.platforms {
		p, err := manifest.ParsePlatform(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--platform: %w", err)}
		}
		all = append(all, p)
	}
	return all, nil
}
