package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/engine"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/terminal"
)

func (a *app) buildCommand() *cobra.Command {
	var output string
	var tags []string
	var img imageFlags
	var in closureFlags
	var reg registryFlags
	cmd := &cobra.Command{
		Use:   "build -o DEST [CLOSURE...]",
		Short: "Assemble an image into a directory, a file or a pipe",
		Long: `Assemble an image as push does, and write it to DEST:

  oci:DIR[:TAG...]                an OCI layout; keeps images that are already in
                                  DIR
  oci-archive:FILE[:TAG...]       an OCI layout in a tar file; docker load reads it
  docker-archive:FILE[:NAME:TAG]  a file only for docker load; holds one platform
  -                               an OCI archive on stdout
  docker-daemon:NAME[:TAG]        the images of Docker
  containers-storage:NAME[:TAG]   the images of podman

Docker and podman pull the image from nixoci and ask only for the layers that
they lack. For Docker and podman, nixoci compresses layers only if you give
--compression.

If FILE is -, build writes to stdout too. With --tag NAME:TAG, docker load and
podman load give the image that name. If the image has several platforms, docker
load gives the name to the first platform.

build prints DEST@digest on stdout, or on stderr if the image is on stdout.`,
		Example: `  nixoci build -o oci:web:1.2 ./result
  nixoci build -o docker-daemon:web:1.2 ./result
  nixoci build -o - --tag web:1.2 ./result | ssh host podman load`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return missing(cmd, "-o DEST")
			}
			closures, err := in.spec.apply(cmd.Flags(), args, &img, &in)
			if err != nil {
				return err
			}
			if engine.IsDestination(output) {
				if !cmd.Flags().Changed("compression") {
					img.compression = layers.None
				}
				return a.load(cmd.Context(), output, tags, closures, &img, &in)
			}
			return a.build(cmd.Context(), output, tags, closures, &img, &in)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&output, "output", "o", "", "where to write the image")
	fl.StringArrayVarP(&tags, "tag", "t", nil, "another tag for the same image; can be repeated")
	img.add(fl)
	in.add(fl, &reg)
	in.base.add(fl)
	in.spec.add(fl)
	a.uses(cmd, "from", "platform", "jobs", "min-speed", "json")
	reg.add(cmd) // --plan and --plan-from may name an image in a registry
	return cmd
}

func (a *app) build(ctx context.Context, output string, tags, closures []string, img *imageFlags, in *closureFlags) error {
	start := time.Now()
	opts, err := a.newOptions(img)
	if err != nil {
		return err
	}
	dest, err := layout.ParseDestination(output)
	if err != nil {
		return usageError{err}
	}
	if dest.Pipe() && terminal.Is(a.stdout.Raw()) {
		return usageError{hint.Add(fmt.Errorf("build -o %s: an image cannot be written to a terminal", output), "pipe it: nixoci build -o - … | docker load; or name a file: -o oci-archive:web.tar")}
	}
	opts.Tags = append(dest.Tags, tags...)
	base, baseSource, err := a.openBase(&in.base, in.planFlags.registry)
	if err != nil {
		return err
	}
	defer baseSource.Close()
	systems, err := a.systems(ctx, closures, in, img, a.systemReader(&opts, base))
	if err != nil {
		return err
	}
	previous, err := previousInLayout(ctx, dest, opts.Tags, &in.planFlags)
	if err != nil {
		return err
	}
	images, err := a.plan(ctx, systems, &in.planFlags, previous)
	if err != nil {
		return err
	}
	if dest.Scheme == layout.SchemeDockerArchive && len(images) > 1 {
		return usageError{hint.Add(fmt.Errorf("%s: a docker-archive holds one platform, but the image has %d", output, len(images)), "choose one with --platform, or use oci-archive:")}
	}
	dst, err := dest.Open(a.stdout.Raw())
	if err != nil {
		return err
	}
	defer dst.Close()
	if l, ok := dst.(*layout.Layout); ok {
		l.Memory, l.Warn = opts.Cache, opts.Warn
	}
	result, err := a.pushImages(ctx, dst, images, opts)
	if err != nil {
		return err
	}
	a.printOutcome(result, output, a.spent(start, nil))
	if dest.Pipe() {
		a.stdout = a.stderr
	}
	return a.printResult(output, result, nil)
}

// previousInLayout returns the image in dest that a new image with these tags replaces, for --plan-from
// auto. If dest is not a layout, it returns nil.
func previousInLayout(ctx context.Context, dest layout.Output, tags []string, f *planFlags) (*previousImage, error) {
	if dest.Scheme != layout.SchemeLayout {
		return nil, nil
	}
	flag, err := f.autoFlag()
	if err != nil || flag == "" {
		return &previousImage{}, err
	}
	img, err := dest.OpenExisting(ctx, tags)
	if errors.Is(err, oci.ErrNotFound) {
		return &previousImage{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer img.Close()
	return f.readPrevious(ctx, flag, img)
}
