package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/plan"
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
}

func (p *planFlags) addPlan(f *pflag.FlagSet) {
	f.IntVar(&p.maxLayers, "max-layers", plan.DefaultMaxLayers, "layers for store paths, at most; one more holds nixoci-init, and one the system's own files")
	f.StringArrayVar(&p.layers, "layer", nil, "GLOB=NAME: put the paths whose names match into one layer, repeated")
	f.StringVar(&p.strategy, "plan-strategy", string(plan.StrategyCost), "how to plan: "+strategies())
	f.StringArrayVar(&p.follow, "plan", nil, "follow this plan: a file of nixoci plan --out, or an image; repeated for further platforms")
	f.StringArrayVar(&p.from, "plan-from", nil, "keep the layers of this image, or of a plan file, as far as their paths are still there, and plan the rest; repeated")
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
		return nil, usageError{hint.Add(errors.New("--plan says where every path goes: --plan-from and --layer change nothing"), "use --plan-from alone to keep what there is of a plan")}
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
		plans, err := a.knownPlan(ctx, arg, f)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", flag, arg, err)
		}
		all = append(all, plans...)
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
			return nil, fmt.Errorf("%s: no layer of it has store paths", manifest.FormatPlatform(p.Platform))
		}
		all = append(all, knownPlan{what: arg, platform: manifest.FormatPlatform(p.Platform), file: known.File()})
	}
	return all, nil
}

// plan plans one closure. Platform is "" where it is not known.
func (p *planner) plan(c *closure.Closure, platform string) (*plan.Plan, error) {
	if len(p.follow) > 0 {
		return plan.Follow(c, best(p.follow, c, platform).file, p.options.MaxLayers)
	}
	o := p.options
	if len(p.from) > 0 {
		o.From = best(p.from, c, platform).file.Plan()
	}
	return plan.New(c, o)
}

// best is the plan for a closure: of its platform if one is, and of these the
// one that knows most of its store paths; the first of equals.
func best(all []knownPlan, c *closure.Closure, platform string) *knownPlan {
	var best *knownPlan
	bestScore := -1
	for i := range all {
		k := &all[i]
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
