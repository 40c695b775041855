package push

import (
	"context"
	"fmt"
	"io"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// maxReuseConfig bounds the configs that are read to check claims.
const maxReuseConfig = limit.Config

// Remote is an image in a registry that may know layers of the one to push.
// Nothing is read before it is asked, and all of it at most once. What it says
// is a claim of whoever can write to that repository.
type Remote struct {
	repo   *registry.Repository
	target string // tag or digest

	index  func(context.Context) (*RemoteIndex, error)
	claims func(context.Context) ([]*manifest.Claims, error)
}

// RemoteIndex is what a tag names.
type RemoteIndex struct {
	Blob  oci.Blob
	Index *manifest.Index // nil where the tag names something else
}

// NewRemote is the image that target, a tag or digest, names in repo.
func NewRemote(repo *registry.Repository, target string) *Remote {
	r := &Remote{repo: repo, target: target}
	r.index, r.claims = once(r.readIndex), once(r.readClaims)
	return r
}

// once runs f the first time, with that call's context.
func once[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var do sync.Once
	var value T
	var err error
	return func(ctx context.Context) (T, error) {
		do.Do(func() { value, err = f(ctx) })
		return value, err
	}
}

// String is the image's reference.
func (r *Remote) String() string { return r.repo.Ref(r.target) }

// Index reads the index, [oci.ErrNotFound] where there is none.
func (r *Remote) Index(ctx context.Context) (*RemoteIndex, error) { return r.index(ctx) }

// Claims reads what the image's manifests say of their layers: of each layer
// that nixoci has made, what its recipe makes. It is checked against sizes,
// media types and the config's diffIDs.
func (r *Remote) Claims(ctx context.Context) ([]*manifest.Claims, error) { return r.claims(ctx) }

func (r *Remote) readIndex(ctx context.Context) (*RemoteIndex, error) {
	blob, err := r.repo.GetManifest(ctx, r.target)
	if err != nil {
		return nil, err
	}
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		index = nil // a single manifest, or of a kind that says nothing to us
	}
	return &RemoteIndex{Blob: blob, Index: index}, nil
}

func (r *Remote) readClaims(ctx context.Context) ([]*manifest.Claims, error) {
	top, err := r.index(ctx)
	if err != nil {
		return nil, err
	}
	if top.Index == nil {
		c, err := r.readManifest(ctx, top.Blob)
		if err != nil {
			return nil, err
		}
		return []*manifest.Claims{c}, nil
	}
	all := make([]*manifest.Claims, len(top.Index.Manifests))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for i, d := range top.Index.Manifests {
		if d.Annotations[manifest.AnnotationImage] == "" {
			continue // another tool's, or an attestation
		}
		group.Go(func() error {
			blob, err := r.repo.GetManifest(ctx, d.Digest.String())
			if err != nil {
				return err
			}
			all[i], err = r.readManifest(ctx, blob)
			return err
		})
	}
	return all, group.Wait()
}

func (r *Remote) readManifest(ctx context.Context, blob oci.Blob) (*manifest.Claims, error) {
	m, err := manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, err
	}
	config, err := readConfig(ctx, r.repo, m.Config)
	if err != nil {
		return nil, err
	}
	return m.Claims(config)
}

func readConfig(ctx context.Context, repo *registry.Repository, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxReuseConfig {
		return nil, fmt.Errorf("read config %s: %d bytes, more than %d", d.Digest, d.Size, maxReuseConfig)
	}
	rc, err := repo.GetBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// lookup returns what is claimed of l, by the first who claims something.
func lookup(claims []*manifest.Claims, l *layers.Layer) (layers.Packed, bool) {
	for _, c := range claims {
		if p, ok := c.Lookup(l); ok {
			return p, true
		}
	}
	return layers.Packed{}, false
}
