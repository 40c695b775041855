package keyless

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// audience is the name by which Fulcio recognizes tokens that are meant for it.
const audience = "sigstore"

// The names that end in Variable, and githubSecret, are environment variables. cosign and the
// documentation of GitLab use TokenVariable. GitHub sets githubURLVariable and githubSecret in a job
// that may request tokens.
const (
	TokenVariable      = "SIGSTORE_ID_TOKEN"
	githubURLVariable  = "ACTIONS_ID_TOKEN_REQUEST_URL"
	githubSecret       = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	githubVariable     = "GITHUB_ACTIONS"
	gitlabVariable     = "GITLAB_CI"
	githubPermission   = "give the job the permission id-token: write"
	gitlabTokenRequest = "add to the job: id_tokens: {" + TokenVariable + ": {aud: " + audience + "}}"
)

// TokenSource provides OIDC tokens. A token names a person or a CI job, and a provider such as GitHub
// has signed it.
type TokenSource struct {
	fixed       string // the token itself; "" if the source requests tokens
	url, secret string // the URL to request tokens from, and the password for these requests
}

// FindToken finds the source of tokens. If file is not "", the token is in this file. Otherwise
// FindToken reads TokenVariable and the variables of GitHub.
func FindToken(file string, getenv func(string) string) (*TokenSource, error) {
	if file != "" {
		data, err := limit.ReadNamed(file, limit.IdentityToken)
		if err != nil {
			return nil, fmt.Errorf("read identity token: %w", err)
		}
		return fixedToken(string(data), file)
	}
	if t := getenv(TokenVariable); t != "" {
		return fixedToken(t, TokenVariable)
	}
	if u := getenv(githubURLVariable); u != "" {
		if getenv(githubSecret) == "" {
			return nil, fmt.Errorf("find identity token: %s is set, but %s is not", githubURLVariable, githubSecret)
		}
		return &TokenSource{url: u, secret: getenv(githubSecret)}, nil
	}
	err := errors.New("find identity token: there is none")
	switch {
	case getenv(githubVariable) == "true":
		err = hint.Add(err, githubPermission)
	case getenv(gitlabVariable) == "true":
		err = hint.Add(err, gitlabTokenRequest)
	default:
		err = hint.Add(err, "set "+TokenVariable+" to an OIDC token with the audience "+audience+", or name a file with --identity-token")
	}
	return nil, err
}

func fixedToken(text, source string) (*TokenSource, error) {
	t := strings.TrimSpace(text)
	if _, err := claimsOf(t); err != nil {
		return nil, fmt.Errorf("read identity token: %s: %w", source, err)
	}
	return &TokenSource{fixed: t}, nil
}

// claims are the fields of a token that nixoci reads. It uses them for error texts only.
type claims struct {
	Expires int64 `json:"exp"` // seconds since 1970
}

func claimsOf(token string) (c claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("not an OIDC token, which has three parts with a dot between them")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &c) != nil {
		return c, errors.New("not an OIDC token: its second part is not JSON in base64")
	}
	return c, nil
}

// get returns a token. GitHub gives out a new one for each request.
func (s *TokenSource) get(ctx context.Context, c *client) (string, error) {
	if s.fixed != "" {
		return s.fixed, nil
	}
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("request identity token of GitHub Actions: %w", err)
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return fail(fmt.Errorf("%s is not a URL", githubURLVariable))
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	a, err := c.send(ctx, request{method: http.MethodGet, url: u.String(), header: map[string]string{"Authorization": "Bearer " + s.secret}, accept: []int{http.StatusOK}})
	if err != nil {
		return fail(err)
	}
	var answer struct{ Value string }
	if json.Unmarshal(a.body, &answer) != nil || answer.Value == "" {
		return fail(errors.New("the answer has no token"))
	}
	if _, err := claimsOf(answer.Value); err != nil {
		return fail(err)
	}
	return answer.Value, nil
}

// expired returns advice to the user if the token has expired. Otherwise it returns "".
func expired(token string, now time.Time) string {
	c, err := claimsOf(token)
	if err != nil || c.Expires == 0 || now.Before(time.Unix(c.Expires, 0)) {
		return ""
	}
	return fmt.Sprintf("the identity token expired on %s: get a new one", stamp(time.Unix(c.Expires, 0)))
}
