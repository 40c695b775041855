package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
)

func (a *app) indexCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Combine the platforms of an image",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.indexCreateCommand())
	return cmd
}

func (a *app) indexCreateCommand() *cobra.Command {
	var registry registryFlags
	var tags, annotations []string
	cmd := &cobra.Command{
		Use:   "create REF IMAGE...",
		Short: "Join pushed images into one image for several platforms",
		Long: `Join images into one image for several platforms, and name it REF. Typically,
several CI runners have pushed one platform each. IMAGE is a digest, or a
reference in the repository of REF.

nixoci reads no layer and does not change the pushed images. The result has the
same digest as one push of all platforms.`,
		Example: `  nixoci push ghcr.io/org/web:1.2-amd64 ./result   # prints ghcr.io/org/web:1.2-amd64@sha256:…
  nixoci index create ghcr.io/org/web:1.2 sha256:… sha256:…`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.createIndex(cmd.Context(), args[0], args[1:], tags, annotations, &registry)
		},
	}
	registry.add(cmd)
	a.uses(cmd, "json")
	cmd.Flags().StringArrayVarP(&tags, "tag", "t", nil, "another tag for the same index; can be repeated")
	cmd.Flags().StringArrayVar(&annotations, "annotation", nil, "annotation of the index; can be repeated. nixoci keeps annotations that all images share")
	return cmd
}

func (a *app) createIndex(ctx context.Context, refArg string, images, more, annotations []string, f *registryFlags) error {
	start := time.Now()
	ref, tags, err := pushReference(refArg, more)
	if err != nil {
		return err
	}
	var s manifest.Settings
	if s.Annotations, err = pairs("--annotation", annotations); err != nil {
		return usageError{err}
	}
	if err := s.Validate(layers.DefaultCompression()); err != nil {
		return usageError{err}
	}
	var targets []string
	for _, image := range images {
		target, err := targetIn(ref, image)
		if err != nil {
			return err
		}
		targets = append(targets, target)
	}
	repo, err := registry.Open(ref.Repository, f.options(a))
	if err != nil {
		return err
	}
	defer repo.Close()
	result, err := push.CreateIndex(ctx, repo, targets, tags, s)
	if err != nil {
		return err
	}
	a.done = true
	stats := repo.Stats()
	if !a.quiet {
		a.stderr.Printf("%s: joined from %s; %s\n", platformList(result.Platforms), human.Count(len(images), "image"), a.spent(start, &stats))
	}
	return a.printResult(ref.Repository.Name()+":"+ref.Tag, result, &stats)
}

// targetIn returns the tag or digest of image. The image must be in the repository of ref.
func targetIn(ref registry.Reference, image string) (string, error) {
	if strings.HasPrefix(image, "sha256:") {
		if err := digest.Digest(image).Validate(); err != nil {
			return "", usagef("image %q: %w", image, err)
		}
		return image, nil
	}
	r, err := registry.ParseReference(image)
	if err != nil {
		return "", usageError{err}
	}
	if r.Repository.Name() != ref.Repository.Name() {
		return "", usageError{hint.Add(fmt.Errorf("image %s: not in %s", r, ref.Repository.Name()),
			"an index can only list what its own repository has: push it there first")}
	}
	return r.TagOrDigest(), nil
}
