package keyless

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/retry"
)

// answerTimeout is the longest time from a request to the end of its answer. Answers are small.
const answerTimeout = 30 * time.Second

// client sends small requests to the services.
type client struct {
	http     *http.Client
	retry    retry.Schedule
	insecure bool // allow plain http to other machines
}

func newClient(o *Options) *client {
	return &client{retry: o.Retry, insecure: o.Insecure, http: &http.Client{
		Transport: o.Transport,
		// A redirect could send the identity token to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type request struct {
	method string
	url    string
	header map[string]string
	body   []byte
	accept []int // expected status codes
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// statusError reports an answer with an unexpected status.
type statusError struct {
	status int
	text   string
	header http.Header
	after  time.Duration
}

func (e *statusError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	}
	return fmt.Sprintf("%d %s: %s", e.status, http.StatusText(e.status), e.text)
}

// MayPass implements [retry.ServerError].
func (e *statusError) MayPass() bool { return retry.StatusMayPass(e.status) }

// RetryAfter implements [retry.ServerError].
func (e *statusError) RetryAfter() time.Duration { return e.after }

// send sends q and reads the answer. After a temporary failure, it sends q again.
func (c *client) send(ctx context.Context, q request) (a *answer, err error) {
	if err := c.checkURL(q.url); err != nil {
		return nil, err
	}
	err = c.retry.Do(ctx, func(ctx context.Context) error {
		a, err = c.once(ctx, q)
		return err
	})
	return a, err
}

func (c *client) once(ctx context.Context, q request) (*answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, retry.Silence(fmt.Sprintf("no answer within %s", answerTimeout)))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	a, err := c.read(req)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	for _, s := range q.accept {
		if a.status == s {
			return a, nil
		}
	}
	return nil, &statusError{a.status, errorText(hideToken(a.body, q.header["Authorization"])), a.header, retry.AfterHeader(a.header, time.Now())}
}

func (c *client) read(req *http.Request) (*answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := limit.ReadAll(resp.Body, "answer of "+req.URL.Host, limit.SigstoreAnswer)
	return &answer{resp.StatusCode, resp.Header, body}, err
}

// hideToken removes the token of a request from the body of the answer. Some services repeat the token in
// their error texts, and logs of CI jobs are often public.
func hideToken(body []byte, authorization string) []byte {
	token := strings.TrimPrefix(authorization, "Bearer ")
	if token == "" {
		return body
	}
	return bytes.ReplaceAll(body, []byte(token), []byte("[token]"))
}

// redacted returns the URL of a service without its password, for error texts.
func redacted(service string) string {
	u, err := url.Parse(service)
	if err != nil {
		return "" // checkURL has refused it
	}
	return u.Redacted()
}

// errorText returns the message in an answer of Fulcio or Rekor. If the answer has another form,
// errorText returns its first line, shortened.
func errorText(body []byte) string {
	var e struct{ Message string }
	if json.Unmarshal(body, &e) == nil && e.Message != "" {
		return e.Message
	}
	const most = 200
	text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return text[:min(most, len(text))]
}

// checkURL refuses plain http, except to this machine: with plain http, everybody between this
// machine and the service could read the identity token.
func (c *client) checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("the address is not a URL") // without the address, which may contain a password
	}
	if u.Host == "" {
		return fmt.Errorf("%q is not a URL", text)
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if c.insecure || isLoopback(u.Hostname()) {
			return nil
		}
		return hint.Add(fmt.Errorf("%s://%s is not encrypted", u.Scheme, u.Host), "use https, or --insecure in a network that you trust")
	}
	return fmt.Errorf("%q is neither https nor http", redacted(text))
}

// isLoopback reports whether host is this machine. Unlike the function in package registry, it does not
// accept names that end in ".localhost": a DNS server may resolve them to another machine, which
// would get the identity token without encryption.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// join appends path to the URL of a service.
func join(base, path string) string { return strings.TrimRight(base, "/") + path }
