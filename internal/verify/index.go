package verify

import (
	"slices"

	"github.com/nixoci/nixoci/internal/manifest"
)

// indexCheck holds the result of checking the index.
type indexCheck struct {
	completed bool
	findings  []Finding
}

// checkIndex is the last stage of [Image]. It makes the index again from the manifests. The
// settings of an index come from the push that wrote the index. After a join, only the manifests of
// the last push have these settings. So checkIndex tries the settings of each manifest.
func checkIndex(docs *documents, all []*checks) indexCheck {
	if docs.index == nil || len(docs.skipped) > 0 {
		return indexCheck{} // there is no index, or only a part of it was checked
	}
	var images []*manifest.PlatformImage
	for _, c := range all {
		if c.remade == nil {
			return indexCheck{} // a finding reports why the image was not made again
		}
		images = append(images, c.remade.image)
	}
	found := func(format string, args ...any) indexCheck {
		return indexCheck{completed: true, findings: []Finding{
			Finding{Digest: docs.top.Descriptor.Digest}.of(CheckIndex, format, args...)}}
	}
	var what string
	for _, c := range all {
		again, err := manifest.NewIndex(images, c.remade.recorded)
		if err != nil {
			return found("index: %v", err)
		}
		different := differentJSON(docs.top.Data, again.Data)
		if different == "" {
			return indexCheck{completed: true}
		}
		if what == "" {
			what = different
		}
	}
	if docs.platformsTwice() {
		what = "one platform is listed twice"
	}
	return found("index: %s", what)
}

func (d *documents) platformsTwice() bool {
	var names []string
	for _, i := range d.images {
		names = append(names, i.platform)
	}
	slices.Sort(names)
	return len(slices.Compact(names)) != len(d.images)
}
