package registry

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/registry/registrytest"
	"github.com/nixoci/nixoci/internal/retry"
)

func newFake(before func(w http.ResponseWriter, r *http.Request) bool) *registrytest.Registry {
	f := registrytest.New()
	f.Before = before
	return f
}

// noCredentials is a keychain without credentials, so that a test does not read
// the files of the user who runs it.
var noCredentials = authn.NewMultiKeychain()

type password struct{ user, secret string }

func (p password) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: p.user, Password: p.secret}), nil
}

// serve starts a server for h, and returns a client of the repository app/system there. Time is
// real here, so the client tries a request again without a delay.
func serve(t *testing.T, h http.Handler, o Options) *Repository {
	t.Helper()
	o.Retry = retry.Schedule{Delay: func(int) time.Duration { return 0 }}
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
