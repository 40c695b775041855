package push

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/oci"
)

// sample chooses the reused layers that are made again: share of them, rounded
// up, so that a check of anything looks at one layer at least. Which ones
// follows from the recipes of the image and of its layers. So a push that is
// done again checks the same ones, and the next version of the image checks
// others: a wrong layer that lasts is found, though no push checks all.
func (p *pusher) sample(image digest.Digest) []*distinct {
	type ranked struct {
		*distinct
		rank [sha256.Size]byte
	}
	var reused []ranked
	for _, d := range p.order {
		if d.How == Reused {
			reused = append(reused, ranked{d, sha256.Sum256(fmt.Appendf(nil, "%s\n%s", image, d.layer.Recipe))})
		}
	}
	slices.SortFunc(reused, func(a, b ranked) int {
		return cmp.Or(bytes.Compare(a.rank[:], b.rank[:]), bytes.Compare(a.layer.Recipe[:], b.layer.Recipe[:]))
	})
	n := int(math.Ceil(float64(len(reused)) * min(p.job.ReuseCheck, 1)))
	chosen := make([]*distinct, n)
	for i := range chosen {
		chosen[i] = reused[i].distinct
	}
	return chosen
}

// recheck makes a reused layer again and compares. Nothing is sent.
func (p *pusher) recheck(ctx context.Context, d *distinct) error {
	again := *d.layer
	again.Progress = nil // it counts as done already
	packed, err := p.job.Packer.Pack(ctx, &again, io.Discard)
	if err != nil {
		return fmt.Errorf("check layer %s: %w", d.Packed.Digest, err)
	}
	if packed == d.Packed {
		d.Checked = true
		return nil
	}
	err = fmt.Errorf("check layer %s: made again, recipe %s gives %s: %w", d.Packed.Digest, d.layer.Recipe, packed.Digest, oci.ErrOtherContent)
	if d.From == fromLocal {
		p.job.Cache.Drop(kindLayer, d.layer.Recipe.String())
		return hint.Add(err, "this machine's cache was wrong about it and has forgotten it; push again, and nixoci cache prune if it is not alone")
	}
	return hint.Add(err, "what "+d.From+" says of its layers is not to be believed: push with --reuse none, and find out who wrote it")
}
