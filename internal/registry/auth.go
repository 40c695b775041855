package registry

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/retry"
)

// authenticator adds credentials to requests for one registry. It never sends them to another host.
//
// It sends the first request without credentials, and sends no ping before. If the registry refuses
// this request, the answer shows which kind of login the registry wants. So login costs no extra
// request with a registry that is open to everybody. It costs one extra request with passwords, and
// two with tokens. go-containerregistry parses the challenges and asks the token servers. The
// authenticator does not use go-containerregistry's transport: that transport sends a ping, asks
// for a token once per concurrent request, and sends again a body that was already read.
type authenticator struct {
	registry name.Registry
	resource authn.Resource // the name that the keychain is asked for
	schemes  []string       // http and https, in the order of the attempts
	keychain authn.Keychain
	scopes   []string
	wire     http.RoundTripper

	finding *semaphore.Weighted // held while a goroutine replaces grant
	grant   atomic.Pointer[grant]
	used    atomic.Bool // true once credentials were found and sent
}

// grant holds the scheme and the credentials that requests use at the moment.
type grant struct {
	scheme    string // http or https
	header    string // value of the Authorization header; "" for none
	challenge *transport.Challenge
	scopes    []string
	renew     time.Time // when to replace the token; zero means never
}

func newAuthenticator(reg name.Registry, resource authn.Resource, o Options, w http.RoundTripper, scopes []string) *authenticator {
	a := &authenticator{registry: reg, resource: resource, keychain: o.Keychain, scopes: scopes, wire: w, finding: semaphore.NewWeighted(1)}
	if a.keychain == nil {
		a.keychain = fileKeychain{}
	}
	switch {
	case isLoopback(reg.RegistryStr()):
		a.schemes = []string{"http", "https"}
	case o.Insecure:
		a.schemes = []string{"https", "http"}
	default:
		a.schemes = []string{"https"}
	}
	return a
}

// leavesTLS returns the error for a registry that uses TLS and names the address u without TLS. u
// may be the address of an upload, of a redirect or of the token server.
func leavesTLS(u *url.URL) error {
	return retry.Never(hint.Add(fmt.Errorf("refused: the registry uses TLS, but directs to %s, which does not", redact(u)),
		"a registry behind a proxy that ends TLS must know its own https address: see its setting for the external URL, or X-Forwarded-Proto"))
}

// contacted reports whether the registry has answered.
func (a *authenticator) contacted() bool { return a.grant.Load() != nil }

// anonymous reports whether the client has sent no credentials.
func (a *authenticator) anonymous() bool { return !a.used.Load() }

// RoundTrip implements http.RoundTripper. In the URLs of the registry itself it sets the scheme
// that the registry uses. Many registries behind a proxy send the wrong scheme in Location.
func (a *authenticator) RoundTrip(req *http.Request) (*http.Response, error) {
	g := a.grant.Load()
	if g == nil {
		if req.URL.Host != a.registry.RegistryStr() { // the client never sends its first request to another host
			return nil, errors.New("the first request must go to the registry, not to another host")
		}
		return a.first(req)
	}
	if !g.owns(a.registry, req.URL) {
		if g.scheme == "https" && req.URL.Scheme != "https" {
			if req.Body != nil {
				req.Body.Close() // a http.RoundTripper must close the body
			}
			return nil, leavesTLS(req.URL)
		}
		return a.wire.RoundTrip(req)
	}
	if !g.renew.IsZero() && time.Now().After(g.renew) {
		// An upload cannot be sent twice, so replace the token before it expires.
		if fresh, err := a.replace(req.Context(), g, g.challenge); err == nil && fresh != nil {
			g = fresh
		}
	}
	resp, err := a.send(req, g, req.Body)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	ch := challengeOf(a.registry, resp)
	if ch == nil {
		return resp, nil
	}
	fresh, err := a.replace(req.Context(), g, ch)
	if err != nil {
		discard(resp)
		return nil, err
	}
	if fresh == nil {
		return resp, nil
	}
	discard(resp)
	body := req.Body
	if body != nil && body != http.NoBody {
		if req.GetBody == nil {
			return nil, retry.AtOnce(errors.New("the registry wanted a new token"))
		}
		if body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return a.send(req, fresh, body)
}

// send sends a copy of req. net/http makes redirected requests from req, so req itself must not
// contain the Authorization header.
func (a *authenticator) send(req *http.Request, g *grant, body io.ReadCloser) (*http.Response, error) {
	c := *req
	u := *req.URL
	u.Scheme = g.scheme
	c.URL, c.Header, c.Body = &u, req.Header.Clone(), body
	if g.header != "" {
		c.Header.Set("Authorization", g.header)
	}
	return a.wire.RoundTrip(&c)
}

// first sends the first request. The response shows which scheme the registry uses and which login
// it wants. Other requests wait until first returns.
func (a *authenticator) first(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := a.finding.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	if a.contacted() {
		a.finding.Release(1)
		return a.RoundTrip(req)
	}
	defer a.finding.Release(1)

	var (
		resp *http.Response
		err  error
		g    *grant
	)
	for i, scheme := range a.schemes {
		next := &grant{scheme: scheme}
		nextResp, nextErr := a.send(req, next, req.Body)
		if resp != nil { // resp is the answer 400 to the attempt by http
			if nextErr != nil {
				break
			}
			discard(resp)
		}
		g, resp, err = next, nextResp, nextErr
		if i == len(a.schemes)-1 || !otherScheme(scheme, resp, err) {
			break
		}
	}
	if err != nil {
		if g.scheme == "https" && a.schemes[0] == "http" && otherScheme("https", nil, err) {
			// The attempt by https failed because the registry answered in plain HTTP. So the
			// registry uses http, and the first attempt by http must have failed for another
			// reason.
			return nil, retry.Again(fmt.Errorf("no answer by http; by https: %w", err))
		}
		return nil, err
	}
	var ch *transport.Challenge
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		ch = challengeOf(a.registry, resp)
	case http.StatusForbidden, http.StatusNotFound:
		// A registry that is partly public may answer "not found" for a repository that needs a
		// login. If the keychain has credentials, use them.
		if auth, err := a.credentials(ctx); err == nil && *auth != (authn.AuthConfig{}) {
			if ch, err = a.ping(ctx, g); err != nil {
				discard(resp)
				return nil, err
			}
		}
	}
	if ch == nil {
		a.grant.Store(g)
		return resp, nil
	}
	discard(resp)
	g, err = a.answer(ctx, g.scheme, ch, a.scopes)
	if err != nil {
		return nil, err
	}
	a.grant.Store(g)
	return a.send(req, g, nil)
}

// otherScheme reports whether an answer may mean that the registry uses the other scheme: http
// instead of https, or https instead of http.
func otherScheme(scheme string, resp *http.Response, err error) bool {
	if scheme == "https" {
		// http.Client turns this error into ErrSchemeMismatch. The transport does not.
		e, ok := errors.AsType[tls.RecordHeaderError](err)
		return ok && string(e.RecordHeader[:]) == "HTTP/"
	}
	if err != nil { // a registry with TLS may answer with a TLS alert
		return strings.Contains(err.Error(), "malformed HTTP")
	}
	return resp.StatusCode == http.StatusBadRequest // the response to a HEAD has no text that would show more
}

// ping requests the root of the registry's API to get a challenge. If the answer contains no
// challenge, ping returns nil.
func (a *authenticator) ping(ctx context.Context, g *grant) (*transport.Challenge, error) {
	u := url.URL{Scheme: g.scheme, Host: a.registry.RegistryStr(), Path: "/v2/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.wire.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer discard(resp)
	return challengeOf(a.registry, resp), nil
}

// challengeOf reads the challenge of a response with status 401. If the response contains no
// challenge, or one of an unknown kind, it returns nil.
func challengeOf(reg name.Registry, resp *http.Response) *transport.Challenge {
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
		return nil
	}
	ch, err := transport.Ping(context.Background(), reg, replay{resp})
	if err != nil {
		return nil
	}
	ch.Insecure = resp.Request.URL.Scheme == "http"
	switch strings.ToLower(ch.Scheme) {
	case "basic", "bearer":
		return ch
	}
	return nil
}

// replay is an http.RoundTripper that answers every request with resp.
type replay struct{ resp *http.Response }

func (r replay) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: r.resp.StatusCode, Header: r.resp.Header, Body: http.NoBody, Request: req}, nil
}

// replace answers the challenge ch after the registry refused the grant used, or after this grant
// expired. If another request has replaced the grant meanwhile, replace returns the new grant. If
// there are no other credentials to try, it returns nil.
func (a *authenticator) replace(ctx context.Context, used *grant, ch *transport.Challenge) (*grant, error) {
	if err := a.finding.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	defer a.finding.Release(1)
	now := a.grant.Load()
	if now != used {
		return now, nil
	}
	scopes := now.scopes
	if scopes == nil {
		scopes = a.scopes
	}
	for _, want := range strings.Fields(ch.Parameters["scope"]) {
		if !covers(scopes, want) {
			scopes = append(slices.Clone(scopes), want)
		}
	}
	g, err := a.answer(ctx, now.scheme, ch, scopes)
	if err != nil {
		return nil, err
	}
	if g.header == used.header { // answer found the same password as before, or none
		return nil, nil
	}
	a.grant.Store(g)
	return g, nil
}

// covers reports whether one of scopes allows every action of want. A scope has the form
// type:name:action,action…
func covers(scopes []string, want string) bool {
	cut := func(s string) (string, []string) {
		i := strings.LastIndexByte(s, ':')
		return s[:max(i, 0)], strings.Split(s[i+1:], ",")
	}
	wantName, wantActions := cut(want)
	return slices.ContainsFunc(scopes, func(s string) bool {
		name, actions := cut(s)
		return name == wantName && !slices.ContainsFunc(wantActions, func(a string) bool { return !slices.Contains(actions, a) })
	})
}

func (a *authenticator) credentials(ctx context.Context) (*authn.AuthConfig, error) {
	auth, err := authn.Resolve(ctx, a.keychain, a.resource)
	if err != nil {
		return nil, retry.Never(err)
	}
	return authn.Authorization(ctx, auth)
}

// answer returns a grant for the challenge ch. It looks up the credentials, and asks the token
// server if ch requires a token.
func (a *authenticator) answer(ctx context.Context, scheme string, ch *transport.Challenge, scopes []string) (*grant, error) {
	cfg, err := a.credentials(ctx)
	if err != nil {
		return nil, err
	}
	if *cfg != (authn.AuthConfig{}) {
		a.used.Store(true)
	}
	g := &grant{scheme: scheme, challenge: ch, scopes: scopes}
	switch {
	case cfg.RegistryToken != "":
		g.header = "Bearer " + cfg.RegistryToken
		return g, nil
	case strings.EqualFold(ch.Scheme, "basic"):
		switch {
		case cfg.Username != "" && cfg.Password != "":
			g.header = "Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.Username+":"+cfg.Password))
		case cfg.Auth != "":
			g.header = "Basic " + cfg.Auth
		}
		return g, nil
	}
	if realm, err := url.Parse(ch.Parameters["realm"]); err == nil && scheme == "https" && realm.Scheme == "http" {
		return nil, leavesTLS(realm)
	}
	asked := time.Now()
	tok, err := transport.Exchange(ctx, a.registry, authn.FromConfig(*cfg), a.wire, scopes, ch)
	if err != nil {
		return nil, tokenError(err)
	}
	token := tok.Token
	if tok.AccessToken != "" {
		token = tok.AccessToken
	}
	g.header = "Bearer " + token
	// Some servers do not send expires_in. The specification's default is 60
	// seconds.
	lifetime := 60 * time.Second
	if tok.ExpiresIn > 0 {
		lifetime = time.Duration(tok.ExpiresIn) * time.Second
	}
	g.renew = asked.Add(lifetime * 3 / 4)
	return g, nil
}

// tokenError converts an error of the token exchange. The result contains at most as much text of
// the server as a [ResponseError]. If the answer contains no token, the result does not quote the
// answer, because it may contain a secret.
func tokenError(err error) error {
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		if strings.HasPrefix(err.Error(), "no token in bearer response") {
			return errors.New("the token server has answered without a token")
		}
		return fmt.Errorf("get a token: %w", err)
	}
	e := &ResponseError{Status: te.StatusCode}
	if te.Request != nil {
		e.Method, e.URL = te.Request.Method, redact(te.Request.URL)
	}
	if len(te.Errors) > 0 {
		e.Code, e.Message = oneLine(string(te.Errors[0].Code)), oneLine(te.Errors[0].Message)
	}
	return fmt.Errorf("get a token: %w", e)
}

// owns reports whether u has reg's host and port. If a port is missing, owns tries the default port
// of the scheme that reg uses, and the default port of u's scheme.
func (g *grant) owns(reg name.Registry, u *url.URL) bool {
	port := map[string]string{"http": "80", "https": "443"}
	with := func(host, scheme string) string {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port[scheme])
		}
		return strings.ToLower(host)
	}
	ours := with(reg.RegistryStr(), g.scheme)
	return with(u.Host, g.scheme) == ours || with(u.Host, u.Scheme) == ours
}

// checkRedirect allows a redirect only if the new request has the same method and does not change
// from TLS to an address without TLS.
func (a *authenticator) checkRedirect(req *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	scheme := last.URL.Scheme
	g := a.grant.Load()
	ours := func(u *url.URL) bool { return g != nil && g.owns(a.registry, u) }
	if ours(last.URL) {
		scheme = g.scheme
	}
	switch {
	case len(via) >= 5:
		return errors.New("too many redirects")
	case req.Method != first.Method:
		return http.ErrUseLastResponse
	case scheme == "https" && req.URL.Scheme == "http" && !ours(req.URL):
		return fmt.Errorf("redirect from https to %s refused", redact(req.URL))
	}
	return nil
}

// discard reads the rest of a small body, so that later requests can use the connection.
func discard(resp *http.Response) {
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
}
