package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// fakeRegistry implements what of the distribution specification the package
// uses, as strictly as it can, and counts. before may answer a request in its
// place: then it returns true.
type fakeRegistry struct {
	before func(w http.ResponseWriter, r *http.Request) bool

	mu        sync.Mutex
	next      int
	sessions  map[string][]byte
	blobs     map[string][]byte // repository@digest
	manifests map[string][]byte // repository:target
	types     map[string]string
	log       []string // "METHOD path" of every request
	commits   map[string]int
	deleted   int
}

func newFake(before func(w http.ResponseWriter, r *http.Request) bool) *fakeRegistry {
	return &fakeRegistry{before: before, sessions: map[string][]byte{}, blobs: map[string][]byte{},
		manifests: map[string][]byte{}, types: map[string]string{}, commits: map[string]int{}}
}

func (f *fakeRegistry) requests(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (f *fakeRegistry) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.before != nil && f.before(w, r) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	switch {
	case strings.Contains(path, "/blobs/uploads/"):
		f.upload(w, r, path)
	case strings.Contains(path, "/blobs/"):
		repo, d, _ := strings.Cut(path, "/blobs/")
		f.mu.Lock()
		data, ok := f.blobs[repo+"@"+d]
		f.mu.Unlock()
		if !ok {
			refuse(w, 404, "BLOB_UNKNOWN", "blob unknown to registry")
			return
		}
		w.Header().Set("Docker-Content-Digest", d)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if r.Method == http.MethodGet {
			w.Write(data)
		}
	case strings.Contains(path, "/manifests/"):
		f.manifest(w, r, path)
	default:
		refuse(w, 404, "UNSUPPORTED", "no such endpoint")
	}
}

func (f *fakeRegistry) upload(w http.ResponseWriter, r *http.Request, path string) {
	repo, id, _ := strings.Cut(path, "/blobs/uploads/")
	location := func(id string) { w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id+"?_state=a%2Bb") }
	if r.Method == http.MethodPost {
		f.mu.Lock()
		defer f.mu.Unlock()
		q := r.URL.Query()
		if data, ok := f.blobs[q.Get("from")+"@"+q.Get("mount")]; ok {
			f.blobs[repo+"@"+q.Get("mount")] = data
			w.WriteHeader(201)
			return
		}
		f.next++
		id := fmt.Sprintf("session-%d", f.next)
		f.sessions[id] = []byte{}
		location(id)
		w.WriteHeader(202)
		return
	}
	if r.URL.RawQuery != "_state=a%2Bb" && !strings.HasPrefix(r.URL.RawQuery, "_state=a%2Bb&digest=") {
		refuse(w, 400, "BLOB_UPLOAD_INVALID", "query not preserved: "+r.URL.RawQuery)
		return
	}
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.sessions[id]
	if !ok {
		refuse(w, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	if err != nil { // cut
		return
	}
	switch r.Method {
	case http.MethodPatch:
		if len(data) > 0 {
			refuse(w, 416, "RANGE_INVALID", "session is not empty")
			return
		}
		f.sessions[id] = body
		location(id)
		w.WriteHeader(202)
	case http.MethodPut:
		data = append(data, body...)
		d := r.URL.Query().Get("digest")
		if digest.FromBytes(data).String() != d {
			refuse(w, 400, "DIGEST_INVALID", "provided digest did not match uploaded content")
			return
		}
		f.blobs[repo+"@"+d] = data
		f.commits[d]++
		delete(f.sessions, id)
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(201)
	case http.MethodDelete:
		delete(f.sessions, id)
		f.deleted++
		w.WriteHeader(204)
	}
}

func (f *fakeRegistry) manifest(w http.ResponseWriter, r *http.Request, path string) {
	repo, target, _ := strings.Cut(path, "/manifests/")
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPut {
		data, _ := io.ReadAll(r.Body)
		d := digest.FromBytes(data).String()
		for _, t := range []string{target, d} {
			f.manifests[repo+":"+t] = data
			f.types[repo+":"+t] = r.Header.Get("Content-Type")
		}
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(201)
		return
	}
	data, ok := f.manifests[repo+":"+target]
	if !ok {
		refuse(w, 404, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Content-Type", f.types[repo+":"+target])
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method == http.MethodGet {
		w.Write(data)
	}
}

// noCredentials is a keychain that is not the tester's own.
var noCredentials = authn.NewMultiKeychain()

type password struct{ user, secret string }

func (p password) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: p.user, Password: p.secret}), nil
}

// serve returns repository app/system of h.
func serve(t *testing.T, h http.Handler, o Options) *Repository {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return openAt(t, s.URL, o)
}

func openAt(t *testing.T, base string, o Options) *Repository {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository(u.Host + "/app/system")
	if err != nil {
		t.Fatal(err)
	}
	if o.Keychain == nil {
		o.Keychain = noCredentials
	}
	r, err := Open(repo, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes (%s), want %d (%s)", what, len(got), digest.FromBytes(got), len(want), digest.FromBytes(want))
	}
}
