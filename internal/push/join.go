package push

import (
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

// Registries have no compare-and-swap for tags, so two joins can read the same
// index and the second one to write takes the first one's platform away. Each
// join therefore looks again after joinSettle, which is much longer than the
// others need between reading and writing, and joins again when its platform is
// gone.
const (
	joinSettle   = time.Second
	joinAttempts = 10
)

// join adds the images to the index that tag names, or starts one, and returns
// the index that is there in the end.
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
		index, err := manifest.Join(before, images, p.job.Settings)
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
		// The jitter keeps two that collided from colliding again.
		if err := retry.Sleep(ctx, joinSettle+rand.N(joinSettle/2)); err != nil {
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
	return oci.Blob{}, hint.Add(fmt.Errorf("join %s: others keep replacing the index", tag),
		"let every push to this tag use --join, or push to tags of their own and use nixoci index create")
}

// current is what tag names right now, nil where there is nothing yet.
func (p *pusher) current(ctx context.Context, tag string) (*RemoteIndex, error) {
	repo, ok := p.dst.(*registry.Repository)
	if !ok {
		return nil, errors.New("join: only an index in a registry can be joined")
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
		return nil, hint.Add(fmt.Errorf("join %s: %w", tag, err), "what the tag names now is no index: push without --join once")
	}
	return &RemoteIndex{Blob: blob, Index: index}, nil
}
