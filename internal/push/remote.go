package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// maxReuseConfig is the largest size of a config that is read to check claims.
const maxReuseConfig = limit.Config

// Remote is an image in a registry whose layers may be reused. Each part of the image is read only
// when it is needed, and at most once. Anybody who can write to the repository can claim anything
// about the layers, unless the image is signed.
type Remote struct {
	repo        *registry.Repository
	tagOrDigest string

	signed SignatureCheck // nil if no signature is required

	index     func(context.Context) (*RemoteIndex, error)
	manifests func(context.Context) ([]remoteManifest, error)
	claims    func(context.Context) ([]*manifest.Claims, error)

	mu          sync.Mutex
	contradicts error // the reason why the push no longer uses the image; nil if there is none
}

// SignatureCheck returns nil if the image in src, with index d, has a signature by a trusted key. Then
// the owner of this key made the image's claims.
type SignatureCheck func(ctx context.Context, src oci.Reader, d ocispec.Descriptor) error

// RemoteIndex is the manifest or index that a tag names.
type RemoteIndex struct {
	Blob  oci.Blob
	Index *manifest.Index // nil if the tag does not name an index
}

// remoteManifest is a manifest that nixoci made, for one platform.
type remoteManifest struct {
	listed ocispec.Descriptor // the manifest's entry in the index
	parsed *manifest.Manifest
	err    error // why the manifest could not be read; wraps [oci.ErrNotFound] if the manifest is missing
}

// NewRemote returns the image that tagOrDigest names in repo.
func NewRemote(repo *registry.Repository, tagOrDigest string) *Remote {
	r := &Remote{repo: repo, tagOrDigest: tagOrDigest}
	r.index, r.manifests, r.claims = task.Once(r.readIndex), task.Once(r.readManifests), task.Once(r.readClaims)
	return r
}

// String returns the image's reference.
func (r *Remote) String() string { return r.repo.Ref(r.tagOrDigest) }

// Index reads the index. If the image does not exist, the error wraps [oci.ErrNotFound].
func (r *Remote) Index(ctx context.Context) (*RemoteIndex, error) { return r.index(ctx) }

// Claims reads the claims in the image's manifests: for each layer of nixoci, the result of its
// recipe. Claims checks the results against the sizes, the media types and the diffIDs in the
// config.
func (r *Remote) Claims(ctx context.Context) ([]*manifest.Claims, error) {
	if err := r.contradiction(); err != nil {
		return nil, err
	}
	return r.claims(ctx)
}

// distrust records that one of the image's claims is wrong. The push then uses nothing of the
// image.
func (r *Remote) distrust(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contradicts = err
}

func (r *Remote) contradiction() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.contradicts
}

func (r *Remote) readIndex(ctx context.Context) (*RemoteIndex, error) {
	blob, err := r.repo.GetManifest(ctx, r.tagOrDigest)
	if err != nil {
		return nil, err
	}
	if r.signed != nil {
		if err := r.signed(ctx, r.repo, blob.Descriptor); err != nil {
			return nil, err
		}
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		index = nil // the tag names a single manifest, or an unknown media type
	}
	return &RemoteIndex{Blob: blob, Index: index}, nil
}

// readManifests reads the manifests of the image that nixoci made.
func (r *Remote) readManifests(ctx context.Context) ([]remoteManifest, error) {
	top, err := r.index(ctx)
	if err != nil {
		return nil, err
	}
	if top.Index == nil {
		m, err := manifest.ParseManifest(top.Blob.Data, top.Blob.Descriptor.MediaType)
		return []remoteManifest{{listed: top.Blob.Descriptor, parsed: m, err: err}}, nil
	}
	return readManifests(ctx, r.repo, top.Index)
}

// readManifests concurrently reads the manifests that nixoci made and that index lists. It returns
// each manifest that cannot be read with the reason, so that the caller can use the others.
func readManifests(ctx context.Context, src oci.Reader, index *manifest.Index) ([]remoteManifest, error) {
	var all []remoteManifest
	for _, d := range index.Manifests {
		if d.Annotations[manifest.AnnotationImage] != "" { // other entries are attestations, or images of another tool
			all = append(all, remoteManifest{listed: d})
		}
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for i := range all {
		group.Go(func() error {
			m := &all[i]
			blob, err := src.GetManifest(ctx, m.listed.Digest.String())
			if err == nil {
				m.parsed, err = manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
			}
			m.err = err
			return ctx.Err()
		})
	}
	return all, group.Wait()
}

// readClaims checks the claims of the manifests against their configs.
func (r *Remote) readClaims(ctx context.Context) ([]*manifest.Claims, error) {
	manifests, err := r.manifests(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*manifest.Claims, len(manifests))
	errs := make([]error, len(manifests))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for i, m := range manifests {
		if errs[i] = m.err; m.err != nil {
			continue
		}
		group.Go(func() error {
			config, err := readConfig(ctx, r.repo, m.parsed.Config)
			if err == nil {
				all[i], err = m.parsed.Claims(config)
			}
			errs[i] = err
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return all, errors.Join(errs...)
}

// blobs returns the digests of the layers and configs that the image's manifests list. The
// repository accepted the manifests, so it has these blobs.
func (r *Remote) blobs(ctx context.Context) map[digest.Digest]bool {
	listed := map[digest.Digest]bool{}
	manifests, err := r.manifests(ctx)
	if err != nil {
		return listed
	}
	for _, m := range manifests {
		if m.err != nil {
			continue
		}
		listed[m.parsed.Config.Digest] = true
		for _, l := range m.parsed.Layers {
			listed[l.Digest] = true
		}
	}
	return listed
}

func readConfig(ctx context.Context, repo *registry.Repository, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxReuseConfig {
		return nil, fmt.Errorf("read config %s: %d bytes, at most %d are read", d.Digest, d.Size, maxReuseConfig)
	}
	rc, err := repo.GetBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// lookup returns the first of claims about the layer l.
func lookup(claims []*manifest.Claims, l *layers.Layer) (layers.Packed, bool) {
	for _, c := range claims {
		if p, ok := c.Lookup(l); ok {
			return p, true
		}
	}
	return layers.Packed{}, false
}
