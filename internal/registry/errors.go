package registry

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/retry"
)

const (
	maxErrorBody    = 64 << 10 // bytes of an error response that are read
	maxErrorMessage = 400      // bytes of an error response that are shown
)

// ResponseError is a response of the registry with an unexpected status.
type ResponseError struct {
	Method     string
	URL        string // without user and query, which may contain signatures and upload state
	Status     int
	Code       string // error code of the distribution specification, such as BLOB_UPLOAD_UNKNOWN; "" if the response has none
	Message    string // one line of at most maxErrorMessage bytes
	retryAfter time.Duration
}

func (e *ResponseError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// RetryAfter implements [retry.ServerError].
func (e *ResponseError) RetryAfter() time.Duration { return e.retryAfter }

// responseError returns an error that describes resp, and closes its body.
func responseError(resp *http.Response) *ResponseError {
	defer resp.Body.Close()
	e := &ResponseError{Status: resp.StatusCode, retryAfter: retry.AfterHeader(resp.Header, time.Now())}
	if resp.Request != nil {
		e.Method, e.URL = resp.Request.Method, redact(resp.Request.URL)
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	if json.Unmarshal(body, &doc) == nil && len(doc.Errors) > 0 {
		e.Code = oneLine(doc.Errors[0].Code)
		msg := doc.Errors[0].Message
		var detail string
		if json.Unmarshal(doc.Errors[0].Detail, &detail) == nil && detail != "" && detail != msg {
			msg += ": " + detail
		}
		e.Message = oneLine(msg)
	} else if ct := resp.Header.Get("Content-Type"); !strings.Contains(ct, "html") {
		e.Message = oneLine(string(body))
	}
	return e
}

// redact returns the text of u without user and query, because these may contain secrets.
func redact(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return c.String()
}

// redactError removes possible secrets from the URL in an error of [http.Client.Do]. Call it
// directly after Do. Later, other goroutines may have the same error, as the reason why their
// context ended.
func redactError(err error) error {
	if e, ok := err.(*url.Error); ok {
		if u, perr := url.Parse(e.URL); perr == nil {
			e.URL = redact(u)
		}
	}
	return err
}

// oneLine makes text from the registry safe to print.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)), " ")
	if len(s) > maxErrorMessage {
		s = strings.ToValidUTF8(s[:maxErrorMessage], "") + "…"
	}
	return s
}

// status returns the HTTP status of the [ResponseError] in err. It returns 0 if err contains none.
func status(err error) int {
	if e, ok := errors.AsType[*ResponseError](err); ok {
		return e.Status
	}
	return 0
}

// fail adds the operation in front of err's text, and a hint that tells the user what to do.
func (r *Repository) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", op, err)
	if hint.Of(err) != "" {
		return err
	}
	if advice := r.advice(err); advice != "" {
		return hint.Add(err, advice)
	}
	return err
}

func (r *Repository) advice(err error) string {
	host, repo := r.repo.RegistryStr(), r.repo.Name()
	var (
		unknownCA x509.UnknownAuthorityError
		dns       *net.DNSError
	)
	switch status(err) {
	case http.StatusUnauthorized:
		if r.auth.anonymous() {
			return "log in with `nixoci login " + host + "`"
		}
		return "the credentials for " + host + " are not accepted, or do not cover " + repo + "; `nixoci login " + host + "` replaces them"
	case http.StatusForbidden:
		if r.readOnly {
			return "the account needs permission to pull from " + repo
		}
		return "the account needs permission to push to " + repo
	case http.StatusNotFound:
		if e, ok := errors.AsType[*ResponseError](err); ok && e.Method != http.MethodGet && e.Method != http.MethodHead && (e.Code == "NAME_UNKNOWN" || e.Code == "") {
			return "some registries want the repository created before the first push: create " + repo + ", or check its name"
		}
	case http.StatusRequestEntityTooLarge:
		return "something in front of the registry limits the size of uploads (nginx: client_max_body_size)"
	case http.StatusTooManyRequests:
		return "the registry limits the rate of requests; try later, or log in for a higher limit"
	}
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the registry speaks plain http: add --insecure if that is meant"
	case errors.As(err, &unknownCA):
		return "if the registry has a certificate of your own authority, name its file with --ca-file"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check the host and port of " + host
	case errors.As(err, &dns) && dns.IsNotFound:
		return "check the host name in " + repo
	}
	return ""
}
