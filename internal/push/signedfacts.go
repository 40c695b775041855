package push

import (
	"context"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// SignedFacts looks for the facts about a toplevel in the images of o.Reuse. It uses only images
// with a trusted signature, and only facts about the same toplevel with the same narHash.
func (o *Options) SignedFacts(ctx context.Context, info *closure.Info) (manifest.Facts, bool) {
	for _, r := range o.Reuse {
		if r.signed == nil {
			continue
		}
		top, err := r.Index(ctx)
		if err != nil || top.Index == nil {
			continue
		}
		if f, ok := top.Index.Facts(info); ok {
			return f, true
		}
	}
	return manifest.Facts{}, false
}
