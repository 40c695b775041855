package push

import (
	"context"
	"errors"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// putImages puts configs and manifests, then the index, then the tags.
func (p *pusher) putImages(ctx context.Context) (Result, error) {
	built, index, err := p.putManifests(ctx)
	if errors.Is(err, oci.ErrMissingBlob) {
		if err := p.restoreMissing(ctx); err != nil {
			return Result{}, err
		}
		built, index, err = p.putManifests(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{}
	for _, d := range p.layers {
		result.Layers = append(result.Layers, d.LayerResult)
	}
	for _, l := range p.base {
		result.Base = append(result.Base, BaseResult{l.Descriptor, l.outcome})
	}
	if err := p.dst.Commit(ctx); err != nil {
		return Result{}, err
	}
	if !p.opts.Join { // a joined index has more platforms than the recipe, so do not store it
		recorded := recordedIndex{Descriptor: index.Descriptor}
		for _, m := range built {
			recorded.Manifests = append(recorded.Manifests, m.Manifest.Descriptor)
		}
		if err := p.opts.Cache.Put(cache.FolderImages, p.recipe.String(), recorded); err != nil {
			p.warn(err)
		}
	}
	result.Index = index.Descriptor
	if parsed, err := manifest.ParseIndex(index.Data, index.Descriptor.MediaType); err == nil {
		result.Platforms = parsed.Manifests
	}
	return result, nil
}

// putManifests puts each platform's config and manifest, then the index and the tags.
func (p *pusher) putManifests(ctx context.Context) ([]*manifest.PlatformImage, oci.Blob, error) {
	built := make([]*manifest.PlatformImage, len(p.images))
	group, groupCtx := task.WithContext(ctx)
	group.SetLimit(p.opts.Uploads)
	for i, image := range p.images {
		m, err := image.finish()
		if err != nil {
			return nil, oci.Blob{}, err
		}
		built[i] = m
		group.Go(func() error {
			if !p.listed[m.Config.Descriptor.Digest] {
				if err := p.dst.PutBlob(groupCtx, m.Config); err != nil {
					return err
				}
			}
			return p.dst.PutManifest(groupCtx, m.Manifest, "")
		})
	}
	if err := group.Wait(); err != nil {
		return nil, oci.Blob{}, err
	}
	index, err := p.putIndex(ctx, built)
	return built, index, err
}

// putIndex puts the index under its digest and then under each tag. With Options.Join,
// putIndex first joins the new index with the index in the registry.
func (p *pusher) putIndex(ctx context.Context, images []*manifest.PlatformImage) (oci.Blob, error) {
	tags := p.opts.Tags
	var index oci.Blob
	var err error
	if p.opts.Join {
		if len(tags) == 0 {
			return oci.Blob{}, errors.New("join: no tag is given")
		}
		index, err = p.join(ctx, tags[0], images)
		tags = tags[1:]
	} else if index, err = manifest.NewIndex(images, p.opts.Settings); err == nil {
		err = p.dst.PutManifest(ctx, index, "")
	}
	if err != nil {
		return oci.Blob{}, err
	}
	group, ctx := task.WithContext(ctx)
	for _, t := range tags {
		group.Go(func() error { return p.dst.PutManifest(ctx, index, t) })
	}
	return index, group.Wait()
}
