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

// authenticator adds credentials to requests for one registry. It never sends
// them to another host.
//
// It sends the first request without a ping and without credentials. The
// registry's refusal tells it which login the registry wants. So login costs no
// extra request with an open registry, one with passwords, and two with tokens.
// go-containerregistry parses the challenges and asks the token servers. Its
// transport is not used: it pings, asks for a token once per concurrent request,
// and sends again a body that was already read.
type authenticator struct {
	registry name.Registry
	resource authn.Resource // credentials are looked up for this resource
	schemes  []string       // tried in this order
	keychain authn.Keychain
	scopes   []string
	wire     http.RoundTripper

	finding *semaphore.Weighted // held while grant changes
	grant   atomic.Pointer[grant]
	used    atomic.Bool // true once credentials were found and sent
}

// grant holds how the registry is reached and authenticated at the moment.
type grant struct {
	scheme    string // http or https
	header    string // Authorization, "" for none
	challenge *transport.Challenge
	scopes    []string
	renew     time.Time // when to replace the token; zero: never
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

// leavesTLS returns the error for an address without TLS that a registry with TLS
// named for an upload, a redirect or tokens.
func leavesTLS(u *url.URL) error {
	return retry.Never(hint.Add(fmt.Errorf("refused: the registry uses TLS, but directs to %s, which does not", redact(u)),
		"a registry behind a proxy that ends TLS must know its own https address: see its setting for the external URL, or X-Forwarded-Proto"))
}

// contacted reports whether the registry has answered.
func (a *authenticator) contacted() bool { return a.grant.Load() != nil }

// anonymous reports whether no credentials were sent.
func (a *authenticator) anonymous() bool { return !a.used.Load() }

// RoundTrip implements http.RoundTripper. It replaces the scheme of the
// registry's own URLs by the scheme that the registry speaks: many registries
// behind a proxy send the wrong one in Location.
func (a *authenticator) RoundTrip(req *http.Request) (*http.Response, error) {
	g := a.grant.Load()
	if g == nil {
		if req.URL.Host != a.registry.RegistryStr() { // the client never begins with another host
			return nil, errors.New("the first request must go to the registry, not to another host")
		}
		return a.first(req)
	}
	if !g.owns(a.registry, req.URL) {
		if g.scheme == "https" && req.URL.Scheme != "https" {
			if req.Body != nil {
				req.Body.Close() // required by the contract of http.RoundTripper
			}
			return nil, leavesTLS(req.URL)
		}
		return a.wire.RoundTrip(req)
	}
	if !g.renew.IsZero() && time.Now().After(g.renew) {
		// An upload cannot be sent twice: replace its token before it expires.
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

// send sends a copy of req. net/http derives redirected requests from req, and
// must not find the Authorization header in it.
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

// first sends the first request. The response shows which scheme the registry
// speaks and which login it wants. Other requests wait meanwhile.
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
		if resp != nil { // resp is the answer 400 to http
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
			// https failed with an HTTP answer, so the registry speaks http. The
			// first attempt by http must have failed for another reason.
			return nil, retry.Again(fmt.Errorf("no answer by http; by https: %w", err))
		}
		return nil, err
	}
	var ch *transport.Challenge
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		ch = challengeOf(a.registry, resp)
	case http.StatusForbidden, http.StatusNotFound:
		// A registry that is partly public may answer "not found" for what needs
		// a login. If there are credentials, use them.
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

// otherScheme reports whether an answer may mean that the registry speaks the
// other scheme: http instead of https, or the reverse.
func otherScheme(scheme string, resp *http.Response, err error) bool {
	if scheme == "https" {
		// Only http.Client turns this error into ErrSchemeMismatch, not the
		// transport.
		e, ok := errors.AsType[tls.RecordHeaderError](err)
		return ok && string(e.RecordHeader[:]) == "HTTP/"
	}
	if err != nil { // the registry answered with a TLS alert
		return strings.Contains(err.Error(), "malformed HTTP")
	}
	return resp.StatusCode == http.StatusBadRequest // the text would tell more, but a HEAD has none
}

// ping asks the registry's root for a challenge. It returns nil if there is none.
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

// challengeOf reads the challenge of a response with status 401. It returns nil
// if there is none, or an unknown kind.
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

// replay answers every request with resp.
type replay struct{ resp *http.Response }

func (r replay) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: r.resp.StatusCode, Header: r.resp.Header, Body: http.NoBody, Request: req}, nil
}

// replace answers the challenge ch after the grant used was refused or has
// expired. If another request has replaced the grant meanwhile, it returns that
// one. It returns nil if no other credentials are left to try.
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
	if g.header == used.header { // the same password as before, or none
		return nil, nil
	}
	a.grant.Store(g)
	return g, nil
}

// covers reports whether one of scopes allows every action of want. Both have the
// form type:name:action,action…
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

// answer turns a challenge into a grant.
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

// tokenError converts an error of the token exchange. The result has the bounds
// of [ResponseError]. It does not quote an answer without a token, which may
// contain a secret.
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

// owns reports whether u is on reg's host and port, with the scheme that reg
// speaks or with u's own.
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

// checkRedirect allows a redirect only if it keeps the method and does not leave
// TLS.
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

// discard reads the rest of a small body, so that the connection can be used
// again.
func discard(resp *http.Response) {
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
}
