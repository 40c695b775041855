package push

import (
	"context"
	"errors"
	"slices"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// newestTags is the number of newest tags that a push tries if no other image exists in the
// repository under a tag that it expects.
const newestTags = 4

// newest returns the images that the newest tags of repo name. If it returns an error, it also
// returns the images found before the error.
func newest(ctx context.Context, repo *registry.Repository) (images []*Remote, err error) {
	tags, err := repo.NewestTags(ctx, newestTags)
	for _, tag := range tags {
		images = append(images, NewRemote(repo, tag))
	}
	return images, err
}

// AddReuse adds image to o.Reuse, unless o.Reuse has an image with the same reference. If o.Signed is
// not nil, the image must be signed.
func (o *Options) AddReuse(image *Remote) {
	image.signed = o.Signed
	if !slices.ContainsFunc(o.Reuse, func(r *Remote) bool { return r.String() == image.String() }) {
		o.Reuse = append(o.Reuse, image)
	}
}

// named returns the images in repo under the tags of the push and under the tag latest.
func (o *Options) named(repo *registry.Repository) (images []*Remote) {
	for _, tag := range append(slices.Clone(o.Tags), "latest") {
		images = append(images, NewRemote(repo, tag))
	}
	return images
}

// ReuseNamed adds to o.Reuse the images in repo under the tags of the push and under the tag
// latest.
func (o *Options) ReuseNamed(repo *registry.Repository) {
	for _, r := range o.named(repo) {
		o.AddReuse(r)
	}
}

// Predecessor returns the image in repo that the new image replaces. It tries the tags of the push
// in their order, then the tag latest, then the newest tags. If none of them exists, it returns
// nil. The image need not be signed, because the new image takes no content from it.
func (o *Options) Predecessor(ctx context.Context, repo *registry.Repository) (*Remote, error) {
	named := o.named(repo)
	for i, r := range named {
		named[i] = o.unsigned(r)
	}
	first, err := firstExisting(ctx, named)
	if err != nil || first != nil {
		return first, err
	}
	last, err := newest(ctx, repo)
	if err != nil && o.Warn != nil {
		o.Warn(err) // some registries refuse to list tags
	}
	for i, r := range last {
		last[i] = o.unsigned(r)
	}
	return firstExisting(ctx, last)
}

// unsigned returns the element of o.Reuse with image's reference, because this element may have
// been read already. If there is no such element, or if it requires a signature, unsigned returns
// image.
func (o *Options) unsigned(image *Remote) *Remote {
	for _, r := range o.Reuse {
		if r.signed == nil && r.String() == image.String() {
			return r
		}
	}
	return image
}

// firstExisting returns the first of images that exists. If none exists, it returns nil.
func firstExisting(ctx context.Context, images []*Remote) (*Remote, error) {
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
