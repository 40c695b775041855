package push

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// fromLocal is the origin of a reused layer that this machine's cache recorded. Any other origin is
// the reference of an image in a registry.
const fromLocal = "local"

// hasImages reports whether top is an index that lists the images of this push. It compares the
// recipes.
func (p *pusher) hasImages(top *RemoteIndex) bool {
	switch {
	case top.Index == nil:
		return false
	case !p.opts.Join:
		return top.Index.Annotations[manifest.AnnotationImage] == p.recipe.String()
	}
	for _, image := range p.images {
		d := top.Index.Find(image.draft.System.Platform)
		if d == nil || d.Annotations[manifest.AnnotationImage] != image.draft.Recipe.String() {
			return false
		}
	}
	return true
}

// remoteOf returns the image in p.opts.Reuse that is in the destination's repository under tag. If
// there is none, it returns nil.
func (p *pusher) remoteOf(tag string) *Remote {
	for _, r := range p.opts.Reuse {
		if p.ours(r) && r.tagOrDigest == tag {
			return r
		}
	}
	return nil
}

// ours reports whether r is in the repository to which this push sends its image.
func (p *pusher) ours(r *Remote) bool { return p.dst == oci.Destination(r.repo) }

// recall looks up the results of the layers' recipes. It asks this machine's cache first, then the
// images in p.opts.Reuse. It also records which blobs the manifests in the destination's repository
// list, so that the push need not send a request for each blob.
func (p *pusher) recall(ctx context.Context) error {
	missing := 0
	for _, l := range p.layers {
		if packed, ok := p.opts.Cache.Layer(l.Layer.Recipe); ok {
			l.recorded, l.recordedBy = &packed, fromLocal
			continue
		}
		missing++
	}
	if missing == 0 && len(p.layers)+len(p.base) <= fewQueries {
		return nil
	}
	remotes, err := p.readRemotes(ctx, missing > 0)
	if err != nil {
		return err
	}
	for _, r := range remotes {
		var claims []*manifest.Claims
		if missing > 0 {
			if claims, err = p.testedClaims(ctx, r); err != nil {
				return err
			}
		}
		if p.ours(r) && !p.incomplete && p.opts.ReuseCheck <= 0 && r.contradiction() == nil {
			for d := range r.blobs(ctx) {
				p.listed[d] = true
			}
		}
		for _, l := range p.layers {
			if l.recorded != nil {
				continue
			}
			if packed, ok := lookup(claims, l.Layer); ok {
				l.recorded, l.recordedBy, l.unsigned = &packed, r.String(), r.signed == nil
			}
		}
	}
	return nil
}

// fewQueries is a number of layers. A push with at most this many layers asks for each layer,
// because this costs less than reading the manifests that list them.
const fewQueries = 4

// readRemotes returns the images in p.opts.Reuse that exist, without duplicates. If there are none,
// it returns the newest images of p.opts.ReuseNewest. It also reads their manifests and, if withClaims
// is true, their claims. All requests run concurrently. If a registry does not answer, the push becomes
// slower, but not wrong.
func (p *pusher) readRemotes(ctx context.Context, withClaims bool) ([]*Remote, error) {
	found, err := p.existing(ctx, p.opts.Reuse)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && p.opts.ReuseNewest != nil {
		last, err := newest(ctx, p.opts.ReuseNewest)
		if err != nil {
			p.warn(err)
		}
		for _, r := range last {
			r.signed = p.opts.Signed
		}
		if found, err = p.existing(ctx, last); err != nil {
			return nil, err
		}
	}
	group, groupCtx := task.WithContext(ctx)
	for _, r := range found {
		group.Go(func() error {
			_, err := r.manifests(groupCtx)
			if err == nil && withClaims {
				_, err = r.Claims(groupCtx)
			}
			p.warnRemote(r, err)
			return nil
		})
	}
	err = group.Wait()
	return found, errors.Join(err, context.Cause(ctx))
}

// existing returns the images that exist, without duplicates.
func (p *pusher) existing(ctx context.Context, remotes []*Remote) ([]*Remote, error) {
	digests := make([]digest.Digest, len(remotes))
	group, groupCtx := task.WithContext(ctx)
	for i, r := range remotes {
		group.Go(func() error {
			top, err := r.Index(groupCtx)
			if err == nil {
				digests[i] = top.Blob.Descriptor.Digest
			}
			p.warnRemote(r, err)
			return nil
		})
	}
	if err := errors.Join(group.Wait(), context.Cause(ctx)); err != nil {
		return nil, err
	}
	var found []*Remote
	for i, r := range remotes {
		same := func(o *Remote) bool {
			top, _ := o.Index(ctx)
			return top.Blob.Descriptor.Digest == digests[i] && o.repo == r.repo
		}
		if digests[i] != "" && !slices.ContainsFunc(found, same) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (p *pusher) warnRemote(r *Remote, err error) {
	if err != nil && !errors.Is(err, oci.ErrNotFound) && r.contradiction() == nil {
		p.warn(fmt.Errorf("reuse layers of %s: %w", r, err))
	}
}

// testedClaims returns the claims of r, after it has tested some of them. It makes the layers that
// need no store path itself, and compares the results with the claims. If one differs, testedClaims
// returns no claims, and the push no longer uses r. The push now has the results of these layers, so
// it asks no other registry for them.
func (p *pusher) testedClaims(ctx context.Context, r *Remote) ([]*manifest.Claims, error) {
	claims, err := r.Claims(ctx)
	if err != nil {
		claims = nil // readRemotes has already warned about err
	}
	for _, l := range p.layers {
		packed, ok := lookup(claims, l.Layer)
		if !ok || len(l.Layer.Paths) > 0 {
			continue
		}
		own, _, err := p.ownLayer(ctx, l.Layer)
		if err != nil {
			return nil, err
		}
		if own != packed {
			err := fmt.Errorf("layer %s: %w", packed.Digest, errContradiction)
			r.distrust(err)
			p.warn(fmt.Errorf("%s: %w; nixoci reuses nothing of this image", r, err))
			return nil, nil
		}
		if l.recorded == nil || p.madeForComparison[l.Layer.Recipe] && l.recordedBy == fromLocal {
			// This run has just made the layer, but the registry had it before. So the report names
			// the registry.
			l.recorded, l.recordedBy = &own, r.String()
		}
	}
	return claims, nil
}
