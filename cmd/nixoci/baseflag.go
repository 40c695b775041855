package main

import (
	"errors"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/systems"
)

// baseFlag holds the values of --from-image. They name the base images on which nixoci puts
// applications: IMAGE is for all platforms, PLATFORM=IMAGE is for one platform.
type baseFlag struct{ images []string }

func (f *baseFlag) add(fl *pflag.FlagSet) {
	f.addAs(fl, "base image to put an application on: a reference, oci:DIR or oci-archive:FILE; to pin it, add @sha256:… to the reference; PLATFORM=IMAGE names the base image of one platform, and can be repeated")
}

func (f *baseFlag) addAs(fl *pflag.FlagSet, usage string) {
	fl.StringArrayVar(&f.images, "from-image", nil, usage)
}

// platformImage describes a base image and its platform. A nil platform means all platforms.
type platformImage struct {
	platform *ocispec.Platform
	image    string
}

// parse parses each value, which has the form IMAGE or PLATFORM=IMAGE.
func (f *baseFlag) parse() (all []platformImage, err error) {
	for _, s := range f.images {
		b := platformImage{image: s}
		before, image, ok := strings.Cut(s, "=")
		if p, err := manifest.ParsePlatform(before); ok && err == nil {
			b = platformImage{&p, image}
		}
		for _, other := range all {
			switch {
			case b.platform == nil || other.platform == nil:
				return nil, usageError{hint.Add(fmt.Errorf("--from-image %s: another base image is given, %s", s, other.image), "name one base image, or PLATFORM=IMAGE for each platform, such as linux/amd64=debian:12")}
			case manifest.SamePlatform(*b.platform, *other.platform):
				return nil, usageError{fmt.Errorf("--from-image %s: another base image is given for %s, %s", s, before, other.image)}
			}
		}
		all = append(all, b)
	}
	return all, nil
}

// baseSources holds the open readers of base images.
type baseSources []*oci.OpenedImage

func (b baseSources) Close() {
	for _, src := range b {
		src.Close()
	}
}

// mountInto lets repo mount the layers of those base images that are in the same registry.
func (b baseSources) mountInto(repo *registry.Repository) {
	for _, src := range b {
		if from, ok := src.Reader.(*registry.Repository); ok {
			repo.AllowMountFrom(from)
		}
	}
}

// openBase opens the base image. Without --from-image the result is nil. The caller must
// close the returned sources.
func (a *app) openBase(f *baseFlag, r *registryFlags) (*systems.BaseImage, baseSources, error) {
	all, err := f.parse()
	if err != nil {
		return nil, nil, err
	}
	var sources baseSources
	var of []systems.PlatformBase
	for _, b := range all {
		if strings.HasPrefix(b.image, string(layout.SchemeDockerArchive)+":") {
			sources.Close()
			return nil, nil, usageError{hint.Add(fmt.Errorf("--from-image %s: a docker-archive has no manifest, so nothing can pin it", b.image),
				"convert it: skopeo copy "+b.image+" oci:base")}
		}
		src, err := a.openImage(b.image, &reading{registry: *r})
		if err != nil {
			sources.Close()
			return nil, nil, fmt.Errorf("--from-image: %w", err)
		}
		sources = append(sources, src)
		base := systems.NewBaseImage(src, baseName(b.image))
		if b.platform == nil {
			return base, sources, nil
		}
		of = append(of, systems.PlatformBase{Platform: *b.platform, BaseImage: base})
	}
	if of == nil {
		return nil, nil, nil
	}
	return systems.NewBaseImages(of), sources, nil
}

// baseNone is the value of verify --from-image for which verify reads no base image.
const baseNone = "none"

// openBaseOf returns a function that opens the base image of a verified image. This function
// uses the value of --from-image. Without the flag, it uses the name of the base image that
// the verified image records.
func (a *app) openBaseOf(f *baseFlag, r *registryFlags) (func(string, ocispec.Platform) (*oci.OpenedImage, error), error) {
	all, err := f.parse()
	return func(name string, p ocispec.Platform) (*oci.OpenedImage, error) {
		for _, b := range all {
			if b.platform == nil || manifest.SamePlatform(*b.platform, p) {
				name = b.image
			}
		}
		switch name {
		case baseNone:
			return nil, errors.New("--from-image none")
		case "":
			return nil, errors.New("the image does not name its base image; name it with --from-image")
		}
		return a.openImage(name, &reading{registry: *r})
	}, err
}

// baseName returns the complete name of a base image, as nixoci records it in the new image.
// If image has both a tag and a digest, the name contains only the tag. A layout or archive
// has no name, because its path is only valid on this machine.
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
		name = "docker.io/" + rest // users write docker.io; only the library writes index.docker.io
	}
	return name
}

// checkContents returns an error for --from-image with a NixOS system.
func (f *baseFlag) checkContents(contents []systems.Content) error {
	for i := range contents {
		if c := &contents[i]; len(f.images) > 0 && c.Toplevel != "" && !c.IsApplication() {
			return usageError{hint.Add(errors.New("--from-image: only for applications, and "+c.Arg+" is a NixOS system"),
				"a NixOS system starts its own init and makes its own /etc, /bin and users, so nothing of a base image would be used")}
		}
	}
	return nil
}
