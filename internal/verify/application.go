package verify

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// remakeApplication makes the image's application again from choices and the closure cl. It uses
// the platform and the settings in the image's config.
func (c *content) remakeApplication(ctx context.Context, src closure.Source, cl *closure.Closure, choices application.Choices) (*manifest.System, error) {
	config := &c.doc.config
	settings := application.StartSettings{Entrypoint: config.Config.Entrypoint, User: config.Config.User, Based: c.form.base > 0}
	if choices.NoEntrypoint {
		settings.Entrypoint = config.Config.Cmd
	}
	if len(settings.Entrypoint) == 0 {
		settings.Entrypoint = nil
	}
	platform := config.Platform
	if base := c.base(); base != nil && len(choices.Users) > 0 {
		below := *base
		below.Source = c.src
		users, err := below.Users(ctx)
		if err != nil {
			return nil, err
		}
		settings.BaseUsers = users
	}
	app, err := application.New(ctx, src, cl, choices, settings, &platform)
	if err != nil {
		return nil, err
	}
	return manifest.NewApplication(src, cl, app), nil
}

// given returns sys, one of Options.Closures, in the form that this image should have. The roots
// come from the closure. The other choices come from the image, like its plan and its settings.
func (c *content) given(ctx context.Context, sys *manifest.System) (*manifest.System, error) {
	if c.system == nil {
		return sys, nil // a finding reports why system is nil
	}
	switch app := c.system.application; {
	case (sys.App != nil) != c.form.application:
		is, has := "an application", "a NixOS system"
		if !c.form.application {
			is, has = has, is
		}
		return nil, errors.New("the image contains " + is + ", but the closure is that of " + has)
	case sys.App == nil || app == nil: // without the image's own record there are no choices to use
		return sys, nil
	default:
		choices := app.Choices
		if !sameRoots(choices.Roots, sys.App.Roots) {
			choices.Roots = sys.App.Roots
		}
		if sys.App.Program != "" {
			choices.Program = sys.App.Program
		}
		return c.remakeApplication(ctx, sys.Source, sys.Closure, choices)
	}
}

// sameRoots reports whether two lists contain the same roots. It ignores their order.
func sameRoots(a, b []closure.StorePath) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// readFilesLayer reads a files layer. It does not check the files, because the layer is later made
// again and compared.
func readFilesLayer(ctx context.Context, src oci.Reader, todo layerToRead) (*layerContent, error) {
	return readLayer(ctx, src, todo, func(t *tarStream, _ *layerContent, found *collector) error {
		tar := layers.NewTarReader(t, func(e *layers.FormatError) error {
			return found.add(Finding{Path: e.Entry}.of(CheckFormat, "%s", e.What))
		})
		tar.AllowOwners()
		for {
			switch _, err := tar.Next(); {
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			}
		}
	})
}
