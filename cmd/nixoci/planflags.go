package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/report"
)

// planFlags holds the flags that decide how store paths are divided into layers.
type planFlags struct {
	maxLayers int
	layers    []string
	strategy  string
	follow    []string
	from      []string

	registry *registryFlags // --plan and --plan-from may name an image in a registry

	// auto finds the image for --plan-from auto, and returns its plans and its name. The
	// field auto is nil if the command does not support the value auto.
	auto func(context.Context) ([]plan.Known, string, error)
}

// planAuto is the value of --plan-from that stands for the image at the destination.
const planAuto = "auto"

func (p *planFlags) addPlan(f *pflag.FlagSet) {
	f.IntVar(&p.maxLayers, "max-layers", plan.DefaultMaxLayers, "maximum number of layers for store paths and a base image; the init layer and the system layer are extra")
	f.StringArrayVar(&p.layers, "layer", nil, "put all paths whose names match GLOB, or a store path and all that it refers to, into one layer called NAME; can be repeated")
	f.StringVar(&p.strategy, "plan-strategy", string(plan.StrategyCost), "how to plan: "+strategies())
	f.StringArrayVar(&p.follow, "plan", nil, "use exactly this plan: a file written by nixoci plan --out, or an image; repeat for other platforms")
	f.StringArrayVar(&p.from, "plan-from", nil, "keep the layers of this image or plan file if their paths are unchanged, and plan the rest; auto means the image that the registry has now; can be repeated")
}

func strategies() string {
	var all []string
	for _, s := range plan.Strategies {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// newPlanner checks the flags and reads the plans that they name.
func (a *app) newPlanner(ctx context.Context, f *planFlags) (*plan.Planner, error) {
	p := &plan.Planner{Options: plan.Options{MaxLayers: f.maxLayers, Strategy: plan.Strategy(f.strategy)}}
	if f.maxLayers < 1 || f.maxLayers > plan.LayerLimit {
		return nil, usagef("--max-layers %d: not from 1 to %d", f.maxLayers, plan.LayerLimit)
	}
	if !slices.Contains(plan.Strategies, p.Options.Strategy) {
		return nil, usagef("--plan-strategy %q: none of %s", f.strategy, strategies())
	}
	for _, s := range f.layers {
		l, err := plan.ParseLayerGlob(s)
		if err != nil {
			return nil, usagef("--layer: %w", err)
		}
		p.Options.Layers = append(p.Options.Layers, l)
	}
	if len(f.follow) > 0 && (len(f.from) > 0 || len(f.layers) > 0) {
		return nil, usageError{hint.Add(errors.New("--plan already decides where every path goes, so --plan-from and --layer have no effect"), "to keep only a part of a plan, use --plan-from without --plan")}
	}
	var err error
	if p.Follow, err = a.knownPlans(ctx, "--plan", f.follow, f); err != nil {
		return nil, err
	}
	p.From, err = a.knownPlans(ctx, "--plan-from", f.from, f)
	return p, err
}

func (a *app) knownPlans(ctx context.Context, flag string, args []string, f *planFlags) (all []plan.Known, err error) {
	for _, arg := range args {
		read := a.knownPlan
		if arg == planAuto {
			read = a.autoPlan
		}
		plans, err := read(ctx, arg, f)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", flag, arg, err)
		}
		all = append(all, plans...)
	}
	return all, nil
}

// autoIs makes --plan-from auto stand for other, the argument with which a command compares.
// If other is not an image, auto is not supported.
func (a *app) autoIs(f *planFlags, other string, r *reading) {
	if other == "" || isClosure(other) {
		return
	}
	f.auto = func(ctx context.Context) ([]plan.Known, string, error) {
		return a.plansOf(ctx, other, r)
	}
}

// autoPlan returns the plan of the existing image. The result is empty if there is no image
// or if another tool made it. With an empty result, all layers are planned anew.
func (a *app) autoPlan(ctx context.Context, arg string, f *planFlags) ([]plan.Known, error) {
	if f.auto == nil {
		return nil, usageError{hint.Add(errors.New("this command has no destination that could hold an earlier image"), "name an image, or a file of nixoci plan --out")}
	}
	all, what, err := f.auto(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		a.log.Debugf("the plan of %s continues that of %s, %s", k.Platform, what, k.Manifest)
	}
	switch {
	case what == "":
		a.log.Debugf("--plan-from %s: no image is there yet; it is planned anew", arg)
	case len(all) == 0:
		a.log.Warnf("--plan-from %s: nixoci did not make %s, so the plan does not continue its layers", arg, what)
	}
	return all, nil
}

func (a *app) knownPlan(ctx context.Context, arg string, f *planFlags) ([]plan.Known, error) {
	if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() || isClosure(arg) {
		file, err := os.Open(arg)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		f, err := plan.Decode(file)
		return []plan.Known{{File: f}}, err
	}
	img, err := a.readImage(ctx, arg, &reading{registry: *f.registry}, report.ReadOptions{Paths: true})
	if err != nil {
		return nil, err
	}
	return img.Plans()
}
