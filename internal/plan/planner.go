package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
)

// Planner plans closures with the help of known plans.
type Planner struct {
	Options Options // its From is not used
	Follow  []Known // one of these is followed exactly; if empty, Plan plans the closure
	From    []Known // one of these is continued, if Follow is empty
}

// Known is a plan from a file, or from one platform of an image.
type Known struct {
	Platform     string // "linux/amd64"; "" for a file
	OnlyPlatform bool   // do not use the plan for other platforms
	File         *File

	Manifest  digest.Digest // the manifest with this plan; "" for a file
	Continues digest.Digest // the manifest whose plan this plan continues; "" for none
}

// Plan plans one closure. platform is "" if it is unknown. continues is the manifest
// whose plan the new one continues, "" for none.
func (p *Planner) Plan(c *closure.Closure, platform string, configuration ...closure.StorePath) (made *Plan, continues digest.Digest, err error) {
	if len(p.Follow) > 0 {
		made, err = Follow(c, best(p.Follow, c, platform).File, p.Options.MaxLayers)
		return made, "", err
	}
	o := p.Options
	o.Configuration = configuration
	known := best(p.From, c, platform)
	if known != nil {
		o.From = known.File.Plan()
	}
	if made, err = New(c, o); err != nil || known == nil {
		return made, "", err
	}
	if sameGroups(made, o.From) {
		// The layers are the same, so this is the old image again and does not continue
		// it.
		return made, known.Continues, nil
	}
	return made, known.Manifest, nil
}

// sameGroups reports whether two plans make the same layers in the same order.
func sameGroups(a, b *Plan) bool {
	return slices.EqualFunc(a.Groups, b.Groups, func(x, y Group) bool { return slices.Equal(x.Paths, y.Paths) })
}

// best returns the best plan for a closure. Plans for the platform come first, then those
// with most of the closure's store paths. The first of equal plans wins. It returns nil
// if there is none.
func best(all []Known, c *closure.Closure, platform string) *Known {
	var best *Known
	bestScore := -1
	for i := range all {
		k := &all[i]
		if k.OnlyPlatform && k.Platform != platform {
			continue
		}
		score := 0
		for _, l := range k.File.Layers {
			for _, s := range l.Paths {
				if c.Info(closure.StorePath(s)) != nil {
					score++
				}
			}
		}
		if platform != "" && k.Platform == platform {
			score += len(c.Paths) + 1
		}
		if score > bestScore {
			best, bestScore = k, score
		}
	}
	return best
}
