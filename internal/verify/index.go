package verify

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/manifest"
)

// checkIndex makes the index again from the manifests. The settings of an index
// are those of the push that wrote it: all of its manifests have them, or, of
// one that was joined, those of the last.
func (v *verifier) checkIndex(context.Context) error {
	if v.index == nil || len(v.report.Skipped) > 0 {
		return nil // there is none, or not all of it was looked at
	}
	var images []*manifest.Image
	var settings []manifest.Settings
	for _, i := range v.images {
		if i.image == nil {
			return nil // and there is a finding that says why
		}
		images = append(images, i.image)
		s, err := manifest.RecordedSettings(i.sys, i.m, i.config, i.comp)
		if err != nil {
			return v.top.addf(CheckIndex, "index: %v", err)
		}
		settings = append(settings, s)
	}
	v.checkedIndex = true
	var what string
	for _, s := range settings {
		again, err := manifest.NewIndex(images, s)
		if err != nil {
			return v.top.addf(CheckIndex, "index: %v", err)
		}
		different := differentJSON(v.blob.Data, again.Data)
		if different == "" {
			return nil
		}
		if what == "" {
			what = different
		}
	}
	if v.platformsTwice() {
		what = "one platform is there twice"
	}
	return v.top.add(Finding{Check: CheckIndex, Digest: digest.Digest(v.blob.Descriptor.Digest), What: "index: " + what})
}

func (v *verifier) platformsTwice() bool {
	var names []string
	for _, i := range v.images {
		names = append(names, i.name)
	}
	slices.Sort(names)
	return len(slices.Compact(names)) != len(v.images)
}
