package push

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// putLayers looks up the layers with a recorded result in the destination. It then makes the missing
// layers. At the end it makes a sample of the reused layers again and compares the results.
func (p *pusher) putLayers(ctx context.Context) error {
	if err := p.query(ctx); err != nil {
		return err
	}
	var todo []*pushedLayer
	for _, l := range p.layers {
		if l.Outcome == "" {
			todo = append(todo, l)
		}
	}
	sample := p.sample() // choose before makeAll, which changes the outcomes that sample reads
	if err := p.makeAll(ctx, todo); err != nil {
		return err
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(p.opts.Uploads)
	for _, l := range sample {
		group.Go(func() error {
			err := p.recheck(ctx, l.Layer, l.Packed, l.ReusedFrom)
			l.Checked = err == nil
			return err
		})
	}
	return group.Wait()
}

// makeAll makes and sends layers in the order of [mixed].
func (p *pusher) makeAll(ctx context.Context, todo []*pushedLayer) error {
	uploads := p.opts.Uploads
	if _, ordered := p.dst.(oci.Ordered); ordered {
		uploads = 1 // one layer keeps all compressors busy
	} else {
		todo = mixed(todo)
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(uploads)
	for _, l := range todo {
		if ctx.Err() != nil {
			break // leave the loop, because group.Go would wait for a free slot
		}
		group.Go(func() error { return p.make(ctx, l) })
	}
	return group.Wait()
}

// smallEvery is 4, so every fourth layer is a small one.
const smallEvery = 4

// mixed returns the layers in the order in which they are made. The largest come first, but every
// fourth layer is the smallest that is left. With this order, no large layer is left alone at the
// end, and some layers are finished soon. The user sees progress early, and an interrupted push has
// stored something.
func mixed(todo []*pushedLayer) []*pushedLayer {
	left := slices.Clone(todo)
	slices.SortStableFunc(left, func(a, b *pushedLayer) int { return cmp.Compare(b.Layer.Size, a.Layer.Size) })
	order := make([]*pushedLayer, 0, len(left))
	for len(left) > 0 {
		next := 0
		if len(order)%smallEvery == smallEvery-1 {
			next = len(left) - 1
		}
		order = append(order, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return order
}

// query marks the layers with a recorded result that the destination has. If a manifest in the same
// repository lists a layer, query sends no request for this layer. If such a layer is missing after
// all, the registry refuses the new manifest, see [pusher.putImages].
func (p *pusher) query(ctx context.Context) error {
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for _, l := range p.layers {
		if l.recorded == nil {
			continue
		}
		if p.listed[l.recorded.Digest] {
			p.reused(l)
			continue
		}
		if dst, ok := p.dst.(oci.Lazy); ok {
			if err := p.offer(dst, l); err != nil {
				return err
			}
			continue
		}
		group.Go(func() error {
			desc, err := p.descriptor(l.Layer, *l.recorded)
			if err != nil {
				return err
			}
			has, err := p.dst.HasBlob(ctx, desc)
			if err != nil || !has {
				return err
			}
			p.reused(l)
			return nil
		})
	}
	return group.Wait()
}

// offer announces a layer with a recorded result to the destination. The push makes the layer only
// when the destination asks for its content.
func (p *pusher) offer(dst oci.Lazy, l *pushedLayer) error {
	desc, err := p.descriptor(l.Layer, *l.recorded)
	if err != nil {
		return err
	}
	layer, want := l.Layer, *l.recorded
	dst.Offer(desc, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		packed, err := p.opts.Packer.Pack(ctx, layer, w) // without progress, because the display already shows the layer as done
		if err == nil && packed != want {
			p.opts.Cache.DropLayer(layer.Recipe)
			err = hint.Add(oci.OtherContent(want.Digest, packed.Digest),
				"the entry in this machine's cache was wrong, and is removed now: run the command again")
		}
		return packed, err
	})
	p.reused(l)
	return nil
}

func (p *pusher) reused(l *pushedLayer) {
	l.Packed, l.Outcome, l.ReusedFrom = *l.recorded, Reused, l.recordedBy
	p.opts.Progress.Done(l.LayerResult)
}

// restoreMissing is called after the registry refused a manifest. It looks up all layers again,
// also the layers that this push has just sent, and makes the missing ones.
func (p *pusher) restoreMissing(ctx context.Context) error {
	clear(p.listed)
	if dst, ok := p.dst.(oci.Forgetful); ok {
		dst.Forget()
	}
	var missing []*pushedLayer
	var mu sync.Mutex
	group, groupCtx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for _, l := range p.layers {
		group.Go(func() error {
			desc, err := p.descriptor(l.Layer, l.Packed)
			if err != nil {
				return err
			}
			has, err := p.dst.HasBlob(groupCtx, desc)
			if err == nil && !has {
				mu.Lock()
				missing = append(missing, l)
				mu.Unlock()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := p.putBase(ctx); err != nil || len(missing) == 0 {
		return err
	}
	p.warn(fmt.Errorf("%s: the registry has lost %d layers that it had confirmed; nixoci puts them back", p.name(), len(missing)))
	return p.makeAll(ctx, missing)
}

// make packs one layer and uploads its bytes in the same pass. After the upload it stores the
// result in the cache.
func (p *pusher) make(ctx context.Context, l *pushedLayer) error {
	pack := func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		return p.opts.Packer.PackWithProgress(ctx, l.Layer, w, func(n int) { p.opts.Progress.Packing(l.Layer, n) })
	}
	put := p.dst.PutLayer
	if _, remote := p.dst.(oci.Metered); remote && l.Layer.Size <= p.opts.WholeLayers {
		put = p.putWhole
	}
	packed, err := put(ctx, l.recorded, pack)
	if l.recorded != nil && errors.Is(err, oci.ErrOtherContent) {
		// The recorded result of this recipe was wrong. The result of this run is right.
		p.opts.Cache.DropLayer(l.Layer.Recipe)
		packed, err = put(ctx, nil, pack)
	}
	if err != nil {
		return err
	}
	l.Packed, l.Outcome = packed, Made
	if err := p.opts.Cache.PutLayer(l.Layer.Recipe, packed); err != nil {
		p.warn(err)
	}
	p.opts.Progress.Done(l.LayerResult)
	return nil
}

// putWhole replaces PutLayer for a small layer. It packs the layer into memory first, which saves
// one request.
func (p *pusher) putWhole(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	var data bytes.Buffer
	packed, err := pack(ctx, &data)
	if err != nil {
		return layers.Packed{}, err
	}
	if want != nil && packed != *want {
		return layers.Packed{}, oci.OtherContent(want.Digest, packed.Digest)
	}
	blob := oci.Blob{Descriptor: ocispec.Descriptor{Digest: packed.Digest, Size: packed.Size}, Data: data.Bytes()}
	return packed, p.dst.PutBlob(ctx, blob)
}

func (p *pusher) descriptor(l *layers.Layer, packed layers.Packed) (ocispec.Descriptor, error) {
	mediaType, err := l.Compression.MediaType(p.opts.Settings.Docker)
	return ocispec.Descriptor{MediaType: mediaType, Digest: packed.Digest, Size: packed.Size}, err
}
