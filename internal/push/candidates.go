package push

import (
	"context"
	"errors"
	"slices"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// newestTags is how many tags are looked at where none that is named is there.
const newestTags = 4

// Newest are the images that the newest tags of repo name. With an error they
// are those that were found before it.
func Newest(ctx context.Context, repo *registry.Repository) (images []*Remote, err error) {
	tags, err := repo.NewestTags(ctx, newestTags)
	for _, tag := range tags {
		images = append(images, NewRemote(repo, tag))
	}
	return images, err
}

// AddReuse adds an image to j.Reuse, where one of that reference is not there
// already.
func (j *Job) AddReuse(image *Remote) {
	if !slices.ContainsFunc(j.Reuse, func(r *Remote) bool { return r.String() == image.String() }) {
		j.Reuse = append(j.Reuse, image)
	}
}

// Predecessor is the image in repo that a push will replace: the one that the
// first of its tags names, else the other tags, else latest, else the newest;
// nil without any. It need not be signed: nothing of the new image's content is
// taken from it.
func (j *Job) Predecessor(ctx context.Context, repo *registry.Repository) (*Remote, error) {
	var named []*Remote
	for _, tag := range append(slices.Clone(j.Tags), "latest") {
		named = append(named, j.unsigned(NewRemote(repo, tag)))
	}
	first, err := firstThere(ctx, named)
	if err != nil || first != nil {
		return first, err
	}
	newest, err := Newest(ctx, repo)
	if err != nil && j.Warn != nil {
		j.Warn(err) // some registries list nothing
	}
	for i, r := range newest {
		newest[i] = j.unsigned(r)
	}
	return firstThere(ctx, newest)
}

// unsigned is the one of j.Reuse with image's reference, since that may have
// read it already, unless it demands a signature; else image.
func (j *Job) unsigned(image *Remote) *Remote {
	for _, r := range j.Reuse {
		if r.signed == nil && r.String() == image.String() {
			return r
		}
	}
	return image
}

// firstThere returns the first of images that is there, nil without any.
func firstThere(ctx context.Context, images []*Remote) (*Remote, error) {
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
