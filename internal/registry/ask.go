package registry

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
)

// Question describes one request about a repository. [Repository.Ask] sends it once, without
// retries. Package doctor asks questions to find out what a registry supports, so it also needs the
// answers that refuse a request.
type Question struct {
	Method string
	Path   []string // below /v2/REPOSITORY/
	Query  url.Values
	Header map[string]string
	Body   []byte
	At     *url.URL // an address from an earlier answer; if it is not nil, Path is ignored
}

// Answer describes the registry's response, which may have any status.
type Answer struct {
	Status   int
	Header   http.Header
	Body     []byte // at most maxAnswer bytes
	Location *url.URL
	Took     time.Duration
}

// maxAnswer is the largest number of bytes that Ask reads of a response's body.
const maxAnswer = limit.Config

// Ask sends q. It returns an error only if it received no complete response.
func (r *Repository) Ask(ctx context.Context, q Question) (Answer, error) {
	u := q.At
	if u == nil {
		u = r.url(q.Path...)
	}
	if len(q.Query) > 0 {
		with := *u
		if with.RawQuery != "" {
			with.RawQuery += "&"
		}
		with.RawQuery += q.Query.Encode()
		u = &with
	}
	var accept []int
	for s := 200; s < 600; s++ {
		accept = append(accept, s)
	}
	start := time.Now()
	resp, err := r.send(ctx, request{method: q.Method, url: u, header: q.Header, body: q.Body, accept: accept})
	if err != nil {
		return Answer{}, r.fail(q.Method+" "+redact(u), err)
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Took: time.Since(start)}
	if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return Answer{}, r.fail(q.Method+" "+redact(u), err)
	}
	if resp.Header.Get("Location") != "" {
		a.Location, _ = resp.Location() // an invalid Location is treated like a missing one
	}
	return a, nil
}

// Access describes the connection to the registry and how nixoci logged in.
type Access struct {
	Scheme string   // http or https
	Login  string   // none, Basic or Bearer
	Named  bool     // whether credentials were sent
	Scopes []string // the scopes that the token was requested for
}

// Access returns the scheme and login of r. They are known once the registry has answered a
// request.
func (r *Repository) Access() Access {
	a := Access{Login: "none", Named: !r.auth.anonymous()}
	if g := r.auth.grant.Load(); g != nil {
		a.Scheme = g.scheme
		if kind, _, ok := strings.Cut(g.header, " "); ok {
			a.Login = kind
		}
		if a.Login == "Bearer" {
			a.Scopes = slices.Clone(g.scopes)
		}
	}
	return a
}
