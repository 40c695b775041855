package push

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/task"
)

// Predecessor is one platform of an image that is there, with the plan that its
// manifest records.
type Predecessor struct {
	Platform ocispec.Platform
	Manifest digest.Digest
	PlanFrom digest.Digest // whose plan that one continues; "" for none
	Plan     *plan.Plan
}

// Predecessors reads the plans of the image that r names. Each layer's descriptor
// lists the layer's store paths, so this takes the manifests alone, which a
// push reads anyway. An image of another tool has none. The error wraps
// [oci.ErrNotFound] where there is no image.
//
// What a manifest lists is a claim. A wrong one makes worse layers and never
// wrong ones: only where a path goes is taken from it.
func (r *Remote) Predecessors(ctx context.Context) ([]Predecessor, error) {
	manifests, err := r.manifests(ctx)
	if err != nil {
		return nil, err
	}
	return predecessors(manifests), nil
}

// FirstThere returns the first of images that is there, nil without any.
func FirstThere(ctx context.Context, images []*Remote) (*Remote, error) {
	group, groupCtx := task.WithContext(ctx)
	for _, r := range images {
		group.Go(func() error {
			_, err := r.Index(groupCtx)
			if errors.Is(err, oci.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, r := range images {
		if _, err := r.Index(ctx); err == nil {
			return r, nil
		}
	}
	return nil, nil
}

// SourcePredecessors is [Remote.Predecessors] for an image in a layout.
func SourcePredecessors(ctx context.Context, src oci.Source, target string) ([]Predecessor, error) {
	blob, err := src.GetManifest(ctx, target)
	if err != nil {
		return nil, err
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, nil //nolint:nilerr // something else than an index: nothing of nixoci's
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
	return predecessors(all), ctx.Err()
}

func predecessors(manifests []remoteManifest) []Predecessor {
	var all []Predecessor
	for _, m := range manifests {
		if m.err != nil || m.listed.Platform == nil {
			continue // that platform is planned anew
		}
		p := Predecessor{Platform: *m.listed.Platform, Manifest: m.listed.Digest,
			PlanFrom: digest.Digest(m.parsed.Annotations[manifest.AnnotationPlanFrom]), Plan: &plan.Plan{Strategy: plan.StrategyCost}}
		for _, l := range m.parsed.Layers {
			paths, err := layers.RecordedPaths(l.Annotations[layers.AnnotationPaths])
			if err == nil && len(paths) > 0 {
				p.Plan.Groups = append(p.Plan.Groups, plan.Group{Paths: paths})
			}
		}
		if len(p.Plan.Groups) > 0 {
			all = append(all, p)
		}
	}
	return all
}
