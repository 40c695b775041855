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
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/report"
)

// planFlags holds the flags that decide how store paths are divided into layers.
type planFlags struct {
	maxLayers int
	layers    []string
	strategy  string
	follow    []string
	from      []string
	history   int

	registry *registryFlags // for images in a registry that --plan and --plan-from name
}

// previousImage is the image that --plan-from auto stands for, as far as a planner needs it. If the
// flags do not ask for the image, its plans are not read.
type previousImage struct {
	name  string          // "" if there is no such image
	plans []plan.Recorded // with --history, each plan also contains the store paths of earlier images
}

// planAuto is the value of --plan-from that stands for the image at the destination.
const planAuto = "auto"

func (p *planFlags) addPlan(f *pflag.FlagSet) {
	f.IntVar(&p.maxLayers, "max-layers", plan.DefaultMaxLayers, "maximum number of layers for store paths and a base image; the init layer and the system layer are extra")
	f.StringArrayVar(&p.layers, "layer", nil, "put all paths whose names match GLOB, or a store path and all that it refers to, into one layer called NAME; can be repeated")
	f.StringVar(&p.strategy, "plan-strategy", string(plan.StrategyCost), "how to plan: "+strategies())
	f.StringArrayVar(&p.follow, "plan", nil, "use exactly this plan: a file written by nixoci plan --out, or an image; repeat for other platforms")
	f.StringArrayVar(&p.from, "plan-from", nil, "keep the layers of this image or plan file if their paths are unchanged, and plan the rest; auto means the image that the registry has now; can be repeated")
	f.IntVar(&p.history, "history", 0, "with --plan-from IMAGE or auto: read the last N images, and plan for the packages that changed often or together in them")
}

func strategies() string {
	var all []string
	for _, s := range plan.Strategies {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

// options checks the flags and returns the options of the planner. It reads no file and no image.
func (p *planFlags) options() (plan.Options, error) {
	o := plan.Options{MaxLayers: p.maxLayers, Strategy: plan.Strategy(p.strategy)}
	fail := func(err error) (plan.Options, error) { return plan.Options{}, usageError{err} }
	if p.maxLayers < 1 || p.maxLayers > plan.LayerLimit {
		return fail(fmt.Errorf("--max-layers %d: not from 1 to %d", p.maxLayers, plan.LayerLimit))
	}
	if !slices.Contains(plan.Strategies, o.Strategy) {
		return fail(fmt.Errorf("--plan-strategy %q: none of %s", p.strategy, strategies()))
	}
	for _, s := range p.layers {
		l, err := plan.ParseLayerGlob(s)
		if err != nil {
			return fail(fmt.Errorf("--layer: %w", err))
		}
		o.Layers = append(o.Layers, l)
	}
	if len(p.follow) > 0 && (len(p.from) > 0 || len(p.layers) > 0) {
		return fail(hint.Add(errors.New("--plan already decides where every path goes, so --plan-from and --layer have no effect"), "to keep only a part of a plan, use --plan-from without --plan"))
	}
	return o, p.checkHistory()
}

// newPlanner checks the flags and reads the plans that they name. previous is nil if the command has no
// destination that could hold an earlier image.
func (a *app) newPlanner(ctx context.Context, f *planFlags, previous *previousImage) (*plan.Planner, error) {
	options, err := f.options()
	if err != nil {
		return nil, err
	}
	p := &plan.Planner{Options: options}
	if p.Follow, err = a.recordedPlans(ctx, "--plan", f.follow, f, previous); err != nil {
		return nil, err
	}
	p.From, err = a.recordedPlans(ctx, "--plan-from", f.from, f, previous)
	for _, k := range p.From {
		if f.history > 0 {
			a.log.Debugf("--history: found %s of %s before the image of --plan-from", human.Count(len(k.History), "image"), k.Platform)
		}
	}
	return p, err
}

// checkHistory returns an error if --history is out of range, or if --plan-from is missing.
func (p *planFlags) checkHistory() error {
	switch {
	case p.history < 0 || p.history > limit.History:
		return usagef("--history %d: not from 0 to %d", p.history, limit.History)
	case p.history > 0 && len(p.from) == 0:
		return usageError{hint.Add(errors.New("--history without --plan-from: nixoci does not know from which image to read the history"), "add --plan-from auto, or name an image")}
	}
	return nil
}

func (a *app) recordedPlans(ctx context.Context, flag string, args []string, f *planFlags, previous *previousImage) (all []plan.Recorded, err error) {
	for _, arg := range args {
		var plans []plan.Recorded
		if arg == planAuto {
			plans, err = a.autoPlan(previous)
		} else {
			plans, err = a.recordedPlan(ctx, arg, f)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", flag, arg, err)
		}
		all = append(all, plans...)
	}
	return all, nil
}

// autoFlag returns the flag that has the value auto, such as "--plan-from auto", or "" if there is
// none. It also checks the other flags, so that a command with a wrong flag does not read the
// previous image.
func (p *planFlags) autoFlag() (string, error) {
	if _, err := p.options(); err != nil {
		return "", err
	}
	switch {
	case slices.Contains(p.follow, planAuto):
		return "--plan " + planAuto, nil
	case slices.Contains(p.from, planAuto):
		return "--plan-from " + planAuto, nil
	}
	return "", nil
}

// previousOf returns other, the image with which a command compares, as the image for --plan-from
// auto. If other is not an image, previousOf returns nil.
func (a *app) previousOf(ctx context.Context, other string, r *reading) (*previousImage, error) {
	if other == "" || isClosure(other) {
		return nil, nil
	}
	f := &r.closure.planFlags
	flag, err := f.autoFlag()
	if err != nil || flag == "" {
		return &previousImage{}, err
	}
	img, err := a.openImage(other, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer img.Close()
	return f.readPrevious(ctx, flag, img)
}

// readPrevious reads the plans of img. flag is the result of autoFlag.
func (p *planFlags) readPrevious(ctx context.Context, flag string, img *oci.OpenedImage) (*previousImage, error) {
	plans, err := push.ReadPlans(ctx, img, p.history)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &previousImage{img.Name, plans}, nil
}

// autoPlan returns the plans of the previous image. The result is empty if there is no image or
// if another tool made it. With an empty result, all layers are planned anew.
func (a *app) autoPlan(previous *previousImage) ([]plan.Recorded, error) {
	if previous == nil {
		return nil, usageError{hint.Add(errors.New("this command has no destination that could hold an earlier image"), "name an image, or a file of nixoci plan --out")}
	}
	all, name := previous.plans, previous.name
	for _, k := range all {
		a.log.Debugf("the plan of %s continues the plan of %s, %s", k.Platform, name, k.Manifest)
	}
	switch {
	case name == "":
		a.log.Debugf("--plan-from %s: there is no image yet, so nixoci makes a new plan", planAuto)
	case len(all) == 0:
		a.log.Warnf("--plan-from %s: nixoci did not make %s, so the plan does not continue its layers", planAuto, name)
	}
	return all, nil
}

func (a *app) recordedPlan(ctx context.Context, arg string, f *planFlags) ([]plan.Recorded, error) {
	if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() || isClosure(arg) {
		file, err := os.Open(arg)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if f.history > 0 {
			return nil, usageError{hint.Add(errors.New("a plan file has no earlier images, so --history has no effect"), "name an image, or leave out --history")}
		}
		f, err := plan.Decode(file)
		return []plan.Recorded{{File: f}}, err
	}
	img, err := a.readImage(ctx, arg, &reading{registry: *f.registry}, report.ReadOptions{Paths: true})
	if err != nil {
		return nil, err
	}
	known, err := img.Plans()
	if err != nil || f.history == 0 {
		return known, err
	}
	src, err := a.openImage(arg, &reading{registry: *f.registry})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return known, push.ReadHistory(ctx, src.Reader, known, f.history)
}
