package closure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"github.com/nixoci/nixoci/internal/hint"
)

// s3Transport signs requests for a bucket. A binary cache needs only GET requests, and
// nixoci knows the names of the files. So nixoci uses only two parts of the AWS SDK:
// the search for credentials, and the signature. The SDK's S3 client would be much
// code for one method.
type s3Transport struct {
	next     http.RoundTripper
	settings s3Settings
	host     string // host of the bucket; requests to other hosts are not signed

	once   sync.Once
	config aws.Config
	err    error // error from loading config
	signer *v4.Signer
}

// s3Settings contains the parameters of Nix's s3:// URLs that affect reading.
type s3Settings struct {
	bucket, region, profile, endpoint, scheme string
}

// s3Timeout limits the search for credentials. On cloud machines the search
// sends requests to a local service.
const s3Timeout = 20 * time.Second

// parseS3 reads s3://BUCKET[/PREFIX][?region=&endpoint=&profile=&scheme=] and
// returns the http or https URL of the cache.
func parseS3(u *url.URL) (base *url.URL, s s3Settings, err error) {
	q := u.Query()
	s = s3Settings{bucket: u.Host, region: q.Get("region"), profile: q.Get("profile"), endpoint: q.Get("endpoint"), scheme: q.Get("scheme")}
	if s.bucket == "" {
		return nil, s, fmt.Errorf("binary cache %q: no bucket", u.Redacted())
	}
	if scheme, host, ok := strings.Cut(s.endpoint, "://"); ok {
		s.scheme, s.endpoint = scheme, strings.TrimRight(host, "/")
	}
	switch s.scheme {
	case "":
		s.scheme = "https"
	case "http", "https":
	default:
		return nil, s, fmt.Errorf("binary cache s3://%s: scheme %q: neither http nor https", s.bucket, s.scheme)
	}
	if s.region == "" {
		s.region = "us-east-1" // same as in Nix
	}
	base = &url.URL{Scheme: s.scheme, Path: strings.TrimRight(u.Path, "/")}
	switch {
	case s.endpoint != "":
		base.Host, base.Path = s.endpoint, "/"+s.bucket+base.Path
	case strings.Contains(s.bucket, "."): // Amazon's wildcard certificate does not match a host name in which the bucket has dots
		base.Host, base.Path = "s3."+s.region+".amazonaws.com", "/"+s.bucket+base.Path
	default:
		base.Host = s.bucket + ".s3." + s.region + ".amazonaws.com"
	}
	return base, s, nil
}

func (t *s3Transport) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s3Timeout)
	defer cancel()
	// Disable the SDK's log, because the error already reports missing credentials.
	options := []func(*config.LoadOptions) error{config.WithRegion(t.settings.region), config.WithLogger(logging.Nop{})}
	if t.settings.profile != "" {
		options = append(options, config.WithSharedConfigProfile(t.settings.profile))
	}
	t.config, t.err = config.LoadDefaultConfig(ctx, options...)
	t.signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // S3 requires this
}

// RoundTrip implements http.RoundTripper. If there are no credentials, it does not
// sign requests, because the bucket may be public. A bucket may also redirect to
// another server. RoundTrip must not send a signature or a session token to that
// server.
func (t *s3Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != t.settings.scheme || req.URL.Host != t.host {
		return t.next.RoundTrip(req)
	}
	t.once.Do(func() { t.load(req.Context()) })
	if t.err != nil {
		return nil, hint.Add(fmt.Errorf("AWS configuration: %w", t.err), "see ~/.aws/config, AWS_PROFILE and the profile of the URL")
	}
	req = req.Clone(req.Context())
	ctx, cancel := context.WithTimeout(req.Context(), s3Timeout)
	credentials, err := t.config.Credentials.Retrieve(ctx)
	cancel()
	if err != nil && (t.settings.profile != "" || req.Context().Err() != nil) {
		return nil, hint.Add(fmt.Errorf("AWS credentials: %w", err), "check the profile "+t.settings.profile)
	}
	named := err == nil
	if named {
		empty := sha256.Sum256(nil)
		sum := hex.EncodeToString(empty[:])
		req.Header.Set("X-Amz-Content-Sha256", sum)
		if err := t.signer.SignHTTP(req.Context(), credentials, req, sum, "s3", t.settings.region, time.Now()); err != nil {
			return nil, fmt.Errorf("sign request: %w", err)
		}
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusForbidden || !strings.HasSuffix(req.URL.Path, "/"+cacheInfoFile) {
		return resp, err
	}
	// S3 may answer 403 for a missing file. But every cache has a nix-cache-info. So 403
	// for this file means missing permission.
	resp.Body.Close()
	if named {
		return nil, hint.Add(errors.New("403 forbidden: the AWS credentials do not allow reading the bucket"), "check region, s3:GetObject, and the clock")
	}
	return nil, hint.Add(errors.New("403 forbidden: no AWS credentials were found, and the bucket is not public"),
		"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile: s3://BUCKET?profile=NAME")
}
