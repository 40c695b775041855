package push

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/registry"
)

// Plan plans the layers of each system. The layers of a base image count too: planner's MaxLayers
// limits them together with the layers of the system.
func Plan(planner *plan.Planner, systems []*manifest.System) ([]PlannedSystem, error) {
	var planned []PlannedSystem
	for _, sys := range systems {
		above, err := AboveBase(planner, sys.Base)
		if err != nil {
			return nil, err
		}
		var configuration []closure.StorePath // empty for a NixOS system, because the planner recognizes its configuration by the names
		if sys.App != nil {
			configuration = sys.App.Roots[:1]
		}
		p, continues, err := above.Plan(sys.Closure, manifest.FormatPlatform(sys.Platform), configuration...)
		if err != nil {
			return nil, err
		}
		planned = append(planned, PlannedSystem{System: sys.Continuing(continues), Plan: p})
	}
	return planned, nil
}

// AboveBase returns a planner for the layers above the base image b. It plans fewer layers than
// planner, because MaxLayers also limits the layers of b. If b is nil, AboveBase returns planner.
func AboveBase(planner *plan.Planner, b *manifest.Base) (*plan.Planner, error) {
	if b == nil {
		return planner, nil
	}
	above := *planner
	above.Options.MaxLayers -= b.Count
	if above.Options.MaxLayers < 1 {
		help := fmt.Sprintf("use --max-layers %d, the most that overlay file systems support: it leaves %d for store paths", plan.LayerLimit, plan.LayerLimit-b.Count)
		if b.Count >= plan.LayerLimit {
			help = "use a base image with fewer layers"
		}
		return nil, hint.Add(fmt.Errorf("base image %s has %s, and --max-layers %d leaves none for store paths", b.BaseInfo, human.Count(b.Count, "layer"), planner.Options.MaxLayers), help)
	}
	return &above, nil
}

// PredecessorPlans reads the plans of the image in repo that the new image replaces. It also
// returns the name of that image, or "" if there is none. For history, see [ReadHistory].
func (o *Options) PredecessorPlans(ctx context.Context, repo *registry.Repository, history int) (plans []plan.Recorded, name string, err error) {
	r, err := o.Predecessor(ctx, repo)
	if err != nil || r == nil {
		return nil, "", err
	}
	if plans, err = r.Plans(ctx); err == nil {
		err = ReadHistory(ctx, repo, plans, history)
	}
	return plans, r.String(), err
}

// Plans reads the plans of the image's platforms. The plan of a platform is in its manifest,
// because each layer's descriptor lists the layer's store paths. So Plans reads only the manifests,
// which a push reads anyway. An image of another tool has no plans. If the image does not exist,
// the error wraps [oci.ErrNotFound].
//
// Anybody who can write to the repository can list wrong paths. A wrong list makes the new layers
// less efficient but never incorrect, because the list only decides which path goes into which
// layer.
func (r *Remote) Plans(ctx context.Context) ([]plan.Recorded, error) {
	manifests, err := r.manifests(ctx)
	if err != nil {
		return nil, err
	}
	return plansOf(manifests), nil
}

// ReadPlans reads the plans of img like [Remote.Plans]. For history, see [ReadHistory].
func ReadPlans(ctx context.Context, img *oci.OpenedImage, history int) ([]plan.Recorded, error) {
	blob, err := img.GetManifest(ctx, img.TagOrDigest)
	if err != nil {
		return nil, err
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, nil //nolint:nilerr // nixoci writes an index for each image, so another tool made this image
	}
	manifests, err := readManifests(ctx, img.Reader, index)
	if err != nil {
		return nil, err
	}
	plans := plansOf(manifests)
	return plans, ReadHistory(ctx, img.Reader, plans, history)
}

func plansOf(manifests []remoteManifest) []plan.Recorded {
	var all []plan.Recorded
	for _, m := range manifests {
		if m.err != nil || m.listed.Platform == nil {
			continue // this platform has no recorded plan and gets a new one
		}
		if recorded := recordedPlan(m.parsed); len(recorded.Groups) > 0 {
			all = append(all, plan.Recorded{
				Platform:     manifest.FormatPlatform(*m.listed.Platform),
				OnlyPlatform: true,
				File:         recorded.File(),
				Manifest:     m.listed.Digest,
				Continues:    digest.Digest(m.parsed.Annotations[manifest.AnnotationPlanFrom]),
			})
		}
	}
	return all
}

// recordedPlan returns the plan that the layers of m record. If another tool made m, the plan is
// empty.
func recordedPlan(m *manifest.Manifest) *plan.Plan {
	recorded := &plan.Plan{Strategy: plan.StrategyCost}
	for _, l := range m.Layers {
		paths, err := layers.RecordedPaths(l.Annotations[layers.AnnotationPaths])
		if err == nil && len(paths) > 0 {
			recorded.Groups = append(recorded.Groups, plan.Group{Paths: paths})
		}
	}
	return recorded
}
