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

// Where the recipe of a reused layer came from, beside a registry's reference.
const fromLocal = "local"

// hasImages reports whether an index is the one that the push would make.
func (p *pusher) hasImages(top *RemoteIndex) bool {
	switch {
	case top.Index == nil:
		return false
	case !p.job.Join:
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

// remoteOf is the image that the destination's tag names, where the job
// believes that registry; else nil.
func (p *pusher) remoteOf(tag string) *Remote {
	for _, r := range p.job.Reuse {
		if p.ours(r) && r.tagOrDigest == tag {
			return r
		}
	}
	return nil
}

// ours reports whether r is in the repository that is pushed to.
func (p *pusher) ours(r *Remote) bool { return p.dst == oci.Destination(r.repo) }

// recall finds out what the recipes of the layers make: from this machine, else
// from whoever is believed. It also notes which blobs the manifests of the
// destination's repository list, so that nobody need ask for them.
func (p *pusher) recall(ctx context.Context) error {
	unknown := 0
	for _, l := range p.layers {
		if packed, ok := p.job.Cache.Layer(l.Layer.Recipe); ok {
			l.known, l.knownFrom = &packed, fromLocal
			continue
		}
		unknown++
	}
	if unknown == 0 && len(p.layers)+len(p.base) <= fewQueries {
		return nil
	}
	if err := p.readRemotes(ctx, unknown > 0); err != nil {
		return err
	}
	for _, r := range p.job.Reuse {
		var claims []*manifest.Claims
		if unknown > 0 {
			var err error
			if claims, err = p.credible(ctx, r); err != nil {
				return err
			}
		}
		if p.ours(r) && !p.incomplete && p.job.ReuseCheck <= 0 && r.contradiction() == nil {
			for d := range r.blobs(ctx) {
				p.listed[d] = true
			}
		}
		for _, l := range p.layers {
			if l.known != nil {
				continue
			}
			if packed, ok := lookup(claims, l.Layer); ok {
				l.known, l.knownFrom, l.unsigned = &packed, r.String(), r.signed == nil
			}
		}
	}
	return nil
}

// fewQueries is how many layers are rather asked for one by one than by reading
// the manifests that list them.
const fewQueries = 4

// readRemotes reads which images to reuse are there, then what each of them
// lists and, with withClaims, says of it: all at once. It leaves the distinct images
// in p.job.Reuse. A registry that cannot be asked makes the push slower, not
// wrong.
func (p *pusher) readRemotes(ctx context.Context, withClaims bool) error {
	found, err := p.present(ctx, p.job.Reuse)
	if err != nil {
		return err
	}
	if len(found) == 0 && p.job.ReuseElse != nil {
		more, err := p.job.ReuseElse(ctx)
		if err != nil {
			p.warn(err)
		}
		if found, err = p.present(ctx, more); err != nil {
			return err
		}
	}
	p.job.Reuse = found
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
	return errors.Join(err, context.Cause(ctx))
}

// present returns the images that are there, each once.
func (p *pusher) present(ctx context.Context, remotes []*Remote) ([]*Remote, error) {
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

// credible returns what r claims, nothing where it is wrong about a layer that
// this machine can make without a store path. These layers are known from here
// on: no registry is believed about them.
func (p *pusher) credible(ctx context.Context, r *Remote) ([]*manifest.Claims, error) {
	claims, err := r.Claims(ctx)
	if err != nil {
		claims = nil // it has been said
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
			p.warn(fmt.Errorf("%s: %w; nothing that it says is believed", r, err))
			return nil, nil
		}
		if l.known == nil || p.own[l.Layer.Recipe] && l.knownFrom == fromLocal {
			l.known, l.knownFrom = &own, r.String() // made in this run, and the same there
		}
	}
	return claims, nil
}
