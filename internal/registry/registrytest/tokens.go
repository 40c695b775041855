package registrytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// These are the user and password that [Tokens] accepts.
const (
	User     = "ann"
	Password = "s3cret"
)

// Tokens is a registry that requires tokens, together with its token server. A token is valid only
// for the scopes for which the client requested it.
type Tokens struct {
	*Registry
	Lifetime time.Duration
	Refuse   string // a scope for which the token server gives no token

	mu        sync.Mutex
	exchanged int
	valid     map[string]time.Time
	scopes    map[string][]string
}

// NewTokens puts a token server in front of the registry r.
func NewTokens(r *Registry, lifetime time.Duration) *Tokens {
	return &Tokens{Registry: r, Lifetime: lifetime, valid: map[string]time.Time{}, scopes: map[string][]string{}}
}

// Revoke makes all tokens invalid.
func (k *Tokens) Revoke() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.valid)
}

// Exchanged returns the number of tokens that the token server has given.
func (k *Tokens) Exchanged() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exchanged
}

// ServeHTTP implements http.Handler.
func (k *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		k.give(w, r)
		return
	}
	tok := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
	repo, _, _ = strings.Cut(repo, "/manifests/")
	repo = strings.TrimSuffix(repo, "/tags/list")
	need := []string{"repository:" + repo + ":push,pull"}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		need = append(need, "repository:"+repo+":pull")
	}
	if from := r.URL.Query().Get("from"); from != "" {
		need = []string{"repository:" + from + ":pull"}
	}
	k.mu.Lock()
	ok := time.Now().Before(k.valid[tok]) && slices.ContainsFunc(need, func(s string) bool { return slices.Contains(k.scopes[tok], s) })
	k.mu.Unlock()
	if !ok {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="fake",scope=%q`, r.Host, need[0]))
		Refuse(w, 401, "UNAUTHORIZED", "authentication required")
		return
	}
	k.Registry.ServeHTTP(w, r)
}

func (k *Tokens) give(w http.ResponseWriter, r *http.Request) {
	if u, p, _ := r.BasicAuth(); u != User || p != Password {
		Refuse(w, 401, "UNAUTHORIZED", "wrong password")
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.exchanged++
	tok := fmt.Sprint("token-", k.exchanged)
	k.valid[tok] = time.Now().Add(k.Lifetime)
	k.scopes[tok] = slices.DeleteFunc(slices.Clone(r.URL.Query()["scope"]), func(s string) bool { return s == k.Refuse })
	fmt.Fprintf(w, `{"token":%q,"expires_in":%d}`, tok, int(k.Lifetime.Seconds()))
}
