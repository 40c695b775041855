package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

// Options configure the connection to a registry. The zero value is ready to use.
type Options struct {
	MinSpeed  int64          // bytes a second that a transfer must reach; 0: limit.LeastSpeed, <0: no minimum
	Insecure  bool           // allow plain http, and certificates from unknown authorities
	CAFile    string         // PEM file of certificate authorities, in addition to the system's
	UserAgent string         // "" means nixoci
	Keychain  authn.Keychain // nil: the config file and credential helpers of Docker or podman
	MountFrom []string       // repositories of the same registry from which blobs may be mounted
	ReadOnly  bool           // do not ask for permission to push
	Delete    bool           // also ask for permission to delete
	Transfers int            // layers sent at once; 0 means enough for two or more cores and a slow network

	Retry retry.Schedule // the zero value means nixoci's normal schedule

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil means TCP
}

// Repository is the client of one repository in a registry. It implements [oci.Destination]. Each
// manifest is visible directly after PutManifest, so Commit has nothing to do.
type Repository struct {
	repo     name.Repository
	wire     *wire
	auth     *authenticator
	client   *http.Client
	retrier  *retrier
	limits   *limits
	counters *counters
	speed    limit.Speed // least speed of one transfer
	readOnly bool

	mu     sync.Mutex
	blobs  map[digest.Digest]bool   // true for each blob that the repository has
	tags   map[string]digest.Digest // the digest that each tag named at the last request; "" means that the tag did not exist
	mounts []string                 // repositories from which mount tries to mount blobs
	spare  []*url.URL               // open upload sessions that no upload uses yet
}

var (
	_ oci.Destination = (*Repository)(nil)
	_ oci.Reader      = (*Repository)(nil)
	_ oci.Forgetful   = (*Repository)(nil)
	_ oci.Metered     = (*Repository)(nil)
	_ oci.Mounter     = (*Repository)(nil)
)

// Open returns a client for repo. It sends no request yet.
func Open(repo name.Repository, o Options) (*Repository, error) {
	r := &Repository{repo: repo, counters: new(counters), limits: newLimits(o.Transfers), readOnly: o.ReadOnly, speed: o.speed(), blobs: map[digest.Digest]bool{}, tags: map[string]digest.Digest{}}
	var err error
	if r.wire, err = newWire(o, r.counters); err != nil {
		return nil, err
	}
	r.retrier = &retrier{schedule: o.Retry, counters: r.counters}
	actions := "push,pull"
	if o.ReadOnly {
		actions = "pull"
	}
	if o.Delete {
		actions += ",delete"
	}
	scopes := []string{"repository:" + repo.RepositoryStr() + ":" + actions}
	for _, m := range o.MountFrom {
		from, err := name.NewRepository(m)
		if err != nil || from.RegistryStr() != repo.RegistryStr() {
			// A name without a host is a repository of this registry.
			from, err = name.NewRepository(repo.RegistryStr() + "/" + m)
		}
		if err != nil {
			return nil, fmt.Errorf("parse repository to mount from %q: %w", m, err)
		}
		if from.RepositoryStr() != repo.RepositoryStr() {
			r.mounts = append(r.mounts, from.RepositoryStr())
			scopes = append(scopes, "repository:"+from.RepositoryStr()+":pull")
		}
	}
	r.auth = newAuthenticator(repo.Registry, repo, o, r.wire, scopes)
	r.client = &http.Client{Transport: r.auth, CheckRedirect: r.auth.checkRedirect}
	return r, nil
}

// Stats returns the traffic so far.
func (r *Repository) Stats() Stats { return r.counters.snapshot() }

// Name returns the repository's name in the form HOST/REPOSITORY.
func (r *Repository) Name() string { return r.repo.Name() }

// url returns the address of an endpoint of the repository. The authenticator
// replaces the scheme when it sends the request.
func (r *Repository) url(parts ...string) *url.URL {
	return &url.URL{Scheme: "https", Host: r.repo.RegistryStr(),
		Path: "/v2/" + r.repo.RepositoryStr() + "/" + strings.Join(parts, "/")}
}

func (r *Repository) Ref(tagOrDigest string) string {
	if strings.Contains(tagOrDigest, ":") {
		return r.repo.Name() + "@" + tagOrDigest
	}
	return r.repo.Name() + ":" + tagOrDigest
}

// sawTag records the digest that a tag names. If tagOrDigest is a digest, sawTag does nothing.
func (r *Repository) sawTag(tagOrDigest string, d digest.Digest) {
	if strings.Contains(tagOrDigest, ":") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[tagOrDigest] = d
}

// lastTag returns the digest that a tag named at the last request. If there was no such request,
// asked is false.
func (r *Repository) lastTag(tag string) (d digest.Digest, asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, asked = r.tags[tag]
	return d, asked
}

// Metered implements [oci.Metered].
func (r *Repository) Metered() {}

// Commit implements [oci.Destination].
func (r *Repository) Commit(ctx context.Context) error { return context.Cause(ctx) }

// Close deletes unused upload sessions and closes the connections. The Repository
// cannot be used afterwards.
func (r *Repository) Close() error {
	r.mu.Lock()
	spare := r.spare
	r.spare = nil
	r.mu.Unlock()
	for _, session := range spare {
		r.deleteSession(session)
	}
	r.wire.close()
	return nil
}

// OpenImage opens the image that the reference s names.
func OpenImage(s string, o Options) (*oci.OpenedImage, error) {
	ref, err := ParseReference(s)
	if err != nil {
		return nil, err
	}
	o.ReadOnly = true
	repo, err := Open(ref.Repository, o)
	if err != nil {
		return nil, err
	}
	return &oci.OpenedImage{Reader: repo, Name: ref.String(), TagOrDigest: ref.TagOrDigest(), Closer: repo}, nil
}
