package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
)

// Planner plans closures with the help of plans that are known already.
type Planner struct {
	Options Options // without From
	Follow  []Known // one of these is followed exactly; empty: the closure is planned
	From    []Known // one of these is continued
}

// Known is a plan of a file, or of one platform of an image.
type Known struct {
	Platform     string // "linux/amd64"; "" of a file
	OnlyPlatform bool   // it is for no other platform
	File         *File

	Manifest  digest.Digest // that has the plan; "" of a file
	Continues digest.Digest // the manifest whose plan that one continues; "" for none
}

// Plan plans one closure. Platform is "" where it is not known. continues is
// the manifest whose plan the new one continues, "" for none.
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
		// The same layers: it is that image once more, and not one that follows it.
		return made, known.Continues, nil
	}
	return made, known.Manifest, nil
}

// sameGroups reports whether two plans make the same layers in the same order.
func sameGroups(a, b *Plan) bool {
	return slices.EqualFunc(a.Groups, b.Groups, func(x, y Group) bool { return slices.Equal(x.Paths, y.Paths) })
}

// best is the plan for a closure: of its platform if one is, and of these the
// one that knows most of its store paths; the first of equals; nil without any.
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
