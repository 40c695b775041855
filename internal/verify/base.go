package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
)

// maxBaseTime is the time limit for reading a base image. There is a limit because the registry of
// the base image may no longer exist.
const maxBaseTime = 15 * time.Second

// readBaseLayer reads a layer of the base image, which another tool made. It does not compare the
// layer's content with the closure.
func (v *verification) readBaseLayer(ctx context.Context, todo layerToRead) (*layerContent, error) {
	l, err := v.readForeignLayer(ctx, todo)
	if err != nil {
		return nil, err
	}
	return &layerContent{diffID: l.diffID, tarSize: l.tarSize, findings: l.findings, damaged: len(l.findings) > 0, foreign: l}, nil
}

// baseCheck is the result of checking the base image.
type baseCheck struct {
	info   manifest.BaseInfo
	shared int   // number of store paths that both base and closure contain, and whose contents cannot be compared
	unread error // why the base image could not be read; nil if it was read
}

// checkBase checks that the lowest layers are the layers of the base image, if the base image can
// be read. It also checks that none of them changes a store path of the closure.
func (v *verification) checkBase(ctx context.Context, c *content) (check *baseCheck, found []Finding, err error) {
	base := c.base()
	check = &baseCheck{info: base.BaseInfo}
	check.shared, found = checkShared(c)
	content, what, err := v.readBase(ctx, base, c.doc)
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case err != nil:
		check.unread = err
	case what != "":
		found = append(found, c.doc.configPlace().of(CheckBase, "base image %s: %s", base, what))
	default:
		found = append(found, compareBase(c.doc, base, content)...)
	}
	return check, found, nil
}

// readBase reads the base image by its digest. If the base image is wrong, what describes the
// fault. If the base image could not be read, err is the reason.
func (v *verification) readBase(ctx context.Context, base *manifest.Base, doc *document) (c manifest.BaseContent, what string, err error) {
	if v.o.OpenBase == nil {
		return c, "", errors.New("reading base images is turned off")
	}
	src, err := v.o.OpenBase(base.Name, doc.config.Platform)
	if err != nil {
		return c, "", err
	}
	defer src.Close()
	ctx, cancel := context.WithTimeout(ctx, maxBaseTime)
	defer cancel()
	top, err := src.GetManifest(ctx, base.Digest.String())
	if err != nil {
		return c, "", err
	}
	image, err := manifest.ParseBaseImage(top)
	if err != nil {
		return c, err.Error(), nil
	}
	d, err := image.Find(doc.config.Platform)
	if err != nil {
		return c, err.Error(), nil
	}
	if d != base.Manifest {
		return c, fmt.Sprintf("its manifest for %s is %s, not %s", doc.platform, d, base.Manifest), nil
	}
	c, err = image.Read(ctx, src, d, doc.config.Platform)
	return c, "", err
}

// compareBase compares the layers and the history that an image records for its base with the base
// image itself.
func compareBase(doc *document, base *manifest.Base, is manifest.BaseContent) (found []Finding) {
	for n, has := range base.Layers {
		switch {
		case n >= len(is.Layers):
			return append(found, doc.place(n).of(CheckBase, "the base image has only %s", human.Count(len(is.Layers), "layer")))
		case has.Digest != is.Layers[n].Digest || has.Size != is.Layers[n].Size:
			found = append(found, doc.place(n).of(CheckBase, "at this place the base image has layer %s", is.Layers[n].Digest))
		case has.DiffID != is.Layers[n].DiffID:
			found = append(found, doc.place(n).of(CheckBase, "its diffID in the base image is %s", is.Layers[n].DiffID))
		}
	}
	switch {
	case len(found) > 0:
	case len(is.Layers) > len(base.Layers):
		found = append(found, doc.configPlace().of(CheckBase, "the base image has %d layers, but the image contains %d of them", len(is.Layers), len(base.Layers)))
	case jsonText(base.History) != jsonText(is.History):
		found = append(found, doc.configPlace().of(CheckBase, "the history differs from that of the base image"))
	}
	return found
}

// checkShared looks for store paths that both the closure and the base contain. A container engine
// merges the files of both into one directory. If their contents differ, the path no longer has its
// narHash.
func checkShared(c *content) (unknown int, found []Finding) {
	infos := map[closure.StorePath]*closure.Info{}
	for k := range c.system.infos {
		infos[c.system.infos[k].Path] = &c.system.infos[k]
	}
	for n, l := range c.layers[:c.own()] {
		if l.foreign == nil {
			continue
		}
		hashes := map[closure.StorePath]closure.Hash{}
		for _, p := range l.foreign.paths {
			hashes[p.path] = p.narHash
		}
		for p, apart := range l.foreign.whole {
			info := infos[p]
			switch {
			case info == nil:
			case apart != "":
				unknown++
			case hashes[p] != info.NarHash:
				place := c.doc.place(n)
				place.Path = string(p)
				found = append(found, place.of(CheckBase, "the base image has this path with other content, and the container mixes both"))
			}
		}
	}
	return unknown, found
}

// describe returns the verdict about the base image and the report's line.
func (b *baseCheck) describe() (holds Verdict, detail string) {
	if b == nil {
		return Holds, ""
	}
	layers := human.Count(b.info.Count, "layer")
	switch {
	case b.shared > 0:
		return Unknown, fmt.Sprintf("the base image also has %s of the closure, in a form that cannot be compared", human.Count(b.shared, "store path"))
	case b.unread != nil:
		return Unknown, fmt.Sprintf("%s from the base image, not compared: cannot read %s: %v", layers, b.info, b.unread)
	}
	return Holds, fmt.Sprintf("%s from the base image, the same as in %s", layers, b.info)
}

// baseReport returns the report's part about the base image. If there is no base image, it returns
// nil.
func (c *content) baseReport() *BaseReport {
	base := c.base()
	if base == nil {
		return nil
	}
	r := &BaseReport{BaseInfo: base.BaseInfo}
	for _, l := range base.Layers {
		r.Size += l.Size
	}
	return r
}
