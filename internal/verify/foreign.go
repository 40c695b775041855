package verify

import (
	"context"

	"github.com/nixoci/nixoci/internal/manifest"
)

// checkForeign gives an image that another tool has made an honest answer: which
// checks hold, and which do not apply.
func (i *image) checkForeign(ctx context.Context) error {
	return i.after.add(Finding{Check: CheckManifest, Digest: i.result.Digest,
		What: "manifest: not made by nixoci: no annotation " + manifest.AnnotationFormat})
}
