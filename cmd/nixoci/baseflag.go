package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
)

// baseFlag names the base image, on which nixoci puts applications.
type baseFlag struct{ image string }

func (f *baseFlag) add(fl *pflag.FlagSet) {
	f.addAs(fl, "base image to put an application on: a reference, oci:DIR or oci-archive:FILE; to pin it, add @sha256:… to the reference")
}

func (f *baseFlag) addAs(fl *pflag.FlagSet, usage string) {
	fl.StringVar(&f.image, "from-image", "", usage)
}

// openBase opens the base image. It returns nil if --from-image is not set. The
// caller closes the reader.
func (a *app) openBase(f *baseFlag, r *registryFlags) (*push.BaseImage, *oci.OpenedImage, error) {
	if f.image == "" {
		return nil, nil, nil
	}
	if strings.HasPrefix(f.image, string(layout.SchemeDockerArchive)+":") {
		return nil, nil, usageError{hint.Add(fmt.Errorf("--from-image %s: a docker-archive has no manifest, so nothing can pin it", f.image),
			"convert it: skopeo copy "+f.image+" oci:base")}
	}
	src, err := a.openImage(f.image, &reading{registry: *r})
	if err != nil {
		return nil, nil, fmt.Errorf("--from-image: %w", err)
	}
	return push.NewBaseImage(src, baseName(f.image)), src, nil
}

// baseNone is the value of verify --from-image with which verify reads no base
// image.
const baseNone = "none"

// openBaseOf returns a function that opens the base image of a verified image. It
// uses --from-image if set, else the name of the base that the image records.
func (a *app) openBaseOf(f *baseFlag, r *registryFlags) func(string) (*oci.OpenedImage, error) {
	return func(name string) (*oci.OpenedImage, error) {
		switch {
		case f.image == baseNone:
			return nil, errors.New("--from-image none")
		case f.image != "":
			name = f.image
		case name == "":
			return nil, errors.New("the image does not name it; give it with --from-image")
		}
		return a.openImage(name, &reading{registry: *r})
	}
}

// baseName returns the name of a base image as the image records it: complete, with
// the tag, and without the digest if both are given. A layout or archive has no
// name, because its path is only valid on this machine.
func baseName(image string) string {
	if layout.IsImage(image) {
		return ""
	}
	ref, err := registry.ParseReference(image)
	if err != nil {
		return ""
	}
	if ref.Digest != "" {
		tagged, _, _ := strings.Cut(image, "@")
		if i := strings.LastIndexByte(tagged, ':'); i > strings.LastIndexByte(tagged, '/') {
			if ref, err = registry.ParseReference(tagged); err != nil {
				return ""
			}
		}
	}
	name := ref.String()
	if rest, ok := strings.CutPrefix(name, "index.docker.io/"); ok {
		name = "docker.io/" + rest // the common form; only the library writes index.docker.io
	}
	return name
}

// aboveBase returns p with fewer layers, because --max-layers counts the layers of
// the base image too.
func aboveBase(p *plan.Planner, b *manifest.Base) (*plan.Planner, error) {
	if b == nil {
		return p, nil
	}
	above := *p
	above.Options.MaxLayers -= b.Count
	if above.Options.MaxLayers < 1 {
		help := fmt.Sprintf("use --max-layers %d, the most that overlay file systems support: it leaves %d for store paths", plan.LayerLimit, plan.LayerLimit-b.Count)
		if b.Count >= plan.LayerLimit {
			help = "use a base image with fewer layers"
		}
		return nil, hint.Add(fmt.Errorf("base image %s has %s, and --max-layers %d leaves none for store paths", b.BaseInfo, human.Count(b.Count, "layer"), p.Options.MaxLayers), help)
	}
	return &above, nil
}

// checkBase refuses --from-image for a NixOS system.
func checkBase(subjects []subject, f *baseFlag) error {
	for i := range subjects {
		if f.image != "" && subjects[i].toplevel != "" && !subjects[i].isApplication() {
			return usageError{hint.Add(errors.New("--from-image: only for applications, and "+subjects[i].arg+" is a NixOS system"),
				"a NixOS system starts its own init and makes its own /etc, /bin and users, so nothing of a base image would be used")}
		}
	}
	return nil
}
