package push

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// Where the recipe of a reused layer came from, beside a registry's reference.
const fromLocal = "local"

// recipes identify images before a layer is made.
type recipes struct {
	index  digest.Digest   // of an index that holds all images and nothing else
	images []digest.Digest // of each image
}

func newRecipes(images []Image, stacks [][]*distinct, s manifest.Settings) (recipes, error) {
	systems := make([]*manifest.System, len(images))
	r := recipes{images: make([]digest.Digest, len(images))}
	for i, image := range images {
		var err error
		systems[i] = image.System
		if r.images[i], err = manifest.ImageRecipe(image.System, layersOf(stacks[i]), s); err != nil {
			return recipes{}, err
		}
	}
	var err error
	r.index, err = manifest.IndexRecipe(systems, r.images, s)
	return r, err
}

// unchanged reports whether the destination has the image already, under every
// tag that is wanted. What this machine knows costs one HEAD for each tag; what
// only the registry knows costs one GET.
func (p *pusher) unchanged(ctx context.Context, images []Image, r recipes) (Result, bool, error) {
	if len(p.job.Tags) == 0 {
		return Result{}, false, nil
	}
	var index ocispec.Descriptor
	known := !p.job.Join && p.job.Cache.Get(kindImage, r.index.String(), &index) && index.Digest.Validate() == nil
	for _, tag := range p.job.Tags {
		if known {
			there, err := p.dst.Resolve(ctx, tag)
			if err != nil && !errors.Is(err, oci.ErrNotFound) {
				return Result{}, false, err
			}
			if there.Digest == index.Digest {
				continue
			}
		}
		top := p.remoteTag(ctx, tag)
		if top == nil || !p.hasImages(top, images, r) || index.Digest != "" && index.Digest != top.Blob.Descriptor.Digest {
			return Result{}, false, nil
		}
		index = top.Blob.Descriptor
	}
	return Result{Index: index, Unchanged: true}, true, nil
}

// hasImages reports whether an index is the one that the push would make.
func (p *pusher) hasImages(top *RemoteIndex, images []Image, r recipes) bool {
	switch {
	case top.Index == nil:
		return false
	case !p.job.Join:
		return top.Index.Annotations[manifest.AnnotationImage] == r.index.String()
	}
	for i, image := range images {
		d := top.Index.Find(image.System.Platform)
		if d == nil || d.Annotations[manifest.AnnotationImage] != r.images[i].String() {
			return false
		}
	}
	return true
}

// remoteTag is what the destination's tag names, where the job believes that
// registry; else nil.
func (p *pusher) remoteTag(ctx context.Context, tag string) *RemoteIndex {
	for _, r := range p.job.Reuse {
		if p.dst != oci.Destination(r.repo) || r.target != tag {
			continue
		}
		if top, err := r.Index(ctx); err == nil {
			return top
		}
	}
	return nil
}

// recall asks whoever is believed what the recipes of the layers make.
func (p *pusher) recall(ctx context.Context) error {
	unknown := 0
	for _, d := range p.order {
		if packed, ok := p.job.Cache.Layer(d.layer.Recipe); ok {
			d.known, d.from = &packed, fromLocal
			continue
		}
		unknown++
	}
	if unknown == 0 {
		return nil
	}
	group, groupCtx := task.WithContext(ctx)
	for _, r := range p.job.Reuse {
		group.Go(func() error {
			// A registry that cannot be asked makes the push slower, not wrong.
			if _, err := r.Claims(groupCtx); err != nil && !errors.Is(err, oci.ErrNotFound) {
				p.warn(fmt.Errorf("reuse layers of %s: %w", r, err))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	for _, r := range p.job.Reuse {
		claims, _ := r.Claims(ctx)
		for _, d := range p.order {
			if d.known != nil {
				continue
			}
			if packed, ok := lookup(claims, d.layer); ok {
				d.known, d.from = &packed, r.String()
			}
		}
	}
	return nil
}

// Facts returns what is known of a toplevel's files without reading them: from
// this machine, else from what a believed registry says of the same toplevel
// with the same narHash.
func (j *Job) Facts(ctx context.Context, info *closure.Info) (manifest.Facts, bool) {
	var f manifest.Facts
	if j.Cache.Get(kindSystem, factsKey(info), &f) {
		return f, true
	}
	for _, r := range j.Reuse {
		top, err := r.Index(ctx)
		if err != nil || top.Index == nil {
			continue
		}
		if f, ok := top.Index.Facts(info); ok {
			return f, true
		}
	}
	return manifest.Facts{}, false
}

// PutFacts keeps what was read of a toplevel's files.
func (c *Cache) PutFacts(info *closure.Info, f manifest.Facts) error {
	return c.Put(kindSystem, factsKey(info), f)
}

func factsKey(info *closure.Info) string { return string(info.Path) + " " + info.NarHash.Hex() }
