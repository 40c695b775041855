package layers

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/task"
)

// FormatVersion is the version of the layer format: the canonical tar stream, the frozen
// compressor settings, and the content of a layer of store paths. If the bytes of such a
// layer change, FormatVersion must be raised. manifest.CurrentFormat is the version for the
// image's other layers and documents.
const FormatVersion = 1

// Packed describes the bytes of a layer that was packed completely.
type Packed struct {
	DiffID           digest.Digest // of the uncompressed tar
	Digest           digest.Digest // of the blob
	Size             int64         // bytes of the blob
	UncompressedSize int64         // bytes of the tar
}

// Layer describes one layer. The layer can be packed any number of times, always with the
// same bytes.
type Layer struct {
	Recipe      Recipe
	Paths       []closure.StorePath // sorted; empty for the init layer and the system layer
	Size        int64               // bytes of the contents, used as an estimate for scheduling and progress
	Compression Compression
	Comment     string // the layer's line in the image history
	Annotations map[string]string
	Owners      bool // the entries may have owners other than 0:0

	// Progress, if not nil, is called for each block that was compressed and written. n is
	// the number of bytes of tar in the block.
	Progress func(n int)

	// Content writes the tar entries in canonical order.
	Content func(ctx context.Context, w *TarWriter) error
}

// Open packs the layer and returns its blob as a stream. If packing fails, Read returns the
// error.
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
