package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/report"
)

// diffFormats lists the values of diff --format. The first is the default.
var diffFormats = []string{"text", "markdown", "json"}

func (a *app) diffCommand() *cobra.Command {
	var f reading
	var all bool
	var html pageFlags
	var format string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what changed between two images or closures, and what a client downloads",
		Long: `Show what changed from A to B, for each platform: packages with their versions,
the size of the closure, and the layers that a client with A downloads for B.

A and B are images (a reference, oci:DIR, oci-archive:FILE, docker-archive:FILE)
or closures (a store path, ./result, a graph file). For a closure, diff shows the
layers that a push would make, with their sizes before compression.`,
		Example: `  nixoci diff ghcr.io/org/web:1.1 ghcr.io/org/web:1.2
  nixoci diff ghcr.io/org/web:latest ./result
  nixoci diff --format markdown ghcr.io/org/web:latest ./result >>"$GITHUB_STEP_SUMMARY"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(diffFormats, format) {
				return usagef("--format %q: not %s", format, strings.Join(diffFormats, ", "))
			}
			sideA, sideB, err := a.sides(cmd.Context(), args[0], args[1], &f)
			if err != nil {
				return err
			}
			d, err := report.Compare(sideA, sideB)
			if err != nil {
				return err
			}
			if err := html.write(cmd.Context(), a, func() (*page.Page, error) { return d.Page(sideA, sideB) }); err != nil {
				return err
			}
			switch {
			case a.json || format == "json":
				return a.stdout.JSON(d)
			case format == "markdown":
				return d.WriteMarkdown(a.stdout.Raw())
			}
			return d.WriteText(a.stdout, all)
		},
	}
	f.registry.add(cmd)
	f.closure.add(cmd.Flags(), &f.registry)
	a.uses(cmd, "from", "platform", "min-speed", "json")
	html.add(cmd.Flags(), "the difference")
	cmd.Flags().StringVar(&format, "format", diffFormats[0], "text, json, or markdown, which is a short summary for a pull request")
	cmd.Flags().BoolVar(&all, "all", false, "list every rebuilt package and every store path of a layer")
	return cmd
}

// sides reads both sides of the comparison.
func (a *app) sides(ctx context.Context, argA, argB string, f *reading) (sideA, sideB report.Side, err error) {
	fail := func(err error) (report.Side, report.Side, error) { return report.Side{}, report.Side{}, err }
	// If one side is an image and the other side is a closure, the layers of the closure are
	// estimated with the compression of the image.
	comp := layers.DefaultCompression()
	sides := make([]report.Side, 2)
	args := []string{argA, argB}
	for i, arg := range args {
		if isClosure(arg) {
			continue
		}
		img, err := a.readImage(ctx, arg, f, report.ReadOptions{})
		if err != nil {
			return fail(err)
		}
		if used := img.Compressions(); len(used) > 0 {
			comp = used[0]
		}
		sides[i] = report.SideOfImage(img)
	}
	for i, arg := range args {
		if !isClosure(arg) {
			continue
		}
		c, err := a.readClosure(ctx, []string{arg}, f)
		if err != nil {
			return fail(err)
		}
		previous, err := a.previousOf(ctx, argA, f)
		if err != nil {
			return fail(err)
		}
		planner, err := a.newPlanner(ctx, &f.closure.planFlags, previous)
		if err != nil {
			return fail(err)
		}
		planner.Options.MaxLayers = max(1, planner.Options.MaxLayers-sides[1-i].BaseLayers(c.PlatformName()))
		plan, _, err := planner.Plan(c.Closure, c.PlatformName(), c.Configuration()...)
		if err != nil {
			return fail(err)
		}
		sides[i] = report.SideOfClosure(arg, c.PlatformName(), c.Closure, plan, comp)
		a.onlyPlatform(&sides[1-i], sides[i])
	}
	return sides[0], sides[1], nil
}

// onlyPlatform removes from image all platforms except the platform of the closure named of.
// A closure has only one platform, so the other platforms would appear as differences.
func (a *app) onlyPlatform(image *report.Side, of report.Side) {
	for _, p := range image.Platforms {
		if !p.Planned && p.Platform == of.Platforms[0].Platform {
			image.Platforms = []report.SidePlatform{p}
			return
		}
	}
}
