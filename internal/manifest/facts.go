package manifest

import (
	"encoding/json"

	"github.com/nixoci/nixoci/internal/closure"
)

// Facts returns what the index says of a toplevel's files, for the toplevel at
// info's path with info's narHash: a machine that has never seen it need not
// read them. It is a claim of whoever wrote the index.
func (x *Index) Facts(info *closure.Info) (Facts, bool) {
	for _, d := range x.Manifests {
		if d.Annotations[AnnotationToplevel] != string(info.Path) || d.Annotations[AnnotationNarHash] != info.NarHash.SRI() {
			continue
		}
		var f Facts
		if json.Unmarshal([]byte(d.Annotations[AnnotationFacts]), &f) != nil || f.check() != nil || d.Platform == nil {
			continue
		}
		if p, err := PlatformOf(f.System); err == nil && SamePlatform(p, *d.Platform) {
			return f, true
		}
	}
	return Facts{}, false
}
