package push

import (
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// pushedImage is the image of one platform during a push.
type pushedImage struct {
	draft  *manifest.Draft
	layers []*pushedLayer // in the order of the draft
}

// finish makes the image from the results of its packed layers.
func (i *pushedImage) finish() (*manifest.PlatformImage, error) {
	packed := make([]layers.Packed, len(i.layers))
	for k, l := range i.layers {
		packed[k] = l.Packed
	}
	return i.draft.Image(packed)
}

// pushedLayer is a layer during a push. Several platforms may share it.
type pushedLayer struct {
	LayerResult
	recorded   *layers.Packed // recorded result of the recipe; nil if no source has recorded one
	recordedBy string         // which source recorded the result: fromLocal, or the reference of an image
	unsigned   bool           // the only source of the result is an image without a trusted signature
}

// draft makes a draft of each system's image. Platforms share layers with equal recipes.
func (p *pusher) draft(systems []PlannedSystem) error {
	byRecipe := map[layers.Recipe]*pushedLayer{}
	var drafts []*manifest.Draft
	for _, s := range systems {
		var groups [][]closure.StorePath
		for _, g := range s.Plan.Groups {
			groups = append(groups, g.Paths)
		}
		all, err := manifest.ImageLayers(s.System, groups, p.opts.Compression)
		if err != nil {
			return err
		}
		image := &pushedImage{}
		for _, l := range all {
			pushed := byRecipe[l.Recipe]
			if pushed == nil {
				pushed = &pushedLayer{LayerResult: LayerResult{Layer: l}}
				byRecipe[l.Recipe] = pushed
				p.layers = append(p.layers, pushed)
			}
			image.layers = append(image.layers, pushed)
		}
		if image.draft, err = manifest.NewDraft(s.System, all, p.opts.Settings); err != nil {
			return err
		}
		p.addBase(s.System.Base)
		p.images = append(p.images, image)
		drafts = append(drafts, image.draft)
	}
	var err error
	p.recipe, err = manifest.IndexRecipe(drafts, p.opts.Settings)
	return err
}

// platforms returns the layers of each platform for the progress display.
func (p *pusher) platforms() []PlatformLayers {
	all := make([]PlatformLayers, len(p.images))
	for i, image := range p.images {
		all[i].Platform = manifest.FormatPlatform(image.draft.System.Platform)
		for _, l := range image.layers {
			all[i].Layers = append(all[i].Layers, l.Layer)
		}
		if i == 0 {
			for _, l := range p.base {
				all[i].Layers = append(all[i].Layers, l.shown)
			}
		}
	}
	return all
}
