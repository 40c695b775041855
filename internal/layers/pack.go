package layers

import (
	"context"
	"errors"
	"io"

	"github.com/nixoci/nixoci/internal/closure"
)

// Packer packs layers with a bounded number of workers and buffers.
type Packer struct{}

// Pack writes l's blob to w. The result is only there when all of it was
// written.
func (p *Packer) Pack(ctx context.Context, l *Layer, w io.Writer) (Packed, error) {
	return Packed{}, errors.New("pack: being written")
}

func storeLayer(c *closure.Closure, src closure.Source, paths []closure.StorePath, comp Compression) (*Layer, error) {
	return nil, errors.New("being written")
}
