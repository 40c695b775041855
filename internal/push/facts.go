package push

import (
	"context"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// Facts are the facts of a toplevel's files. Where this machine's cache or a
// believed image knows them, no store file is opened.
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
	_ = j.Cache.Put(folderSystems, factsKey(info), f) // a cache that cannot be written to only costs time
	return f, nil
}

// knownFacts are from this machine, else from an image with a trusted signature
// that has the same toplevel with the same narHash. Whoever could choose them
// could choose what the container starts, so a registry alone is not believed.
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
