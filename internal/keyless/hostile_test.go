package keyless_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// stampOf returns the answer of a timestamp authority with this content in its token.
func stampOf(t *testing.T, content []byte) []byte {
	t.Helper()
	token := asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: content}
	stamp, err := asn1.Marshal(struct {
		Status struct{ Status int }
		Token  asn1.RawValue
	}{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return stamp
}

// text returns an ASN.1 value with n zero bytes.
func text(t *testing.T, n int) []byte {
	t.Helper()
	data, err := asn1.Marshal(make([]byte, n))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// nested returns depth ASN.1 values. Each value contains the next one.
func nested(t *testing.T, depth int) (data []byte) {
	t.Helper()
	for range depth {
		var err error
		if data, err = asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: data}); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// TestHostileTimestamps adds hostile timestamps to a bundle with a valid signature. For each of them,
// Sigstore's library would need hours, or much memory. Check must refuse the bundle at once.
func TestHostileTimestamps(t *testing.T) {
	s := deployment(t)
	good := sign(t, services(s), tokenOf(t, s))
	stamp := good.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp
	for name, tt := range map[string]struct {
		stamps [][]byte
		want   string
	}{
		"values that end too late": {[][]byte{stampOf(t, append(bytes.Repeat([]byte{0x30, 0x02, 0x30, 0x7f}, 100), make([]byte, 130)...))}, "not in the form DER"},
		"values without an end":    {[][]byte{stampOf(t, bytes.Repeat([]byte{0x30, 0x80}, 1000))}, "not in the form DER"},
		"deep values":              {[][]byte{stampOf(t, nested(t, 1000))}, "not in the form DER"},
		"a long timestamp":         {[][]byte{stampOf(t, bytes.Repeat([]byte{0x05, 0x00}, limit.Proofs))}, "at most 262144 are read"},
		"many timestamps":          {slices.Repeat([][]byte{stamp}, limit.Timestamps), "at most 32 are read"},
		"no ASN.1":                 {[][]byte{[]byte("{}")}, "not in the form DER"},
	} {
		t.Run(name, func(t *testing.T) {
			b := edit(good, func(b *bundlev1.Bundle) {
				d := b.VerificationMaterial.TimestampVerificationData
				for _, s := range tt.stamps {
					d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, &commonv1.RFC3161SignedTimestamp{SignedTimestamp: s})
				}
			})
			for _, r := range []keylesstest.Root{{}, {NoStamps: true}} {
				if _, err := trust(t, s, r).Check(b, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%+v: got %v, want %q", r, err, tt.want)
				}
			}
		})
	}
}

// TestTimestampLimits checks the limits of the timestamps of a signature.
func TestTimestampLimits(t *testing.T) {
	s := deployment(t)
	good := sign(t, services(s), tokenOf(t, s))
	root := trust(t, s, keylesstest.Root{})
	with := func(n int, stamp []byte) error {
		_, err := root.Check(edit(good, func(b *bundlev1.Bundle) {
			d := b.VerificationMaterial.TimestampVerificationData
			for len(d.Rfc3161Timestamps) < n {
				d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, &commonv1.RFC3161SignedTimestamp{SignedTimestamp: stamp})
			}
		}), nil)
		return err
	}
	limittest.Around(t, limit.Timestamps, "at most 32 are read", func(n int) error { return with(n, stampOf(t, nil)) })
	limittest.Around(t, limit.Proofs, "at most 262144 are read", func(n int) error {
		b := edit(good, func(b *bundlev1.Bundle) {
			d := b.VerificationMaterial.TimestampVerificationData
			d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, &commonv1.RFC3161SignedTimestamp{})
			last := d.Rfc3161Timestamps[len(d.Rfc3161Timestamps)-1]
			size := n - 100 - proto.Size(b.VerificationMaterial)
			for range 2 { // the lengths in ASN.1 and in the bundle have several bytes
				last.SignedTimestamp = stampOf(t, text(t, size))
				size += n - proto.Size(b.VerificationMaterial)
			}
			if got := proto.Size(b.VerificationMaterial); got != n {
				t.Fatalf("%d bytes, want %d", got, n)
			}
		})
		_, err := root.Check(b, nil)
		return err
	})
}

// TestUnclearSigner checks that a certificate with several names, or with two issuers, is refused.
func TestUnclearSigner(t *testing.T) {
	s := deployment(t)
	root := trust(t, s, keylesstest.Root{})
	other, err := url.Parse(strings.Replace(workflow, "/org/", "/evil/", 1))
	if err != nil {
		t.Fatal(err)
	}
	issuer := func(text string) []byte {
		der, err := asn1.MarshalWithParams(text, "utf8")
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	// The extensions of the template are the old issuer and the new issuer.
	for name, tt := range map[string]struct {
		change func(c *x509.Certificate)
		want   string // "" if the certificate is accepted
	}{
		"the same issuer twice": {func(*x509.Certificate) {}, ""},
		"only the old issuer":   {func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:1] }, ""},
		"only the new issuer":   {func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[1:] }, ""},
		"another old issuer":    {func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte("https://evil.org") }, "names two issuers"},
		"another new issuer":    {func(c *x509.Certificate) { c.ExtraExtensions[1].Value = issuer("https://evil.org") }, "names two issuers"},
		"the new issuer first, another old issuer": {func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = []byte("https://evil.org")
			slices.Reverse(c.ExtraExtensions)
		}, "names two issuers"},
		"a new issuer that is cut short": {func(c *x509.Certificate) { c.ExtraExtensions[1].Value = issuer(s.URL())[:9] }, "the issuer in its certificate cannot be read"},
		"two URIs":                       {func(c *x509.Certificate) { c.URIs = append(c.URIs, other) }, "has 2 names"},
		"two URIs, the other first":      {func(c *x509.Certificate) { c.URIs = append([]*url.URL{other}, c.URIs...) }, "has 2 names"},
		"a URI and an address":           {func(c *x509.Certificate) { c.EmailAddresses = []string{"evil@example.org"} }, "has 2 names"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Template = tt.change
			c, err := root.Check(sign(t, services(s), tokenOf(t, s)), nil)
			switch {
			case tt.want == "" && (err != nil || c.Issuer != s.URL() || c.Subject != workflow):
				t.Errorf("got %+v, %v", c, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %+v, %v; want %q", c, err, tt.want)
			}
		})
	}
}

// echo answers each request with an error that contains its credentials and its address.
type echo struct{}

func (echo) RoundTrip(r *http.Request) (*http.Response, error) {
	text := strings.Repeat("x", 100) + r.Header.Get("Authorization")
	return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// TestErrorsHideSecrets checks that no error contains a token, or the password in the address of a
// service.
func TestErrorsHideSecrets(t *testing.T) {
	s := deployment(t)
	token := s.Token(keylesstest.Claims{Subject: workflow})
	for name, variables := range map[string]map[string]string{
		"token":  {keyless.TokenVariable: token},
		"GitHub": {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example?x=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": token},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := keyless.FindToken("", env(variables))
			if err != nil {
				t.Fatal(err)
			}
			all := &keyless.Services{Fulcio: "https://me:secret@fulcio.example", Timestamps: []string{"https://stamps.example"}}
			signer, err := keyless.New(keyless.Options{Services: all, Token: source, Transport: echo{}, Retry: atOnce})
			if err != nil {
				t.Fatal(err)
			}
			_, err = signer.Sign(t.Context(), payloadType, []byte(statement))
			if err == nil || !strings.Contains(err.Error(), "403 Forbidden: xxx") || !strings.Contains(err.Error(), "[token]") {
				t.Fatal(err)
			}
			if text := err.Error(); strings.Contains(text, token[:40]) || strings.Contains(text, "secret") {
				t.Error(text)
			}
		})
	}
	for _, address := range []string{"https://me:secret@fulcio.example:x", "ftp://me:secret@fulcio.example"} {
		_, err := keyless.New(keyless.Options{Services: &keyless.Services{Fulcio: address}, Transport: echo{}})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
