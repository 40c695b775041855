package closure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/retry"
)

// fetcher downloads files of one binary cache.
type fetcher struct {
	base   *url.URL // URL of the cache, without credentials, query and trailing slash
	user   *url.Userinfo
	client *http.Client
	stats  *cacheCounters
	bucket bool // the cache is an S3 bucket

	large *semaphore.Weighted // small holds this semaphore while a file above reallySmall is in memory

	retry    retry.Schedule
	answered atomic.Bool // the server has answered at least once
	least    int64       // minimum speed in bytes per second; ≤0 means no minimum
}

type cacheCounters struct {
	requests, bytes, hits atomic.Int64
}

// StatusError is the error about a response with an unexpected HTTP status.
type StatusError struct {
	URL        string // URL of the request, without credentials
	Status     int
	retryAfter time.Duration
}

func (e *StatusError) Error() string {
	text := http.StatusText(e.Status)
	if text == "" {
		text = "unknown status"
	}
	return fmt.Sprintf("GET %s: %d %s", e.URL, e.Status, strings.ToLower(text))
}

// MayPass implements [retry.ServerError].
func (e *StatusError) MayPass() bool { return retry.StatusMayPass(e.Status) }

// RetryAfter implements [retry.ServerError].
func (e *StatusError) RetryAfter() time.Duration { return e.retryAfter }

// gone reports whether the cache lacks the file. If the client may not list the
// bucket, S3 answers 403 for a missing file. Nix treats 403 as missing, too.
func (e *StatusError) gone() bool {
	return e.Status == http.StatusNotFound || e.Status == http.StatusGone || e.Status == http.StatusForbidden
}

func newFetcher(cache string, o CacheOptions) (*fetcher, error) {
	u, err := url.Parse(cache)
	if err != nil {
		// Do not wrap the error of url.Parse, because it contains the URL with the
		// credentials.
		return nil, errors.New("the URL of the binary cache does not parse")
	}
	f := &fetcher{
		user:  u.User,
		stats: &cacheCounters{},
		large: semaphore.NewWeighted(1),
		least: cmp.Or(o.MinSpeed, limit.LeastSpeed),
		retry: o.Retry,
	}
	var s3 *s3Transport
	if u.Scheme == "s3" {
		base, settings, err := parseS3(u)
		if err != nil {
			return nil, err
		}
		u, s3 = base, &s3Transport{settings: settings, host: base.Host}
	}
	u.User, u.RawQuery, u.Fragment = nil, "", "" // the query contains settings for Nix
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	f.base = u
	transport := o.Transport
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("binary cache %q: no host", u)
		}
		if transport == nil {
			transport = newTransport()
		}
		if s3 != nil {
			s3.next = transport
			transport, f.bucket = s3, true
		} else if f.user == nil {
			if f.user, err = netrcUser(u.Hostname()); err != nil {
				return nil, fmt.Errorf("binary cache %s: %w", u, err)
			}
		}
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, hint.Add(fmt.Errorf("binary cache %q: a file URL must not contain a host", u), "three slashes: file:///path")
		}
		u.Host = ""
		transport = fileTransport{}
	default:
		return nil, hint.Add(fmt.Errorf("binary cache %q: scheme %q is unknown", u, u.Scheme), "use http://, https://, s3://, file:// or a directory")
	}
	f.client = &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("too many redirects: 10")
		}
		if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
			req.Header.Del("Authorization")
		}
		return nil
	}}
	return f, nil
}

// newTransport returns a transport that keeps the connections of all workers, and
// uses HTTP/2 if the server supports it. The transport does not decompress bodies,
// because this would hide the length of the body. Without the length, nixoci could
// not notice a truncated body.
func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 64, 64
	t.DisableCompression = true
	t.ReadBufferSize = 64 << 10
	return t
}

// fileTransport answers requests for file:// URLs with regular files.
type fileTransport struct{}

func (fileTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Request: r, Body: http.NoBody}
	f, err := limit.OpenFile(r.URL.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		resp.StatusCode = http.StatusNotFound
		return resp, nil
	case err != nil:
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	resp.Body, resp.ContentLength = f, st.Size()
	return resp, nil
}

// at returns the URL of a file in the cache for messages. It cuts the query.
func (f *fetcher) at(rel string) string {
	rel, _, _ = strings.Cut(rel, "?")
	return f.base.String() + "/" + rel
}

// answer holds a response, and the function that cancels its request.
type answer struct {
	*http.Response
	cancel context.CancelCauseFunc
}

// get opens a file at offset, and retries after temporary failures. All attempts
// together take at most limit.Operation. etag is the ETag of the response from which
// the bytes before offset came.
func (f *fetcher) get(ctx context.Context, rel string, offset int64, etag string) (resp answer, err error) {
	end := time.Now().Add(limit.Operation)
	err = f.retry.Do(ctx, func(ctx context.Context) (err error) {
		resp, err = f.once(ctx, rel, offset, etag, min(limit.Answer, time.Until(end)))
		return err
	})
	return resp, err
}

var (
	errNoAnswer = retry.Silence("no answer for " + limit.Answer.String())
	errTooSlow  = retry.Silence("the transfer is too slow")
)

func (f *fetcher) once(parent context.Context, rel string, offset int64, etag string, patience time.Duration) (_ answer, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer func() {
		if err != nil {
			cancel(nil)
		}
	}()
	defer time.AfterFunc(patience, func() { cancel(errNoAnswer) }).Stop()
	u := *f.base
	file, query, _ := strings.Cut(rel, "?")
	u.Path += "/" + file
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answer{}, fmt.Errorf("GET %s: not a URL", f.at(rel))
	}
	req.Header.Set("User-Agent", "nixoci")
	if f.user != nil {
		password, _ := f.user.Password()
		req.SetBasicAuth(f.user.Username(), password)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if strings.HasPrefix(etag, `"`) { // If-Range does not accept weak ETags
			req.Header.Set("If-Range", etag)
		}
	}
	f.stats.requests.Add(1)
	resp, err := f.client.Do(req)
	if err != nil {
		// Do not show the URL in a url.Error. It may be the target of a redirect,
		// with a token in the query.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		if c := context.Cause(ctx); c != nil {
			err = c
		}
		if errors.Is(err, syscall.ECONNREFUSED) && f.answered.Load() {
			err = retry.Again(err) // the server has answered before, so it may come back
		}
		return answer{}, fmt.Errorf("GET %s: %w", f.at(rel), err)
	}
	f.answered.Store(true)
	if resp.StatusCode == http.StatusOK || offset > 0 && resp.StatusCode == http.StatusPartialContent {
		return answer{resp, cancel}, nil
	}
	resp.Body.Close()
	e := &StatusError{URL: f.at(rel), Status: resp.StatusCode, retryAfter: retry.AfterHeader(resp.Header, time.Now())}
	if e.Status == http.StatusUnauthorized {
		return answer{}, hint.Add(e, "give a login for "+f.base.Hostname()+" in ~/.netrc")
	}
	return answer{}, e
}

// small downloads a whole file of at most max bytes and passes the content to use.
// If a file has more than reallySmall bytes, small handles only one such file at a
// time. No real narinfo is that large, but a malicious cache could fill the memory
// with many such files.
func (f *fetcher) small(ctx context.Context, rel string, max int64, use func([]byte) error) error {
	r, err := f.open(ctx, rel)
	if err != nil {
		return err
	}
	defer r.Close()
	// S3 returns an object with the Content-Encoding with which it was uploaded.
	dec, ok := decoders[r.encoding()]
	if !ok {
		return fmt.Errorf("GET %s: unknown Content-Encoding %q", f.at(rel), r.encoding())
	}
	d, err := dec(ctx, r)
	if err != nil {
		return fmt.Errorf("GET %s: %w", f.at(rel), err)
	}
	defer d.Close()
	data, err := io.ReadAll(io.LimitReader(d, min(reallySmall, max)+1))
	if err == nil && int64(len(data)) > reallySmall {
		if err := f.large.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		defer f.large.Release(1)
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(d, max+1-int64(len(data))))
		data = append(data, rest...)
	}
	if err != nil {
		return fmt.Errorf("GET %s: %w", f.at(rel), err)
	}
	if int64(len(data)) > max {
		return fmt.Errorf("GET %s: more than %d bytes", f.at(rel), max)
	}
	return use(data)
}

const reallySmall = 64 << 10 // bytes of a file; see small
