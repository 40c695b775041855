package layers

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
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

	// Content writes the tar entries in canonical order. It is a function because a layer can be
	// larger than the memory, so its entries must not be collected.
	Content func(ctx context.Context, w *TarWriter) error
}
