package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// recordedIndex is the cache entry of an image that this machine pushed.
type recordedIndex struct {
	ocispec.Descriptor
	Manifests []ocispec.Descriptor `json:"manifests,omitempty"` // manifests of the platforms
}

// presenceSample is the number of layers that a push looks up if this machine pushed the image
// before. If they exist, the push assumes that the image is complete. The push chooses the layers
// at random and looks them up concurrently, so they cost one round trip.
const presenceSample = 2

// unchanged reports whether the destination has the image already, under every tag of the push. If
// this machine pushed the image itself, unchanged compares digests. If only the registry has the
// image, unchanged proves that it is the same, see [pusher.prove].
func (p *pusher) unchanged(ctx context.Context) (Result, bool, error) {
	if len(p.opts.Tags) == 0 {
		return Result{}, false, nil
	}
	var recorded recordedIndex
	if !p.opts.Join && p.opts.Cache.Get(cache.FolderImages, p.recipe.String(), &recorded) && recorded.Digest.Validate() == nil {
		return p.unchangedHere(ctx, recorded)
	}
	remote := p.remoteOf(p.opts.Tags[0])
	if remote == nil {
		return Result{}, false, nil
	}
	index, ok, err := p.prove(ctx, remote)
	if err != nil || !ok {
		return Result{}, false, err
	}
	same, err := p.allTags(ctx, p.opts.Tags[1:], index.Digest)
	return Result{Index: index, Unchanged: same}, same, err
}

// unchangedHere does the work of unchanged for an image that this machine pushed.
func (p *pusher) unchangedHere(ctx context.Context, recorded recordedIndex) (Result, bool, error) {
	if same, err := p.allTags(ctx, p.opts.Tags, recorded.Digest); err != nil || !same {
		return Result{}, false, err
	}
	gone, err := p.gone(ctx, recorded.Manifests)
	if err != nil {
		return Result{}, false, err
	}
	for _, what := range gone {
		p.warn(fmt.Errorf("%s: %s is missing; nixoci puts it back", p.name(), what))
	}
	p.incomplete = len(gone) > 0
	return Result{Index: recorded.Descriptor, Unchanged: true}, len(gone) == 0, nil
}

// allTags reports whether all tags name the manifest with digest want.
func (p *pusher) allTags(ctx context.Context, tags []string, want digest.Digest) (bool, error) {
	same := make([]bool, len(tags))
	group, ctx := task.WithContext(ctx)
	for i, tag := range tags {
		group.Go(func() error {
			there, err := p.dst.Resolve(ctx, tag)
			if errors.Is(err, oci.ErrNotFound) {
				return nil
			}
			same[i] = there.Digest == want
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	for _, s := range same {
		if !s {
			return false, nil
		}
	}
	return true, nil
}

// gone looks up the manifests and some of the layers whose results this machine's cache contains.
// It returns the names of the missing ones.
func (p *pusher) gone(ctx context.Context, manifests []ocispec.Descriptor) ([]string, error) {
	var sample []ocispec.Descriptor
	_, remote := p.dst.(*registry.Repository) // a local destination is quick, so look up all layers there
	for _, i := range rand.Perm(len(p.layers)) {
		packed, ok := p.opts.Cache.Layer(p.layers[i].Layer.Recipe)
		if !ok {
			continue
		}
		d, err := p.descriptor(p.layers[i].Layer, packed)
		if err != nil {
			return nil, err
		}
		if sample = append(sample, d); len(sample) == presenceSample && remote {
			break
		}
	}
	for _, i := range rand.Perm(len(p.base)) {
		if sample = append(sample, p.base[i].Descriptor); remote {
			break
		}
	}
	missing := make([]string, len(manifests)+len(sample))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for i, m := range manifests {
		group.Go(func() error {
			_, err := p.dst.Resolve(ctx, m.Digest.String())
			if errors.Is(err, oci.ErrNotFound) {
				missing[i], err = "manifest "+m.Digest.String(), nil
			}
			return err
		})
	}
	for i, d := range sample {
		group.Go(func() error {
			has, err := p.dst.HasBlob(ctx, d)
			if err == nil && !has {
				missing[len(manifests)+i] = "layer " + d.Digest.String()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var gone []string
	for _, what := range missing {
		if what != "" {
			gone = append(gone, what)
		}
	}
	return gone, nil
}

// errContradiction reports that the image contains something else than its recipe makes.
var errContradiction = errors.New("the content is not what its recipe makes")

// prove reports whether r is the image that this push would make. It reads the index and the
// manifest of each platform. With the layers that the manifests list, it makes the config,
// manifests and index again, and compares their digests. It also makes the layers without store
// paths again. This does not prove the contents of the other layers, so prove checks a random
// sample of them.
//
// If the recipe differs, r is just another image. If the recipe is the same but the content
// differs, r is forged or damaged, and the push uses nothing of it.
func (p *pusher) prove(ctx context.Context, r *Remote) (ocispec.Descriptor, bool, error) {
	top, err := r.Index(ctx)
	if err != nil || !p.hasImages(top) {
		return ocispec.Descriptor{}, false, ctx.Err()
	}
	manifests, err := r.manifests(ctx)
	if err != nil {
		return ocispec.Descriptor{}, false, ctx.Err()
	}
	unproved, err := p.remake(ctx, top, manifests)
	switch {
	case errors.Is(err, oci.ErrNotFound):
		p.warn(fmt.Errorf("%s: %w; nixoci puts back what is missing", r, err))
		p.incomplete = true
		return ocispec.Descriptor{}, false, nil
	case errors.Is(err, errContradiction):
		r.distrust(err)
		p.warn(fmt.Errorf("%s: %w; nixoci reuses nothing of this image, and replaces it", r, err))
		return ocispec.Descriptor{}, false, nil
	case err != nil:
		return ocispec.Descriptor{}, false, err
	}
	if r.signed == nil {
		if err := p.checkClaims(ctx, r, unproved); err != nil {
			return ocispec.Descriptor{}, false, err
		}
	}
	return top.Blob.Descriptor, true, nil
}

// claimedLayer describes a layer as a manifest in a registry records it.
type claimedLayer struct {
	layer  *layers.Layer
	packed layers.Packed
}

// remake makes the images again from the layers that the manifests list, and compares the digests.
// It returns the claims about layers that remain unproved.
func (p *pusher) remake(ctx context.Context, top *RemoteIndex, manifests []remoteManifest) (unproved []claimedLayer, err error) {
	seen := map[layers.Recipe]bool{}
	remade := make([]*manifest.PlatformImage, len(p.images))
	for i, image := range p.images {
		platform := image.draft.System.Platform
		listed := top.Index.Find(platform)
		var claims []claimedLayer
		if remade[i], claims, err = p.remakeImage(ctx, image, listed, manifestOf(manifests, listed)); err != nil {
			return nil, fmt.Errorf("%s: %w", manifest.FormatPlatform(platform), err)
		}
		for _, c := range claims {
			if !seen[c.layer.Recipe] {
				seen[c.layer.Recipe] = true
				unproved = append(unproved, c)
			}
		}
	}
	if p.opts.Join {
		return unproved, nil // the index also lists platforms of other pushes, so do not compare it
	}
	index, err := manifest.NewIndex(remade, p.opts.Settings)
	if err != nil {
		return nil, err
	}
	if index.Descriptor.Digest != top.Blob.Descriptor.Digest {
		return nil, fmt.Errorf("index %s: %w", top.Blob.Descriptor.Digest, errContradiction)
	}
	return unproved, nil
}

// remakeImage does the work of remake for one platform. m is the manifest that the index lists for
// the platform.
func (p *pusher) remakeImage(ctx context.Context, image *pushedImage, listed *ocispec.Descriptor, m *remoteManifest) (made *manifest.PlatformImage, unproved []claimedLayer, err error) {
	if m == nil {
		return nil, nil, errContradiction
	}
	if m.err != nil {
		return nil, nil, fmt.Errorf("read manifest %s: %w", listed.Digest, m.err)
	}
	claims, err := m.parsed.Claims(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errContradiction, err)
	}
	packed := make([]layers.Packed, len(image.layers))
	for k, l := range image.layers {
		claimed, ok := claims.Lookup(l.Layer)
		if !ok {
			return nil, nil, fmt.Errorf("manifest %s: layer %d: %w", listed.Digest, k, errContradiction)
		}
		own, ok, err := p.ownLayer(ctx, l.Layer)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok:
			unproved = append(unproved, claimedLayer{l.Layer, claimed})
		case own != claimed:
			return nil, nil, fmt.Errorf("manifest %s: layer %s: %w", listed.Digest, claimed.Digest, errContradiction)
		}
		packed[k] = claimed
	}
	if made, err = image.draft.Image(packed); err != nil {
		return nil, nil, err
	}
	if got := made.Manifest.Descriptor; got.Digest != listed.Digest || got.Size != listed.Size || got.MediaType != listed.MediaType {
		return nil, nil, fmt.Errorf("manifest %s: %w", listed.Digest, errContradiction)
	}
	return made, unproved, nil
}

func manifestOf(all []remoteManifest, listed *ocispec.Descriptor) *remoteManifest {
	for i := range all {
		if listed != nil && all[i].listed.Digest == listed.Digest {
			return &all[i]
		}
	}
	return nil
}

// ownLayer returns the result of a layer from this machine's cache. If the cache does not contain a
// layer without store paths, ownLayer makes the layer, which takes milliseconds. It asks no
// registry for such a layer, because one of these layers contains the program that starts first.
func (p *pusher) ownLayer(ctx context.Context, l *layers.Layer) (layers.Packed, bool, error) {
	if packed, ok := p.opts.Cache.Layer(l.Recipe); ok {
		return packed, true, nil
	}
	if len(l.Paths) > 0 {
		return layers.Packed{}, false, nil
	}
	packed, err := p.opts.Packer.Pack(ctx, l, io.Discard)
	if err != nil {
		return layers.Packed{}, false, err
	}
	p.madeForComparison[l.Recipe] = true
	if err := p.opts.Cache.PutLayer(l.Recipe, packed); err != nil {
		p.warn(err)
	}
	return packed, true, nil
}

// checkClaims makes some of the unproved layers again and compares the results. r is the only
// source for these layers.
func (p *pusher) checkClaims(ctx context.Context, r *Remote, unproved []claimedLayer) error {
	group, ctx := task.WithContext(ctx)
	for _, c := range p.sampleClaims(unproved) {
		group.Go(func() error { return p.recheck(ctx, c.layer, c.packed, r.String()) })
	}
	return group.Wait()
}
