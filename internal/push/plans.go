package push

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
)

// Plans reads the plans of the image's platforms. The plan of a platform is in its manifest,
// because each layer's descriptor lists the layer's store paths. So Plans reads only the manifests,
// which a push reads anyway. An image of another tool has no plans. If the image does not exist,
// the error wraps [oci.ErrNotFound].
//
// Anybody who can write to the repository can list wrong paths. A wrong list makes the new layers
// less efficient but never incorrect, because the list only decides which path goes into which
// layer.
func (r *Remote) Plans(ctx context.Context) ([]plan.Known, error) {
	manifests, err := r.manifests(ctx)
	if err != nil {
		return nil, err
	}
	return plansOf(manifests), nil
}

// PlansIn reads the plans like [Remote.Plans], from an image in a layout.
func PlansIn(ctx context.Context, src oci.Reader, tagOrDigest string) ([]plan.Known, error) {
	blob, err := src.GetManifest(ctx, tagOrDigest)
	if err != nil {
		return nil, err
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, nil //nolint:nilerr // nixoci writes an index for each image, so another tool made this image
	}
	var all []remoteManifest
	for _, d := range index.Manifests {
		if d.Annotations[manifest.AnnotationImage] == "" {
			continue
		}
		m := remoteManifest{listed: d}
		if blob, m.err = src.GetManifest(ctx, d.Digest.String()); m.err == nil {
			m.parsed, m.err = manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
		}
		all = append(all, m)
	}
	return plansOf(all), ctx.Err()
}

func plansOf(manifests []remoteManifest) []plan.Known {
	var all []plan.Known
	for _, m := range manifests {
		if m.err != nil || m.listed.Platform == nil {
			continue // this platform has no recorded plan and gets a new one
		}
		recorded := &plan.Plan{Strategy: plan.StrategyCost}
		for _, l := range m.parsed.Layers {
			paths, err := layers.RecordedPaths(l.Annotations[layers.AnnotationPaths])
			if err == nil && len(paths) > 0 {
				recorded.Groups = append(recorded.Groups, plan.Group{Paths: paths})
			}
		}
		if len(recorded.Groups) > 0 {
			all = append(all, plan.Known{
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
