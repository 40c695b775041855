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

// maxReuseConfig bounds the configs that are read to check claims.
const maxReuseConfig = limit.Config

// Remote is an image in a registry that may know layers of the one to push.
// Nothing is read before it is asked, and all of it at most once. What it says
// is a claim of whoever can write to that repository, unless it is signed.
type Remote struct {
	repo        *registry.Repository
	tagOrDigest string

	// signed checks that a trusted key has signed the index. nil: nobody asks.
	signed func(context.Context, oci.Reader, ocispec.Descriptor) error

	index     func(context.Context) (*RemoteIndex, error)
	manifests func(context.Context) ([]remoteManifest, error)
	claims    func(context.Context) ([]*manifest.Claims, error)

	mu          sync.Mutex
	contradicts error // why nothing that it says counts any more
}

// RemoteIndex is what a tag names.
type RemoteIndex struct {
	Blob  oci.Blob
	Index *manifest.Index // nil where the tag names something else
}

// remoteManifest is one platform's manifest, of nixoci's making.
type remoteManifest struct {
	listed ocispec.Descriptor // by the index
	parsed *manifest.Manifest
	err    error // why it could not be read: [oci.ErrNotFound] where it is gone
}

// NewRemote is the image that tagOrDigest names in repo.
func NewRemote(repo *registry.Repository, tagOrDigest string) *Remote {
	r := &Remote{repo: repo, tagOrDigest: tagOrDigest}
	r.index, r.manifests, r.claims = once(r.readIndex), once(r.readManifests), once(r.readClaims)
	return r
}

// RequireSignature makes the image count only if signed, given its repository
// and the index's descriptor, returns nil. Then its claims are those of the
// key's owner.
func (r *Remote) RequireSignature(signed func(context.Context, oci.Reader, ocispec.Descriptor) error) {
	r.signed = signed
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
func (r *Remote) String() string { return r.repo.Ref(r.tagOrDigest) }

// Index reads the index, [oci.ErrNotFound] where there is none.
func (r *Remote) Index(ctx context.Context) (*RemoteIndex, error) { return r.index(ctx) }

// Claims reads what the image's manifests say of their layers: of each layer
// that nixoci has made, what its recipe makes. It is checked against sizes,
// media types and the config's diffIDs.
func (r *Remote) Claims(ctx context.Context) ([]*manifest.Claims, error) {
	if err := r.contradiction(); err != nil {
		return nil, err
	}
	return r.claims(ctx)
}

// distrust ends all belief in what the image says, since it is known to be
// wrong in one thing.
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
		index = nil // a single manifest, or of a kind that says nothing to us
	}
	return &RemoteIndex{Blob: blob, Index: index}, nil
}

// readManifests reads the manifests that nixoci made, all at once. One that is
// gone does not spoil the others.
func (r *Remote) readManifests(ctx context.Context) ([]remoteManifest, error) {
	top, err := r.index(ctx)
	if err != nil {
		return nil, err
	}
	if top.Index == nil {
		m, err := manifest.ParseManifest(top.Blob.Data, top.Blob.Descriptor.MediaType)
		return []remoteManifest{{listed: top.Blob.Descriptor, parsed: m, err: err}}, nil
	}
	var all []remoteManifest
	for _, d := range top.Index.Manifests {
		if d.Annotations[manifest.AnnotationImage] != "" { // else another tool's, or an attestation
			all = append(all, remoteManifest{listed: d})
		}
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(defaultQueries)
	for i := range all {
		group.Go(func() error {
			m := &all[i]
			blob, err := r.repo.GetManifest(ctx, m.listed.Digest.String())
			if err == nil {
				m.parsed, err = manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
			}
			m.err = err
			return ctx.Err()
		})
	}
	return all, group.Wait()
}

// readClaims checks what the manifests say against their configs.
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

// blobs are the layers and configs that the image's manifests list: the
// repository took the manifests, so it has them.
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
