package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/report"
)

// planFlags say how store paths are divided into layers.
type planFlags struct {
	maxLayers int
	layers    []string
	strategy  string
	follow    []string
	from      []string

	registry registryFlags // for --plan and --plan-from of an image

	// auto finds the image that --plan-from auto means, and its plans; nil where
	// the command has none.
	auto func(context.Context) ([]push.Predecessor, string, error)
}

// planAuto is the --plan-from that means the image that is there.
const planAuto = "auto"

func (p *planFlags) addPlan(f *pflag.FlagSet) {
	f.IntVar(&p.maxLayers, "max-layers", plan.DefaultMaxLayers, "the most layers to use for store paths; the init layer and the system layer come in addition")
	f.StringArrayVar(&p.layers, "layer", nil, "put all paths whose names match GLOB into one layer called NAME; can be repeated")
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

// planner plans closures as the flags say.
type planner struct {
	options      plan.Options
	follow, from []knownPlan
}

// knownPlan is a plan of a file, or of one platform of an image.
type knownPlan struct {
	what     string // as given
	platform string // "" of a file
	file     *plan.File

	manifest digest.Digest // that has the plan; "" of a file
	planFrom digest.Digest // whose plan that one continues
	only     bool          // only for its own platform
}

// newPlanner checks the flags and reads the plans that they name.
func (a *app) newPlanner(ctx context.Context, f *planFlags) (*planner, error) {
	p := &planner{options: plan.Options{MaxLayers: f.maxLayers, Strategy: plan.Strategy(f.strategy)}}
	if f.maxLayers < 1 || f.maxLayers > plan.LayerLimit {
		return nil, usagef("--max-layers %d: not from 1 to %d", f.maxLayers, plan.LayerLimit)
	}
	if !slices.Contains(plan.Strategies, p.options.Strategy) {
		return nil, usagef("--plan-strategy %q: none of %s", f.strategy, strategies())
	}
	for _, s := range f.layers {
		l, err := plan.ParseLayerGlob(s)
		if err != nil {
			return nil, usagef("--layer: %w", err)
		}
		p.options.Layers = append(p.options.Layers, l)
	}
	if len(f.follow) > 0 && (len(f.from) > 0 || len(f.layers) > 0) {
		return nil, usageError{hint.Add(errors.New("--plan already decides where every path goes, so --plan-from and --layer have no effect"), "to keep only a part of a plan, use --plan-from without --plan")}
	}
	var err error
	if p.follow, err = a.knownPlans(ctx, "--plan", f.follow, f); err != nil {
		return nil, err
	}
	p.from, err = a.knownPlans(ctx, "--plan-from", f.from, f)
	return p, err
}

func (a *app) knownPlans(ctx context.Context, flag string, args []string, f *planFlags) (all []knownPlan, err error) {
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

// autoIs makes --plan-from auto mean other, the image that a command compares
// with. Of anything but an image it means nothing.
func (a *app) autoIs(f *planFlags, other string, r *reading) {
	if other == "" || isClosure(other) {
		return
	}
	f.auto = func(ctx context.Context) ([]push.Predecessor, string, error) {
		return a.predecessorsIn(ctx, other, r)
	}
}

// autoPlan is the plan of the image that is there. Where there is none, or one of
// another tool, the image is planned as without it.
func (a *app) autoPlan(ctx context.Context, arg string, f *planFlags) ([]knownPlan, error) {
	if f.auto == nil {
		return nil, usageError{hint.Add(errors.New("this command makes no image that could be there already"), "name an image, or a file of nixoci plan --out")}
	}
	found, what, err := f.auto(ctx)
	if err != nil {
		return nil, err
	}
	var all []knownPlan
	for _, p := range found {
		all = append(all, knownPlan{what: what, platform: manifest.FormatPlatform(p.Platform), file: p.Plan.File(),
			manifest: p.Manifest, planFrom: p.PlanFrom, only: true})
		a.log.Debugf("the plan of %s continues that of %s, %s", manifest.FormatPlatform(p.Platform), what, p.Manifest)
	}
	switch {
	case what == "":
		a.log.Debugf("--plan-from %s: no image is there yet; it is planned anew", arg)
	case len(all) == 0:
		a.log.Warnf("--plan-from %s: %s is not an image of nixoci; the new one is planned anew", arg, what)
	}
	return all, nil
}

func (a *app) knownPlan(ctx context.Context, arg string, f *planFlags) ([]knownPlan, error) {
	if st, err := os.Stat(arg); err == nil && st.Mode().IsRegular() || isClosure(arg) {
		file, err := os.Open(arg)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		f, err := plan.Decode(file)
		return []knownPlan{{what: arg, file: f}}, err
	}
	img, err := a.readImage(ctx, arg, &reading{registry: f.registry}, report.ReadOptions{Paths: true})
	if err != nil {
		return nil, err
	}
	var all []knownPlan
	for _, p := range img.Platforms {
		known := &plan.Plan{Strategy: plan.StrategyCost}
		for _, l := range p.Layers {
			if !l.System && len(l.Paths) > 0 {
				known.Groups = append(known.Groups, plan.Group{Paths: l.Paths})
			}
		}
		if len(known.Groups) == 0 {
			return nil, fmt.Errorf("%s: no layer of this image has store paths", manifest.FormatPlatform(p.Platform))
		}
		all = append(all, knownPlan{what: arg, platform: manifest.FormatPlatform(p.Platform), file: known.File(),
			manifest: p.Descriptor.Digest, planFrom: digest.Digest(p.Annotations[manifest.AnnotationPlanFrom])})
	}
	return all, nil
}

// plan plans one closure. Platform is "" where it is not known. from is the
// manifest whose plan it continues, "" for none.
func (p *planner) plan(c *closure.Closure, platform string) (made *plan.Plan, from digest.Digest, err error) {
	if len(p.follow) > 0 {
		made, err = plan.Follow(c, best(p.follow, c, platform).file, p.options.MaxLayers)
		return made, "", err
	}
	o := p.options
	known := best(p.from, c, platform)
	if known != nil {
		o.From = known.file.Plan()
	}
	if made, err = plan.New(c, o); err != nil || known == nil {
		return made, "", err
	}
	if sameGroups(made, o.From) {
		// The same layers: it is that image once more, and not one that follows it.
		return made, known.planFrom, nil
	}
	return made, known.manifest, nil
}

// sameGroups reports whether two plans make the same layers in the same order.
func sameGroups(a, b *plan.Plan) bool {
	return slices.EqualFunc(a.Groups, b.Groups, func(x, y plan.Group) bool { return slices.Equal(x.Paths, y.Paths) })
}

// best is the plan for a closure: of its platform if one is, and of these the
// one that knows most of its store paths; the first of equals; nil without any.
func best(all []knownPlan, c *closure.Closure, platform string) *knownPlan {
	var best *knownPlan
	bestScore := -1
	for i := range all {
		k := &all[i]
		if k.only && k.platform != platform {
			continue
		}
		score := 0
		for _, l := range k.file.Layers {
			for _, s := range l.Paths {
				if c.Info(closure.StorePath(s)) != nil {
					score++
				}
			}
		}
		if platform != "" && k.platform == platform {
			score += len(c.Paths) + 1
		}
		if score > bestScore {
			best, bestScore = k, score
		}
	}
	return best
}
