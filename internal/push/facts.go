package push

import (
	"context"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// Facts returns the facts that are read from a toplevel's files. If this machine's cache or a
// signed image contains the facts, Facts opens no store file.
func (j *Job) Facts(ctx context.Context, src closure.Source, c *closure.Closure, toplevel closure.StorePath) (manifest.Facts, error) {
	info := c.Info(toplevel)
	if info != nil {
		if f, ok := j.knownFacts(ctx, info); ok {
			return f, nil
		}
	}
	f, err := manifest.ReadFacts(ctx, src, c, toplevel)
	if err != nil {
		return manifest.Facts{}, err
	}
	_ = j.Cache.Put(folderSystems, factsKey(info), f) // if this write fails, the next push only takes longer
	return f, nil
}

// knownFacts looks for the facts in this machine's cache. If the cache has none, it looks in the
// images with a trusted signature, for the same toplevel with the same narHash. Facts decide which
// program the container starts, so knownFacts does not use an unsigned image.
func (j *Job) knownFacts(ctx context.Context, info *closure.Info) (manifest.Facts, bool) {
	var f manifest.Facts
	if j.Cache.Get(folderSystems, factsKey(info), &f) {
		return f, true
	}
	for _, r := range j.Reuse {
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

func factsKey(info *closure.Info) string { return string(info.Path) + " " + info.NarHash.Hex() }
