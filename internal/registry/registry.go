package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

// Reference is the name of an image in a registry: a repository and a tag or a digest.
type Reference struct {
	Repository name.Repository
	Tag        string        // "latest" if the text has neither tag nor digest
	Digest     digest.Digest // "" if the text has none
}

// ParseReference reads [HOST[:PORT]/]NAME[:TAG][@DIGEST] with Docker's defaults.
func ParseReference(s string) (Reference, error) {
	ref, err := name.ParseReference(s)
	if err != nil {
		return Reference{}, hint.Add(fmt.Errorf("parse image reference %q: %w", s, err),
			"a reference is HOST/NAME:TAG, such as ghcr.io/owner/system:latest")
	}
	r := Reference{Repository: ref.Context()}
	switch ref := ref.(type) {
	case name.Digest:
		r.Digest = digest.Digest(ref.DigestStr())
		if err := r.Digest.Validate(); err != nil {
			return Reference{}, fmt.Errorf("parse image reference %q: %w", s, err)
		}
	case name.Tag:
		r.Tag = ref.TagStr()
	}
	return r, nil
}

// TagOrDigest returns the digest, or the tag if there is no digest. [Repository.Resolve] accepts
// both.
func (r Reference) TagOrDigest() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

func (r Reference) String() string {
	if r.Digest != "" {
		return r.Repository.Name() + "@" + r.Digest.String()
	}
	return r.Repository.Name() + ":" + r.Tag
}

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

// request describes one small request. Its body, if any, is in memory.
type request struct {
	method string
	url    *url.URL
	header map[string]string
	body   []byte
	wait   time.Duration // time to wait for the response; 0 means answerTimeout
	accept []int         // expected status codes; any other code leads to a *ResponseError
}

// send sends q once. While the caller reads the body of the response, the transfer must not be
// slower than the least speed.
func (r *Repository) send(ctx context.Context, q request) (*http.Response, error) {
	release, err := oci.Acquire(ctx, r.limits.requests)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body) // net/http can send a bytes.Reader again
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), body)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	wait := q.wait
	if wait == 0 {
		wait = answerTimeout
	}
	timer := time.AfterFunc(wait, func() { cancel(errNoAnswer) })
	resp, err := r.client.Do(req)
	timer.Stop()
	if err != nil {
		err = r.transferError(ctx, redactError(err))
		cancel(nil)
		return nil, err
	}
	resp.Body = newStream(resp.Body, cancel, r.speed)
	for _, s := range q.accept {
		if resp.StatusCode == s {
			return resp, nil
		}
	}
	return nil, responseError(resp)
}

// transferError returns the error for a transfer that failed with err. If a time limit of this
// package ended ctx, it returns this reason. Otherwise it returns err.
func (r *Repository) transferError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause == errNoAnswer || cause == errStalled {
		return cause
	}
	if errors.Is(err, syscall.ECONNREFUSED) && r.auth.contacted() {
		return retry.Again(err) // the registry answered earlier, so it may be restarting
	}
	return err
}

// Resolve implements [oci.Destination].
func (r *Repository) Resolve(ctx context.Context, tagOrDigest string) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	err := r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{
			method: http.MethodHead, url: r.url("manifests", tagOrDigest),
			header: map[string]string{"Accept": acceptManifests},
			accept: []int{http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed},
		})
		if err != nil {
			return err
		}
		discard(resp)
		if resp.StatusCode == http.StatusNotFound {
			r.sawTag(tagOrDigest, "")
			return oci.ErrNotFound
		}
		d = ocispec.Descriptor{
			MediaType: mediaType(resp.Header),
			Digest:    digest.Digest(resp.Header.Get("Docker-Content-Digest")),
			Size:      resp.ContentLength,
		}
		return nil
	})
	if err != nil {
		return ocispec.Descriptor{}, r.fail("look up "+r.Ref(tagOrDigest), err)
	}
	if d.Digest.Validate() != nil || d.Size <= 0 || d.MediaType == "" {
		b, err := r.GetManifest(ctx, tagOrDigest) // some registries omit one of these fields in the answer to a HEAD
		return b.Descriptor, err
	}
	r.sawTag(tagOrDigest, d.Digest)
	return d, nil
}

func (r *Repository) Ref(tagOrDigest string) string {
	if strings.Contains(tagOrDigest, ":") {
		return r.repo.Name() + "@" + tagOrDigest
	}
	return r.repo.Name() + ":" + tagOrDigest
}

// HasBlob implements [oci.Destination]. If the repository does not have the blob, HasBlob tries to
// mount it from the repositories of Options.MountFrom.
func (r *Repository) HasBlob(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	if r.hasSeen(d.Digest) {
		return true, nil
	}
	var has bool
	err := r.retrier.do(ctx, func(ctx context.Context) (err error) {
		has, err = r.stat(ctx, d.Digest, d.Size)
		return err
	})
	if err == nil && !has {
		has, err = r.mount(ctx, d.Digest)
	}
	if err != nil {
		return false, r.fail(fmt.Sprintf("look up blob %s in %s", d.Digest, r.repo.Name()), err)
	}
	if has {
		r.sawBlob(d.Digest)
	}
	return has, nil
}

// stat asks once whether the repository has a blob. If the blob has another size, stat returns
// false, and the caller sends the blob again. If size is 0 or less, stat does not compare it.
func (r *Repository) stat(ctx context.Context, d digest.Digest, size int64) (bool, error) {
	resp, err := r.send(ctx, request{
		method: http.MethodHead, url: r.url("blobs", d.String()),
		accept: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return false, err
	}
	discard(resp)
	if resp.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return size <= 0 || resp.ContentLength < 0 || resp.ContentLength == size, nil
}

// mount tries to mount the blob from other repositories. If the registry refuses one of them, mount
// does not try that repository again.
func (r *Repository) mount(ctx context.Context, d digest.Digest) (bool, error) {
	r.mu.Lock()
	mounts := slices.Clone(r.mounts)
	r.mu.Unlock()
	for _, from := range mounts {
		mounted, refused, err := r.mountFrom(ctx, d, from)
		if err != nil || mounted {
			return mounted, err
		}
		if refused {
			r.mu.Lock()
			r.mounts = slices.DeleteFunc(slices.Clone(r.mounts), func(m string) bool { return m == from })
			r.mu.Unlock()
		}
	}
	return false, nil
}

// mountFrom tries to mount a blob from one other repository. If refused is true, the registry would
// also refuse other blobs of that repository.
func (r *Repository) mountFrom(ctx context.Context, d digest.Digest, from string) (mounted, refused bool, err error) {
	u := r.url("blobs", "uploads", "")
	u.RawQuery = url.Values{"mount": {d.String()}, "from": {from}}.Encode()
	err = r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{method: http.MethodPost, url: u,
			accept: []int{http.StatusCreated, http.StatusAccepted, http.StatusUnauthorized,
				http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}})
		if err != nil {
			return err
		}
		discard(resp)
		switch resp.StatusCode {
		case http.StatusCreated:
			mounted = true
		case http.StatusAccepted: // the registry did not mount the blob; it opened an upload session instead
			if session, err := resp.Location(); err == nil {
				r.mu.Lock()
				r.spare = append(r.spare, session)
				r.mu.Unlock()
			}
		default:
			refused = true
		}
		return nil
	})
	return mounted, refused, err
}

// Mount implements [oci.Mounter]. It mounts only blobs of another repository in the same registry.
func (r *Repository) Mount(ctx context.Context, d digest.Digest, from oci.Reader) (bool, error) {
	other, ok := from.(*Repository)
	if !ok || other.repo.RegistryStr() != r.repo.RegistryStr() || other.repo.RepositoryStr() == r.repo.RepositoryStr() {
		return false, nil
	}
	if r.hasSeen(d) {
		return true, nil
	}
	mounted, _, err := r.mountFrom(ctx, d, other.repo.RepositoryStr())
	if err != nil {
		return false, r.fail(fmt.Sprintf("mount blob %s of %s in %s", d, other.repo.Name(), r.repo.Name()), err)
	}
	if mounted {
		r.sawBlob(d)
	}
	return mounted, nil
}

// AllowMountFrom asks for a token that may also read other, so that its blobs can be
// mounted. It does nothing for another registry. Call it before the first request.
func (r *Repository) AllowMountFrom(other *Repository) {
	if other.repo.RegistryStr() == r.repo.RegistryStr() && other.repo.RepositoryStr() != r.repo.RepositoryStr() {
		r.auth.scopes = append(r.auth.scopes, "repository:"+other.repo.RepositoryStr()+":pull")
	}
}

// hasSeen reports whether an answer of the registry showed that the repository has the blob d.
func (r *Repository) hasSeen(d digest.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blobs[d]
}

// sawBlob records that the repository has the blob d.
func (r *Repository) sawBlob(d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[d] = true
}

// Forget implements [oci.Forgetful].
func (r *Repository) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.blobs)
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

// sameDigest returns an error if the registry reports that it stored another digest than want. It
// ignores a missing or invalid digest.
func sameDigest(resp *http.Response, want digest.Digest) error {
	got := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if got == want || got.Validate() != nil || got.Algorithm() != want.Algorithm() {
		return nil
	}
	return fmt.Errorf("%w: %s instead of %s", errOtherStored, got, want)
}

// errOtherStored reports that the registry stored content with another digest than the content that
// the client sent.
var errOtherStored = errors.New("the registry stored something else")

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

// speed returns the least speed of a transfer.
func (o *Options) speed() limit.Speed {
	return limit.Speed{Least: cmp.Or(o.MinSpeed, limit.LeastSpeed)}
}

// stream is the body of a response. It cancels the request if the body arrives too slowly.
type stream struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	timer  *time.Timer
	speed  limit.Speed
}

func newStream(rc io.ReadCloser, cancel context.CancelCauseFunc, speed limit.Speed) *stream {
	return &stream{rc, cancel, time.AfterFunc(stallTimeout, func() { cancel(errStalled) }), speed}
}

func (s *stream) Read(p []byte) (int, error) {
	s.timer.Reset(s.speed.Patience())
	start := time.Now()
	n, err := s.ReadCloser.Read(p)
	s.timer.Stop()
	s.speed.Moved(n, time.Since(start))
	return n, err
}

func (s *stream) Close() error {
	s.timer.Stop()
	err := s.ReadCloser.Close()
	s.cancel(nil)
	return err
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
