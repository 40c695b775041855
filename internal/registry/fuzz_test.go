package registry

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixoci/nixoci/internal/oci"
)

// FuzzChallenge checks that no challenge crashes the program or makes it send secrets to an address
// without TLS.
func FuzzChallenge(f *testing.F) {
	for _, h := range []string{`Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull"`, "Basic", `Bearer realm=`, "\x00", `Bearer realm="%zz"`} {
		f.Add(h)
	}
	reg, err := name.NewRegistry("registry.example")
	if err != nil {
		f.Fatal(err)
	}
	u := &url.URL{Scheme: "https", Host: "registry.example", Path: "/v2/"}
	f.Fuzz(func(t *testing.T, header string) {
		resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {header}}, Request: &http.Request{URL: u}, Body: http.NoBody}
		ch := challengeOf(reg, resp)
		if ch != nil && !strings.EqualFold(ch.Scheme, "basic") && !strings.EqualFold(ch.Scheme, "bearer") {
			t.Errorf("%q gives %q", header, ch.Scheme)
		}
		if ch != nil && ch.Insecure {
			t.Errorf("%q leaves TLS", header)
		}
	})
}

func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:`+strings.Repeat("a", 64)+`","size":1}]}`), `</v2/x?n=1>; rel="next"`)
	f.Add([]byte("null"), "<")
	f.Fuzz(func(t *testing.T, data []byte, link string) {
		found, err := oci.ParseReferrers(data)
		if err == nil {
			for _, d := range oci.SortReferrers(found) {
				if d.Digest.Validate() != nil || d.Size < 0 {
					t.Errorf("%+v", d)
				}
			}
		}
		base := &url.URL{Scheme: "https", Host: "registry.example", Path: "/v2/x"}
		if u := nextPage(base, link); u != nil && u.Host != base.Host {
			t.Errorf("%q leads to %s", link, u)
		}
	})
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"ghcr.io/org/web:1.2", "localhost:5000/x@sha256:" + strings.Repeat("a", 64), "", ":", "@", "a/../b", "\x1b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again.String() != ref.String() {
			t.Errorf("%q: %q, then %q: %v", s, ref, again, err)
		}
	})
}
