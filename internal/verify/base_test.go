package verify

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/manifest"
)

// TestCompareBase checks that verify finds every difference between the base layers that the image
// records and the base image itself.
func TestCompareBase(t *testing.T) {
	content := func() manifest.BaseContent {
		c := manifest.BaseContent{History: []ocispec.History{{CreatedBy: "a"}, {CreatedBy: "b"}}}
		for _, s := range []string{"a", "b"} {
			c.Layers = append(c.Layers, manifest.BaseLayer{Descriptor: ocispec.Descriptor{Digest: digest.FromString(s), Size: 7}, DiffID: digest.FromString("tar " + s)})
		}
		return c
	}
	base := &manifest.Base{BaseContent: content()}
	doc := &document{manifest: &manifest.Manifest{Layers: make([]ocispec.Descriptor, 4)}}
	for _, tt := range []struct {
		name   string
		change func(*manifest.BaseContent)
		want   string // "" if there must be no finding
	}{
		{"the same", func(*manifest.BaseContent) {}, ""},
		{"another layer", func(c *manifest.BaseContent) { c.Layers[1].Digest = digest.FromString("c") }, "at this place the base image has layer sha256:"},
		{"another size", func(c *manifest.BaseContent) { c.Layers[0].Size = 8 }, "at this place the base image has layer sha256:"},
		{"another diffID", func(c *manifest.BaseContent) { c.Layers[0].DiffID = digest.FromString("c") }, "its diffID in the base image is"},
		{"one layer less", func(c *manifest.BaseContent) { c.Layers = c.Layers[:1] }, "the base image has only 1 layer"},
		{"one layer more", func(c *manifest.BaseContent) { c.Layers = append(c.Layers, c.Layers[0]) }, "the base image has 3 layers, but the image contains 2 of them"},
		{"in another order", func(c *manifest.BaseContent) { slices.Reverse(c.Layers) }, "at this place the base image has layer sha256:"},
		{"another history", func(c *manifest.BaseContent) { c.History = c.History[:1] }, "the history differs from that of the base image"},
	} {
		is := content()
		tt.change(&is)
		found := compareBase(doc, base, is)
		switch {
		case tt.want == "" && len(found) > 0:
			t.Errorf("%s: %v", tt.name, found)
		case tt.want != "" && (len(found) == 0 || !strings.Contains(found[0].String(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, found, tt.want)
		}
	}
}
