package layers

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/task"
)

// FormatVersion names the layer format: the canonical tar stream, the frozen
// compressor settings, and what a layer of store paths holds. Whatever changes
// the bytes of such a layer raises it. Of the image's other layers and of its
// documents, manifest.Format is the version.
const FormatVersion = 1

// Packed is what is known of a layer's bytes once all of them were written.
type Packed struct {
	DiffID           digest.Digest // of the uncompressed tar
	Digest           digest.Digest // of the blob
	Size             int64         // bytes of the blob
	UncompressedSize int64         // bytes of the tar
}

// Layer is one layer that can be made again and again, always with the same
// bytes.
type Layer struct {
	Recipe      Recipe
	Paths       []closure.StorePath // sorted; none in the init and the system layer
	Size        int64               // bytes of the contents, an estimate for scheduling and progress
	Compression Compression
	Comment     string // the layer's line in the image history
	Annotations map[string]string
	Owners      bool // its entries may have owners

	// Progress, if any, is called with the bytes of each block of the tar that
	// was compressed and written.
	Progress func(n int)

	// Content writes the tar entries in canonical order.
	Content func(ctx context.Context, w *TarWriter) error
}

// Open packs the layer and returns its blob as a stream. A read error other
// than io.EOF is the reason packing failed.
func (l *Layer) Open(ctx context.Context, p *Packer) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	go func() {
		defer task.Guard()
		_, err := p.Pack(ctx, l, pw)
		pw.CloseWithError(err)
	}()
	return &layerReader{PipeReader: pr, cancel: cancel}
}

type layerReader struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (r *layerReader) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}
