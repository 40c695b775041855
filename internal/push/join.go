package push

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/retry"
)

// Registries have no compare-and-swap for tags. If two joins read the same index, the second one to
// write removes the platform of the first. So each join reads the index again after joinSettle,
// which is much longer than the time between a join's read and its write. If its platform is gone,
// it joins again.
const (
	joinSettle   = time.Second
	joinAttempts = 10
)

// join adds the images to the index that tag names. If the tag does not exist, join creates the
// index. It returns the index that the registry has in the end.
func (p *pusher) join(ctx context.Context, tag string, images []*manifest.PlatformImage) (oci.Blob, error) {
	for attempt := range joinAttempts {
		old, err := p.current(ctx, tag)
		if err != nil {
			return oci.Blob{}, err
		}
		var before *manifest.Index
		if old != nil {
			before = old.Index
		}
		index, err := manifest.Join(before, images, p.opts.Settings)
		if err != nil {
			return oci.Blob{}, err
		}
		if old == nil || old.Blob.Descriptor.Digest != index.Descriptor.Digest {
			if err := p.dst.PutManifest(ctx, index, ""); err != nil {
				return oci.Blob{}, err
			}
			if err := p.dst.PutManifest(ctx, index, tag); err != nil {
				return oci.Blob{}, err
			}
		}
		// If two joins have removed each other's platform, the random part prevents that they do so
		// again.
		settle := cmp.Or(p.opts.Settle, joinSettle)
		if err := retry.Sleep(ctx, settle+rand.N(settle/2)); err != nil {
			return oci.Blob{}, err
		}
		now, err := p.current(ctx, tag)
		if err != nil {
			return oci.Blob{}, err
		}
		if now != nil && now.Index != nil && now.Index.Holds(images) {
			return now.Blob, nil
		}
		p.warn(fmt.Errorf("join %s: another push replaced the index meanwhile; joining again (%d)", tag, attempt+1))
	}
	return oci.Blob{}, hint.Add(fmt.Errorf("join %s: other pushes keep replacing the index", tag),
		"use --join for every push to this tag, or push each platform to its own tag and run nixoci index create")
}

// current reads the index that tag names now. If the tag does not exist, current returns nil.
func (p *pusher) current(ctx context.Context, tag string) (*RemoteIndex, error) {
	repo, ok := p.dst.(*registry.Repository)
	if !ok {
		return nil, hint.Add(errors.New("join: only an index in a registry can be joined"), "push to a registry, or leave out --join")
	}
	blob, err := repo.GetManifest(ctx, tag)
	if errors.Is(err, oci.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("join %s: %w", tag, err), "the tag does not name an index: push once without --join")
	}
	return &RemoteIndex{Blob: blob, Index: index}, nil
}
