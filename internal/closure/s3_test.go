package closure

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/nar"
)

// bucketServer is an HTTP server for a bucket that checks signatures as S3 does. The
// check follows the documentation of AWS Signature Version 4 and does not use the
// SDK. good is the number of accepted requests.
type bucketServer struct {
	t              *testing.T
	access, secret string
	region         string
	files          http.Handler
	good           atomic.Int64
}

func (b *bucketServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := b.check(r); err != nil {
		b.t.Log(err)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	b.good.Add(1)
	http.StripPrefix("/bucket/prefix", b.files).ServeHTTP(w, r)
}

func (b *bucketServer) check(r *http.Request) error {
	fields := map[string]string{}
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return fmt.Errorf("not signed: %q", r.Header.Get("Authorization"))
	}
	for _, f := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[k] = v
	}
	date := r.Header.Get("X-Amz-Date")
	when, err := time.Parse("20060102T150405Z", date)
	if err != nil || time.Since(when).Abs() > 15*time.Minute {
		return fmt.Errorf("date %q", date)
	}
	scope := date[:8] + "/" + b.region + "/s3/aws4_request"
	if fields["Credential"] != b.access+"/"+scope {
		return fmt.Errorf("credential %q, want scope %s", fields["Credential"], scope)
	}
	names := strings.Split(fields["SignedHeaders"], ";")
	for _, must := range []string{"host", "x-amz-content-sha256", "x-amz-date"} {
		if !slices.Contains(names, must) {
			return fmt.Errorf("header %s is not signed", must)
		}
	}
	var headers strings.Builder
	for _, n := range names {
		v := r.Header.Get(n)
		if n == "host" {
			v = r.Host
		}
		fmt.Fprintf(&headers, "%s:%s\n", n, strings.TrimSpace(v))
	}
	request := strings.Join([]string{r.Method, (&url.URL{Path: r.URL.Path}).EscapedPath(), r.URL.RawQuery, headers.String(), fields["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256")}, "\n")
	sum := sha256.Sum256([]byte(request))
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + b.secret)
	for _, part := range []string{date[:8], b.region, "s3", "aws4_request", text} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	if got := hex.EncodeToString(key); got != fields["Signature"] {
		return fmt.Errorf("signature %s, want %s", fields["Signature"], got)
	}
	return nil
}

// awsHome sets up a home directory with a credentials file, and removes all other
// credentials. credentials is the content of this file.
func awsHome(t *testing.T, credentials string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(v, "")
	}
	file := filepath.Join(dir, "credentials")
	if err := os.WriteFile(file, []byte(credentials), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none"))
}

func TestS3(t *testing.T) {
	key, err := os.ReadFile("../../testdata/public-key")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewTrustedKeys(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	narinfos, err := filepath.Glob("../../testdata/cache/*.narinfo")
	if err != nil || len(narinfos) == 0 {
		t.Fatalf("no narinfo: %v", err)
	}
	text, err := os.ReadFile(narinfos[0])
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(string(text), "StorePath: "), "\n")
	root, err := ParseStorePath(line)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, query, credentials string
		env                      map[string]string
		err                      string
	}{
		{name: "environment", env: map[string]string{"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "sec/ret+"}},
		{name: "profile", query: "&profile=ci", credentials: "[ci]\naws_access_key_id = AK\naws_secret_access_key = sec/ret+\n"},
		{name: "no credentials", err: "no AWS credentials were found"},
		{name: "wrong secret", env: map[string]string{"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "other"}, err: "do not allow reading"},
		{name: "unknown profile", query: "&profile=nobody", err: "AWS configuration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			awsHome(t, tt.credentials)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			b := &bucketServer{t: t, access: "AK", secret: "sec/ret+", region: "eu-north-1", files: http.FileServer(http.Dir("../../testdata/cache"))}
			s := httptest.NewServer(b)
			defer s.Close()
			url, dir := "s3://bucket/prefix?scheme=http&region=eu-north-1&endpoint="+strings.TrimPrefix(s.URL, "http://")+tt.query, t.TempDir()
			c, err := OpenBinaryCache(url, CacheOptions{Keys: keys, NarinfoDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Closure(t.Context(), []StorePath{root})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got.Info(root) == nil || b.good.Load() < 2 {
				t.Errorf("%d answers: %v", b.good.Load(), err)
			}
			// In a later run, nix-cache-info is on disk, but the permission to read
			// the bucket is gone.
			b.secret = "another"
			later, err := OpenBinaryCache(url, CacheOptions{Keys: keys, NarinfoDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			err = later.Tree(t.Context(), got.Info(root), nar.NewWriter(io.Discard))
			if err == nil || !strings.Contains(err.Error(), "do not allow reading") {
				t.Errorf("after the permission was taken away: %v", err)
			}
		})
	}
}

// TestS3RedirectIsNotSigned checks a bucket that redirects to another server. nixoci
// must follow the redirect, and send neither a signature nor the session token to the
// other server.
func TestS3RedirectIsNotSigned(t *testing.T) {
	awsHome(t, "")
	t.Setenv("AWS_ACCESS_KEY_ID", "AK")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "token")
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for _, h := range []string{"Authorization", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Date"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("the other server got %s: %s", h, v)
			}
		}
		io.WriteString(w, "StoreDir: /nix/store\n")
	}))
	defer other.Close()
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Security-Token") != "token" {
			t.Error("the bucket got no session token")
		}
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer bucket.Close()
	c, err := OpenBinaryCache("s3://bucket?scheme=http&endpoint="+strings.TrimPrefix(bucket.URL, "http://"), CacheOptions{NarinfoDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	// Closure must fail, because the other server does not send a real narinfo. The test
	// checks only the requests to this server.
	_, err = c.Closure(t.Context(), []StorePath{"/nix/store/00000000000000000000000000000000-a"})
	if err == nil || asked.Load() == 0 {
		t.Errorf("the other server was asked %d times: %v", asked.Load(), err)
	}
}

func TestParseS3(t *testing.T) {
	for in, want := range map[string]string{
		"s3://cache":                                  "https://cache.s3.us-east-1.amazonaws.com",
		"s3://cache?region=eu-central-1":              "https://cache.s3.eu-central-1.amazonaws.com",
		"s3://my.cache/sub/?region=eu-central-1":      "https://s3.eu-central-1.amazonaws.com/my.cache/sub",
		"s3://cache?endpoint=minio:9000&scheme=http":  "http://minio:9000/cache",
		"s3://cache?endpoint=https://r2.example.org/": "https://r2.example.org/cache",
		"s3://cache?scheme=ftp":                       "",
		"s3://?region=eu-central-1":                   "",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		base, _, err := parseS3(u)
		switch {
		case want == "" && err == nil:
			t.Errorf("%s: no error", in)
		case want != "" && (err != nil || base.String() != want):
			t.Errorf("%s: %v, %v, want %s", in, base, err, want)
		}
	}
}

// TestNetrcOfNix checks that nixoci reads the netrc file that `cachix use` and `attic
// use` write.
func TestNetrcOfNix(t *testing.T) {
	for _, variable := range []string{"HOME", "XDG_CONFIG_HOME"} {
		dir := t.TempDir()
		t.Setenv("NETRC", "")
		t.Setenv("HOME", dir)
		t.Setenv("XDG_CONFIG_HOME", "")
		file := filepath.Join(dir, ".config", "nix", "netrc")
		if variable != "HOME" {
			t.Setenv(variable, dir)
			file = filepath.Join(dir, "nix", "netrc")
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("machine org.cachix.org password tok3n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := netrcUser("org.cachix.org")
		if err != nil || u == nil {
			t.Fatalf("%s: %v, %v", variable, u, err)
		}
		if p, _ := u.Password(); p != "tok3n" {
			t.Errorf("%s: password %q", variable, p)
		}
	}
}
