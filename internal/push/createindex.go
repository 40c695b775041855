package push

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// CreateIndex joins images of repo into one index. Each image is named by a tag or digest, and may
// be an index or a manifest. CreateIndex stores the new index under its digest and then under each
// tag. It reads no layer.
func CreateIndex(ctx context.Context, repo *registry.Repository, tagsOrDigests, tags []string, s manifest.Settings) (Result, error) {
	parts := make([]*manifest.Index, len(tagsOrDigests))
	group, groupCtx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for i, tagOrDigest := range tagsOrDigests {
		group.Go(func() (err error) {
			parts[i], err = readPart(groupCtx, repo, tagOrDigest)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	index, err := manifest.Merge(parts, s)
	if err != nil {
		return Result{}, err
	}
	if err := repo.PutManifest(ctx, index, ""); err != nil {
		return Result{}, err
	}
	group, groupCtx = task.WithContext(ctx)
	for _, t := range tags {
		group.Go(func() error { return repo.PutManifest(groupCtx, index, t) })
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	parsed, err := manifest.ParseIndex(index.Data, index.Descriptor.MediaType)
	if err != nil {
		return Result{}, err
	}
	return Result{Index: index.Descriptor, Platforms: parsed.Manifests}, nil
}

// readPart reads the index that tagOrDigest names. If tagOrDigest names a manifest, readPart
// returns an index that contains only this manifest.
func readPart(ctx context.Context, r *registry.Repository, tagOrDigest string) (*manifest.Index, error) {
	blob, err := r.GetManifest(ctx, tagOrDigest)
	if errors.Is(err, oci.ErrNotFound) {
		return nil, hint.Add(err, "an index can list only images of its own repository: push the image there first")
	}
	if err != nil {
		return nil, err
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err == nil {
		return index, nil
	}
	m, merr := manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
	if merr != nil {
		return nil, fmt.Errorf("%s: neither an index (%w) nor an image: %w", r.Ref(tagOrDigest), err, merr)
	}
	config, err := readConfig(ctx, r, m.Config)
	if err != nil {
		return nil, err
	}
	var c ocispec.Image
	if err := manifest.UnmarshalConfig(config, &c); err != nil {
		return nil, fmt.Errorf("%s: read config: %w", r.Ref(tagOrDigest), err)
	}
	if c.OS == "" || c.Architecture == "" {
		return nil, fmt.Errorf("%s: its config names no platform", r.Ref(tagOrDigest))
	}
	d := blob.Descriptor
	d.Platform = &ocispec.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant, OSVersion: c.OSVersion, OSFeatures: c.OSFeatures}
	mediaType := ocispec.MediaTypeImageIndex
	if m.MediaType == mediatype.DockerManifest {
		mediaType = mediatype.DockerList
	}
	return &manifest.Index{MediaType: mediaType, Manifests: []ocispec.Descriptor{d}}, nil
}
