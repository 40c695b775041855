package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
)

// Planner plans closures. It can use plans that earlier images or files record.
type Planner struct {
	Options Options    // Plan ignores the field From
	Follow  []Recorded // Plan follows the best of these exactly; if empty, Plan makes a new plan
	From    []Recorded // if Follow is empty, the new plan keeps the layers of the best of these
}

// Recorded is a plan from a file, or from one platform of an image.
type Recorded struct {
	Platform     string // "linux/amd64"; "" for a plan from a file
	OnlyPlatform bool   // do not use the plan for other platforms
	File         *File

	Manifest  digest.Digest // digest of the manifest with this plan; "" for a file
	Continues digest.Digest // digest of the manifest from which this plan was continued; "" for none

	// History becomes Options.History.
	History [][]closure.StorePath
}

// Plan plans one closure. platform is "" if the platform is not known. configuration becomes
// Options.Configuration. continues is the digest of the manifest from which the new plan was
// continued, "" for none.
func (p *Planner) Plan(c *closure.Closure, platform string, configuration ...closure.StorePath) (made *Plan, continues digest.Digest, err error) {
	if len(p.Follow) > 0 {
		made, err = Follow(c, best(p.Follow, c, platform).File, p.Options.MaxLayers)
		return made, "", err
	}
	o := p.Options
	o.Configuration = configuration
	recorded := best(p.From, c, platform)
	if recorded != nil {
		o.From, o.History = recorded.File.Plan(), recorded.History
	}
	if made, err = New(c, o); err != nil || recorded == nil {
		return made, "", err
	}
	if sameGroups(made, o.From) {
		// The layers are the same as those of the old image, so the new image is the old one.
		// It continues the same image as the old one does.
		return made, recorded.Continues, nil
	}
	return made, recorded.Manifest, nil
}

// sameGroups reports whether two plans have the same layers in the same order.
func sameGroups(a, b *Plan) bool {
	return slices.EqualFunc(a.Groups, b.Groups, func(x, y Group) bool { return slices.Equal(x.Paths, y.Paths) })
}

// best returns the best plan for a closure, nil if no plan can be used. A plan for the same
// platform is better than any other. Among the rest, the plan with the most store paths of
// the closure is best. Of equally good plans, the first one wins.
func best(all []Recorded, c *closure.Closure, platform string) *Recorded {
	var best *Recorded
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
