package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/report"
	"github.com/nixoci/nixoci/internal/systems"
)

// planCommandFlags holds the flags of the command plan.
type planCommandFlags struct {
	reading
	against string
	out     string
	page    pageFlags
	all     bool
}

func (a *app) planCommand() *cobra.Command {
	var f planCommandFlags
	cmd := &cobra.Command{
		Use:   "plan [CLOSURE...]",
		Short: "Show which store path goes into which layer, and what an update costs",
		Long: `Show which store path goes into which layer, why, and how likely an update is to
change it. plan makes no image. With a graph file, plan does not need the store.

--against OTHER shows what a client downloads if it already has OTHER. It also
shows the least possible download, and what a client would download with the
plans of other tools. OTHER is a closure, a graph file or an image.`,
		Example: `  nixoci plan ./result --html plan.html
  nixoci plan ./result --against ghcr.io/org/web:latest --plan-from ghcr.io/org/web:latest
  nix path-info --json -r ./result > web.json && nixoci plan web.json --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			closures, err := f.closure.spec.apply(cmd.Flags(), args, nil, &f.closure)
			if err != nil {
				return err
			}
			return a.planClosures(cmd.Context(), closures, &f)
		},
	}
	fl := cmd.Flags()
	f.registry.add(cmd)
	f.closure.add(fl, &f.registry)
	f.closure.base.add(fl)
	f.closure.spec.add(fl)
	a.uses(cmd, "from", "platform", "min-speed", "json")
	fl.StringVar(&f.against, "against", "", "what clients have now: a closure, a graph file or an image")
	fl.StringVarP(&f.out, "out", "o", "", "write the plan to this file, for the flag --plan of other commands")
	f.page.add(fl, "the plan with a map of the layers")
	fl.BoolVar(&f.all, "all", false, "list the store paths of each layer")
	return cmd
}

func (a *app) planClosures(ctx context.Context, args []string, f *planCommandFlags) error {
	if err := a.askForClosure(args, "nixoci plan"); err != nil {
		return err
	}
	inputs, err := a.graphs(ctx, args, &f.closure)
	if err != nil {
		return err
	}
	contents, err := a.look(ctx, inputs)
	if err != nil {
		return err
	}
	if len(contents) > 1 && (f.out != "" || f.against != "" && isClosure(f.against)) {
		return usagef("found %d closures here: --out accepts only one closure, and --against must name an image if there are several", len(contents))
	}
	if err := f.closure.base.checkContents(contents); err != nil {
		return err
	}
	previous, err := a.previousOf(ctx, f.against, &f.reading)
	if err != nil {
		return err
	}
	planner, err := a.newPlanner(ctx, &f.closure.planFlags, previous)
	if err != nil {
		return err
	}
	base, src, err := a.openBase(&f.closure.base, &f.registry)
	if err != nil {
		return err
	}
	if base != nil {
		defer src.Close()
	}
	var reports []*report.PlanReport
	for i := range contents {
		r, p, err := a.planContent(ctx, &contents[i], planner, base, f)
		if err != nil {
			return err
		}
		reports = append(reports, r)
		if err := writeFile(f.out, func(w io.Writer) error { return plan.Encode(w, p) }); err != nil {
			return err
		}
	}
	if err := f.page.write(ctx, a, func() (*page.Page, error) { return report.PlanPage(reports) }); err != nil {
		return err
	}
	if a.json {
		if len(reports) == 1 {
			return a.stdout.JSON(reports[0])
		}
		return a.stdout.JSON(reports)
	}
	for i, r := range reports {
		if i > 0 {
			a.stdout.Printf("\n")
		}
		if err := r.WriteText(a.stdout, f.all); err != nil {
			return err
		}
	}
	return nil
}

// planContent plans the image of one platform. If base is not nil, the planned layers go on top of
// the base image.
func (a *app) planContent(ctx context.Context, c *systems.Content, planner *plan.Planner, base *systems.BaseImage, f *planCommandFlags) (*report.PlanReport, *plan.Plan, error) {
	platform := c.PlatformName()
	var below *manifest.Base
	if base != nil {
		of, err := manifest.ParsePlatform(c.System)
		if err != nil {
			return nil, nil, usagef("--from-image: no file of %s says for which platform it is", c.Arg)
		}
		if below, err = base.For(ctx, a.cache, of); err != nil {
			return nil, nil, err
		}
		if planner, err = push.AboveBase(planner, below); err != nil {
			return nil, nil, err
		}
	}
	p, _, err := planner.Plan(c.Closure, platform, c.Configuration()...)
	if err != nil {
		return nil, nil, err
	}
	r := report.ReportPlan(c.Arg, platform, c.Closure, p, planner.Options.MaxLayers)
	r.SetBase(below)
	if f.against == "" {
		return r, p, nil
	}
	have, err := a.have(ctx, f.against, platform, f)
	if err != nil {
		return nil, nil, err
	}
	r.Against, err = report.CostOfUpdate(have, c.Closure, p, planner.Options.MaxLayers)
	return r, p, err
}

// have describes the layers that a client already has. other names an image of the client, or
// its closure.
func (a *app) have(ctx context.Context, other, platform string, f *planCommandFlags) (report.Have, error) {
	if isClosure(other) {
		inputs, err := a.graphs(ctx, []string{other}, &f.closure)
		if err != nil {
			return report.Have{}, err
		}
		contents, err := a.look(ctx, inputs)
		if err != nil {
			return report.Have{}, err
		}
		return report.Have{Name: other, Closure: contents[0].Closure}, nil
	}
	img, err := a.readImage(ctx, other, &f.reading, report.ReadOptions{Paths: true})
	if err != nil {
		return report.Have{}, err
	}
	p, err := img.For(platform)
	if err != nil {
		return report.Have{}, err
	}
	h := report.Have{Name: other}
	if h.Closure, err = p.NixClosure(); err != nil {
		return report.Have{}, err
	}
	for _, l := range p.Layers {
		if !l.System && !l.Base {
			h.Layers = append(h.Layers, l.Paths)
		}
	}
	return h, nil
}

// writeFile writes a file that appears complete or not at all. If name is empty, writeFile
// does nothing.
func writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	var b bytes.Buffer
	err := write(&b)
	if err == nil {
		err = atomicfile.Write(name, b.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
