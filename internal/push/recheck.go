package push

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// These limits apply to the layers that every push makes again for a check. The only source of
// these layers is an unsigned image in a registry, and their store paths are on this machine. A
// layer of claimSampleSize takes less than a tenth of a second on one processor: gzip at level 3
// compresses more than 80 MB per second.
const (
	claimSample     = 3       // number of layers
	claimSampleSize = 8 << 20 // largest size of each layer in bytes, before compression
)

// sample chooses the reused layers that are made again for a check. If Options.ReuseCheck > 0,
// sample returns this share of the reused layers, rounded up to at least one layer. Otherwise it
// returns a few layers whose only source is an unsigned image. The choice is random. So nobody who
// forged a layer can know whether the next push checks it.
func (p *pusher) sample() []*pushedLayer {
	var reused, unsigned []*pushedLayer
	for _, l := range p.layers {
		if l.Outcome != Reused {
			continue
		}
		reused = append(reused, l)
		if l.unsigned && p.cheap(l.Layer) {
			unsigned = append(unsigned, l)
		}
	}
	if share := min(p.opts.ReuseCheck, 1); share > 0 {
		return choose(reused, int(math.Ceil(float64(len(reused))*share)))
	}
	return choose(unsigned, claimSample)
}

// sampleClaims chooses claims to check, like sample, for an image that the destination has already.
func (p *pusher) sampleClaims(unproved []claimedLayer) []claimedLayer {
	var cheap []claimedLayer
	for _, c := range unproved {
		if p.cheap(c.layer) {
			cheap = append(cheap, c)
		}
	}
	return choose(cheap, claimSample)
}

// cheap reports whether every push may make l again. l must be small, and Options.SampleClaims must
// be set.
func (p *pusher) cheap(l *layers.Layer) bool { return p.opts.SampleClaims && l.Size <= claimSampleSize }

// choose returns n elements of all, chosen at random. It changes the order of all.
func choose[T any](all []T, n int) []T {
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

// recheck makes the layer l again and compares the result with want, which the source recordedBy
// recorded. It sends nothing, and reports no progress: the progress display already shows the layer
// as done.
func (p *pusher) recheck(ctx context.Context, l *layers.Layer, want layers.Packed, recordedBy string) error {
	packed, err := p.opts.Packer.Pack(ctx, l, io.Discard)
	if err != nil {
		return fmt.Errorf("check layer %s: %w", want.Digest, err)
	}
	if packed == want {
		return nil
	}
	err = fmt.Errorf("check layer %s: made again, recipe %s gives %s: %w", want.Digest, l.Recipe, packed.Digest, oci.ErrOtherContent)
	if recordedBy == fromLocal {
		p.opts.Cache.DropLayer(l.Recipe)
		return hint.Add(err, "the entry in this machine's cache was wrong, and is removed now: push again; if this happens once more, run nixoci cache prune")
	}
	return hint.Add(err, "do not trust the layers of "+recordedBy+": push with --reuse none, and find out who wrote that image")
}
