package keyless_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
	"github.com/nixoci/nixoci/internal/retry"
)

const (
	workflow    = "https://github.com/org/web/.github/workflows/release.yml@refs/tags/v1"
	payloadType = "application/vnd.in-toto+json"
	statement   = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"web","digest":{"sha256":"72edf4afacffeeef905a21dddc73ec60182d78765637b0972106a09b028d1d3b"}}],"predicateType":"https://example.org/tested","predicate":{"passed":true}}`
)

func deployment(t *testing.T) *keylesstest.Sigstore {
	t.Helper()
	s, err := keylesstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func trust(t *testing.T, s *keylesstest.Sigstore, r keylesstest.Root) *keyless.TrustRoot {
	t.Helper()
	root, err := keyless.ParseTrustRoot(s.TrustedRoot(r))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// tokenOf returns a token for workflow, without the variables of a CI platform.
func tokenOf(t *testing.T, s *keylesstest.Sigstore) *keyless.TokenSource {
	t.Helper()
	source, err := keyless.FindToken("", env(map[string]string{keyless.TokenVariable: s.Token(keylesstest.Claims{Subject: workflow})}))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

// atOnce tries again without a delay.
var atOnce = retry.Schedule{Delay: func(int) time.Duration { return 0 }}

func newSigner(t *testing.T, services *keyless.Services, token *keyless.TokenSource, root *keyless.TrustRoot) *keyless.Signer {
	t.Helper()
	s, err := keyless.New(keyless.Options{Services: services, Token: token, TrustRoot: root, Transport: http.DefaultTransport, Retry: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func services(s *keylesstest.Sigstore) *keyless.Services {
	return &keyless.Services{Fulcio: s.URL(), Logs: []keyless.Log{{URL: s.URL(), Version: 1}}, Timestamps: []string{s.TimestampURL()}}
}

func sign(t *testing.T, services *keyless.Services, token *keyless.TokenSource) *bundlev1.Bundle {
	t.Helper()
	b, err := newSigner(t, services, token, nil).Sign(t.Context(), payloadType, []byte(statement))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSign signs with each combination of services. The trust root must accept every signature, and
// Check must return the name of the signer.
func TestSign(t *testing.T) {
	s := deployment(t)
	rekor1, rekor2 := keyless.Log{URL: s.URL(), Version: 1}, keyless.Log{URL: s.URL() + "/", Version: 2}
	for name, tt := range map[string]struct {
		services keyless.Services
		root     keylesstest.Root
	}{
		"Rekor 1":                 {keyless.Services{Fulcio: s.URL(), Logs: []keyless.Log{rekor1}}, keylesstest.Root{}},
		"Rekor 1 and a timestamp": {keyless.Services{Fulcio: s.URL() + "/", Logs: []keyless.Log{rekor1}, Timestamps: []string{s.TimestampURL()}}, keylesstest.Root{}},
		"Rekor 2 and a timestamp": {keyless.Services{Fulcio: s.URL(), Logs: []keyless.Log{rekor2}, Timestamps: []string{s.TimestampURL()}}, keylesstest.Root{}},
		"both":                    {keyless.Services{Fulcio: s.URL(), Logs: []keyless.Log{rekor1, rekor2}, Timestamps: []string{s.TimestampURL()}}, keylesstest.Root{}},
		"a timestamp":             {keyless.Services{Fulcio: s.URL(), Timestamps: []string{s.TimestampURL()}}, keylesstest.Root{NoLog: true}},
	} {
		t.Run(name, func(t *testing.T) {
			root := trust(t, s, tt.root)
			before := time.Now().Add(-time.Minute)
			b, err := newSigner(t, &tt.services, tokenOf(t, s), root).Sign(t.Context(), payloadType, []byte(statement))
			if err != nil {
				t.Fatal(err)
			}
			got, err := root.Check(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject != workflow || got.Issuer != s.URL() || got.Time.Before(before) || got.Time.After(time.Now().Add(time.Minute)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestCertificateIsReused checks that a Signer uses one certificate for many signatures, and requests a
// new certificate when the old one is about to expire.
func TestCertificateIsReused(t *testing.T) {
	s := deployment(t)
	token, err := keyless.FindToken("", env(s.GitHubVariables(workflow)))
	if err != nil {
		t.Fatal(err)
	}
	signer := newSigner(t, services(s), token, trust(t, s, keylesstest.Root{}))
	signs := func(n int) {
		t.Helper()
		for range n {
			if _, err := signer.Sign(t.Context(), payloadType, []byte(statement)); err != nil {
				t.Fatal(err)
			}
		}
	}
	requests := func(want int) {
		t.Helper()
		if got := s.Requests("/api/v2/signingCert"); got != want || s.Requests("/token") != want {
			t.Errorf("%d certificates and %d tokens, want %d", got, s.Requests("/token"), want)
		}
	}
	signs(3)
	requests(1)
	if subject, issuer, err := signer.Certified(t.Context()); err != nil || subject != workflow || issuer != s.URL() {
		t.Errorf("certified: %s, %s, %v", subject, issuer, err)
	}
	requests(1)
	s.CertificateTime = func() time.Time { return time.Now().Add(-8 * time.Minute) } // two minutes are left
	again := newSigner(t, services(s), token, trust(t, s, keylesstest.Root{}))
	signer = again
	signs(2)
	requests(3)
}

// TestServicesFail checks that Sign tries again after a temporary failure, and that each error names
// the service and the cause.
func TestServicesFail(t *testing.T) {
	for name, tt := range map[string]struct {
		fail  func(r *http.Request, n int) int // n is the number of the request for this path
		want  string                           // "" if Sign must succeed
		token keylesstest.Claims
		hint  string
	}{
		"Fulcio is busy":      {fail: only("signingCert", 503, 2)},
		"Rekor is busy":       {fail: only("log/entries", 502, 2)},
		"timestamp is busy":   {fail: only("timestamp", 429, 1)},
		"Fulcio refuses":      {fail: only("signingCert", 403, 99), want: "/: 403 Forbidden: simulated failure"},
		"Rekor refuses":       {fail: only("log/entries", 400, 99), want: "transparency log http"},
		"no timestamp":        {fail: only("timestamp", 500, 99), want: "timestamp authority http"},
		"expired token":       {token: keylesstest.Claims{Subject: workflow, Expires: time.Now().Add(-time.Hour)}, want: "401 Unauthorized: the token has expired", hint: "the identity token expired on "},
		"token without a URI": {token: keylesstest.Claims{Subject: "somebody"}, want: "500 Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := deployment(t)
			if tt.fail != nil {
				s.Fail = func(r *http.Request) int { return tt.fail(r, s.Requests(r.URL.Path)) }
			}
			if tt.token.Subject == "" {
				tt.token.Subject = workflow
			}
			source, err := keyless.FindToken("", env(map[string]string{keyless.TokenVariable: s.Token(tt.token)}))
			if err != nil {
				t.Fatal(err)
			}
			all := services(s)
			all.Fulcio += "/"
			_, err = newSigner(t, all, source, trust(t, s, keylesstest.Root{})).Sign(t.Context(), payloadType, []byte(statement))
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			case tt.hint != "" && !strings.Contains(hint.Of(err), tt.hint):
				t.Errorf("hint %q, want %q", hint.Of(err), tt.hint)
			}
		})
	}
}

// only returns a function that makes the first requests for a path fail, as many as most.
func only(path string, status, most int) func(*http.Request, int) int {
	return func(r *http.Request, n int) int {
		if strings.Contains(r.URL.Path, path) && n <= most {
			return status
		}
		return 0
	}
}

// TestLostAnswer loses an answer of Rekor. Sign must then read the log entry that its first attempt
// made.
func TestLostAnswer(t *testing.T) {
	s := deployment(t)
	lost := &loser{}
	o := keyless.Options{Services: services(s), Token: tokenOf(t, s), TrustRoot: trust(t, s, keylesstest.Root{}), Transport: lost, Retry: atOnce}
	signer, err := keyless.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), payloadType, []byte(statement)); err != nil {
		t.Error(err)
	}
	if lost.lost != 1 || s.Requests("/api/v1/log/entries") != 2 {
		t.Errorf("%d answers were lost, and Rekor got %d entries", lost.lost, s.Requests("/api/v1/log/entries"))
	}
}

// loser is a transport that loses the first answer of Rekor.
type loser struct{ lost int }

func (l *loser) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/log/entries") && l.lost == 0 {
		l.lost++
		resp.Body.Close()
		return nil, errors.New("connection broken")
	}
	return resp, err
}

// TestForeignServices checks that Sign refuses to return a signature that the trust root does not
// accept, such as a signature with a certificate of another deployment.
func TestForeignServices(t *testing.T) {
	ours, foreign := deployment(t), deployment(t)
	_, err := newSigner(t, services(foreign), tokenOf(t, foreign), trust(t, ours, keylesstest.Root{})).Sign(t.Context(), payloadType, []byte(statement))
	if err == nil || !strings.Contains(err.Error(), "check the new signature with the trust root: its certificate comes from an authority that the trust root does not list") {
		t.Error(err)
	}
}

// edit returns a copy of b with a change.
func edit(b *bundlev1.Bundle, change func(*bundlev1.Bundle)) *bundlev1.Bundle {
	c := proto.CloneOf(b)
	change(c)
	return c
}

// TestCheckRefuses checks that each wrong signature is refused, with its reason. The same signature
// without the change must be accepted.
func TestCheckRefuses(t *testing.T) {
	ours, foreign := deployment(t), deployment(t)
	root := trust(t, ours, keylesstest.Root{})
	token := tokenOf(t, ours)
	good, second := sign(t, services(ours), token), sign(t, services(ours), token)
	if _, err := root.Check(good, nil); err != nil {
		t.Fatal(err)
	}
	two := services(ours)
	two.Logs[0].Version = 2
	good2 := sign(t, two, token)
	other := sign(t, services(foreign), tokenOf(t, foreign))
	shifted := func(set func(*keylesstest.Sigstore, func() time.Time), by time.Duration) *bundlev1.Bundle {
		set(ours, func() time.Time { return time.Now().Add(by) })
		defer set(ours, time.Now)
		return sign(t, services(ours), token)
	}
	certificates := func(s *keylesstest.Sigstore, f func() time.Time) { s.CertificateTime = f }
	logs := func(s *keylesstest.Sigstore, f func() time.Time) { s.LogTime = f }
	stamps := func(s *keylesstest.Sigstore, f func() time.Time) { s.StampTime = f }
	ours.NoSCT = true
	noSCT := sign(t, services(ours), token)
	ours.NoSCT = false
	foreignCA, foreignLog, foreignStamp := services(ours), services(ours), services(ours)
	foreignCA.Fulcio = foreign.URL()
	foreignLog.Logs[0].URL = foreign.URL()
	foreignStamp.Timestamps[0], foreignStamp.Logs[0].Version = foreign.TimestampURL(), 2

	material := func(b *bundlev1.Bundle) *bundlev1.VerificationMaterial { return b.VerificationMaterial }
	for name, tt := range map[string]struct {
		b    *bundlev1.Bundle
		want string
	}{
		"certificate of another authority": {sign(t, foreignCA, tokenOf(t, foreign)), "its certificate comes from an authority that the trust root does not list"},
		"all of another deployment":        {other, "its certificate comes from an authority that the trust root does not list"},
		"log entry of another log":         {sign(t, foreignLog, token), "its log entry comes from a log that the trust root does not list"},
		"timestamp of another authority":   {sign(t, foreignStamp, token), "its timestamp comes from an authority that the trust root does not list"},
		"certificate expired when signed":  {shifted(certificates, -time.Hour), "when its certificate was not valid"},
		"certificate valid only later":     {shifted(certificates, time.Hour), "when its certificate was not valid"},
		"log entry after the certificate":  {shifted(logs, time.Hour), "when its certificate was not valid"},
		"log entry before the certificate": {shifted(logs, -time.Hour), "when its certificate was not valid"},
		"timestamp after the certificate":  {shifted(stamps, time.Hour), "when its certificate was not valid"},
		"certificate that no log recorded": {noSCT, "no log of certificates that the trust root lists has recorded its certificate"},
		"no log entry":                     {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries = nil }), "it has no entry in a transparency log"},
		"no log entry and no timestamp":    {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries, material(b).TimestampVerificationData = nil, nil }), "it has no entry in a transparency log"},
		"Rekor 2 and no timestamp":         {edit(good2, func(b *bundlev1.Bundle) { material(b).TimestampVerificationData = nil }), "nothing proves the time of its signature"},
		"timestamp of another signature": {edit(good2, func(b *bundlev1.Bundle) {
			material(b).TimestampVerificationData = material(good).TimestampVerificationData
		}), "belongs to another signature"},
		"log entry of another signature":    {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries = material(second).TlogEntries }), "its log entry belongs to another signature"},
		"Rekor 2, entry of another":         {edit(good2, func(b *bundlev1.Bundle) { material(b).TlogEntries = material(sign(t, two, token)).TlogEntries }), "its log entry does not prove that the log contains it"},
		"log entry without its signed time": {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries[0].InclusionPromise.SignedEntryTimestamp[9] ^= 1 }), "the log has not signed its log entry"},
		"log entry with another time":       {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries[0].IntegratedTime++ }), "the log has not signed its log entry"},
		"log entry with another proof":      {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries[0].InclusionProof.RootHash[3] ^= 1 }), "its log entry does not prove that the log contains it"},
		"log entry without a proof":         {edit(good, func(b *bundlev1.Bundle) { material(b).TlogEntries[0].InclusionProof = nil }), "its bundle is not valid"},
		"payload changed": {edit(good, func(b *bundlev1.Bundle) {
			b.GetDsseEnvelope().Payload = bytes.Replace([]byte(statement), []byte("true"), []byte("null"), 1)
		}), "its log entry belongs to another signature"},
		"payload and log entry removed": {edit(good2, func(b *bundlev1.Bundle) {
			b.GetDsseEnvelope().Payload = []byte(strings.Replace(statement, "true", "null", 1))
		}), "its log entry does not prove"},
		"signature changed": {edit(good, func(b *bundlev1.Bundle) { b.GetDsseEnvelope().Signatures[0].Sig[20] ^= 1 }), "its log entry belongs to another signature"},
		"two signatures": {edit(good, func(b *bundlev1.Bundle) {
			e := b.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, e.Signatures[0])
		}), "its envelope has 2 signatures"},
		"no signature":                     {edit(good, func(b *bundlev1.Bundle) { b.GetDsseEnvelope().Signatures = nil }), "its envelope has 0 signatures"},
		"certificate of another signature": {edit(good, func(b *bundlev1.Bundle) { material(b).Content = material(second).Content }), "its log entry belongs to another signature"},
		"a certificate that is cut short":  {edit(good, func(b *bundlev1.Bundle) { c := material(b).GetCertificate(); c.RawBytes = c.RawBytes[:40] }), "its certificate cannot be read"},
		"a key": {edit(good, func(b *bundlev1.Bundle) {
			material(b).Content = &bundlev1.VerificationMaterial_PublicKey{PublicKey: &commonv1.PublicKeyIdentifier{Hint: "x"}}
		}), "it was signed with a key, not with a certificate"},
		"another version": {edit(good, func(b *bundlev1.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.9+json" }), "its bundle is not valid"},
		"empty":           {new(bundlev1.Bundle), "it was signed with a key, not with a certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := root.Check(tt.b, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want %q", c, err, tt.want)
			}
		})
	}
	if _, err := trust(t, ours, keylesstest.Root{NoCTLog: true}).Check(noSCT, nil); err != nil {
		t.Errorf("a deployment without a log of certificates: %v", err)
	}
}

// TestSignatureChanged checks that a changed statement is refused even if the deployment has no log.
func TestSignatureChanged(t *testing.T) {
	s := deployment(t)
	root := trust(t, s, keylesstest.Root{NoLog: true})
	good := sign(t, &keyless.Services{Fulcio: s.URL(), Timestamps: []string{s.TimestampURL()}}, tokenOf(t, s))
	if _, err := root.Check(good, nil); err != nil {
		t.Fatal(err)
	}
	changed := edit(good, func(b *bundlev1.Bundle) {
		b.GetDsseEnvelope().Payload = []byte(strings.Replace(statement, "true", "null", 1))
	})
	if _, err := root.Check(changed, nil); err == nil || !strings.Contains(err.Error(), "the statement or the signature was changed") {
		t.Error(err)
	}
}

// TestTrustRoot checks which files are accepted as a trust root.
func TestTrustRoot(t *testing.T) {
	a, b := deployment(t), deployment(t)
	both, err := keyless.ParseTrustRoot(append(append(a.TrustedRoot(keylesstest.Root{}), '\n'), b.TrustedRoot(keylesstest.Root{})...))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*keylesstest.Sigstore{a, b} {
		if _, err := both.Check(sign(t, services(s), tokenOf(t, s)), nil); err != nil {
			t.Errorf("one of two deployments: %v", err)
		}
	}
	mixed := services(a)
	mixed.Logs[0].URL = b.URL()
	if _, err := both.Check(sign(t, mixed, tokenOf(t, a)), nil); err == nil || !strings.Contains(err.Error(), "its log entry comes from a log that the trust root does not list") {
		t.Errorf("certificate of one deployment, log of another: %v", err)
	}
	for text, want := range map[string]string{
		"":     "the file is empty",
		"{":    "not JSON",
		"[]":   "not a trust root",
		"null": "not a trust root",
		`{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`: "it lists no certificate authority",
		string(a.TrustedRoot(keylesstest.Root{NoLog: true, NoStamps: true})):         "neither a transparency log nor a timestamp authority",
		strings.Replace(string(a.TrustedRoot(keylesstest.Root{})), "MF", "AA", 1):    "read trust root: ",
		string(a.SigningConfig(1)): "not a trust root",
	} {
		if _, err := keyless.ParseTrustRoot([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	const github, google = "https://token.actions.githubusercontent.com", "https://accounts.google.com"
	for _, tt := range []struct {
		subject, issuer string // the identity that is given
		of, by          string // subject and issuer of the certificate
		want            bool
	}{
		{workflow, "", workflow, github, true},
		{workflow, github, workflow, github, true},
		{workflow, "", workflow, "https://token.actions.githubusercontent.com/evil", false},
		{workflow, "", workflow + "1", github, false},
		{workflow, "", "x" + workflow, github, false},
		{"https://github.com/org/web/*", "", workflow, github, true},
		{"https://github.com/org/*", "", workflow, github, true},
		{"https://github.com/org/*/.github/workflows/release.yml@refs/tags/*", "", workflow, github, true},
		{"https://github.com/org/*/.github/workflows/release.yml@refs/heads/*", "", workflow, github, false},
		{"https://github.com/org/web/*", "", "https://github.com/org/web-evil/x", github, false},
		{"https://github.com/org/web/*", "", "https://github.com/evil/https://github.com/org/web/", github, false},
		{"https://github.com/org/web/*", "", "https://githubxcom/org/web/", github, false},
		{"https://gitlab.com/org/web//.gitlab-ci.yml@*", "", "https://gitlab.com/org/web//.gitlab-ci.yml@refs/heads/main", "https://gitlab.com", true},
		{"ci@example.org", google, "ci@example.org", google, true},
		{"ci@example.org", google, "ci@example.org", github, false},
		{"*@example.org", google, "ci@example.org", google, true},
		{"*@example.org", google, "ci@evil.example.org", google, false},
		{"*@example.org", google, "https://github.com/evil/x@refs/heads/a@example.org", google, false},
		{"*@example.org", google, "mailto:ci@example.org", google, false},
		{"spiffe://example.org/ns/*", google, "spiffe://example.org/ns/a", google, true},
		// The name of a branch may contain an @. Such a branch is usually not protected.
		{"https://github.com/org/web/*@refs/heads/main", "", "https://github.com/org/web/.github/workflows/a.yml@refs/heads/main", github, true},
		{"https://github.com/org/web/*@refs/heads/main", "", "https://github.com/org/web/.github/workflows/a.yml@refs/heads/x@refs/heads/main", github, false},
		{"https://github.com/org/*/release.yml@refs/tags/v*", "", "https://github.com/org/web/.github/workflows/a.yml@refs/heads/release.yml@refs/tags/v1", github, false},
		{"https://github.com/org/*/release.yml@refs/tags/*", "", "https://github.com/org/web/.github/workflows/release.yml@refs/tags/@org/web@1.2", github, true},
		{"https://github.com/org/web/*", "", "https://github.com/org/web/.github/workflows/a.yml@refs/tags/web@1.2", github, true},
		// Each name has only one form: Matches decodes nothing, and upper and lower case matter.
		{"https://github.com/org/web/*", "", "https://github.com/Org/web/x", github, false},
		{"https://github.com/org/web/*", "", "https://github.com/org%2Fweb/x", github, false},
		{"https://github.com/org/web/*", "", "https://github.com//org/web/x", github, false},
		{"https://github.com/org/web/*", "", "https://evil@github.com/org/web/x", github, false},
		{"https://github.com/org/web/*", "", "https://github.com:443/org/web/x", github, false},
		{"https://github.com/org/web/*", "", "https://g\u0456thub.com/org/web/x", github, false},
		{"https://github.com/org/web/*", "", "https://evil.org/?https://github.com/org/web/x", github, false},
		{"ci@example.org", google, "ci+evil@example.org", google, false},
		{"ci@example.org", google, "CI@example.org", google, false},
		{"ci@example.org", google, "ci@example.org\n", google, false},
		{workflow, github, workflow, github + "/", false},
	} {
		i, err := keyless.NewIdentity(tt.subject, tt.issuer)
		if err != nil {
			t.Errorf("%s: %v", tt.subject, err)
			continue
		}
		if got := i.Matches(tt.of, tt.by); got != tt.want {
			t.Errorf("%s of %q: %s by %s: %v", tt.subject, tt.issuer, tt.of, tt.by, got)
		}
	}
	for _, tt := range [][3]string{
		{"", github, "empty"}, {"*", github, "nearly everybody"}, {"*@*", github, "nearly everybody"}, {"*@refs/heads/main", github, "nearly everybody"},
		{"https://*", github, "host and the first part"}, {"https://github.com/*", github, "host and the first part"}, {"https://github.com/org*", github, "host and the first part"},
		{"*://github.com/org/web", github, "nearly everybody"}, {"https:/*/*/*/.github/workflows/release.yml@refs/tags/v1.0", github, "nearly everybody"}, {"https:*@v1.0", github, "nearly everybody"},
		{"https://github.com//*", github, "host and the first part"}, {"https://evil@*/org/x", github, "host and the first part"}, {"https://github.com?/org/*", github, "host and the first part"}, {"ci@example.org", "", "its issuer is missing"}, {"http://github.com/org/web/x", "", "its issuer is missing"},
		{"https://github.com.evil.org/org/x", "", "its issuer is missing"}, {workflow, "github", "not a URL"},
	} {
		if _, err := keyless.NewIdentity(tt[0], tt[1]); err == nil || !strings.Contains(err.Error(), tt[2]) {
			t.Errorf("%s of %q: %v, want %q", tt[0], tt[1], err, tt[2])
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/*", "a/b", true}, {"a/*", "b/*", false}, {"a/*", "a/b/*", true},
		{"a/*/x", "a/y/*", true}, {"a/*/x", "a/*/y", false}, {"a/*x*", "a/*y*", true}, {"a/**", "a/", true}, {"a/*b", "a/c", false}, {"a/", "a/*", true},
	} {
		const host = "https://github.com/"
		a, err := keyless.NewIdentity(host+tt.a, "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := keyless.NewIdentity(host+tt.b, "")
		if err != nil {
			t.Fatal(err)
		}
		if a.Overlaps(b) != tt.want || b.Overlaps(a) != tt.want {
			t.Errorf("%s and %s: %v and %v, want %v", tt.a, tt.b, a.Overlaps(b), b.Overlaps(a), tt.want)
		}
		if c, err := keyless.NewIdentity(host+tt.b, "https://other.example"); err != nil || a.Overlaps(c) {
			t.Errorf("%s of another issuer: %v", tt.b, err)
		}
	}
}

func TestFindToken(t *testing.T) {
	s := deployment(t)
	token := s.Token(keylesstest.Claims{Subject: workflow})
	for name, tt := range map[string]struct {
		env        map[string]string
		want, hint string
	}{
		"nothing":               {nil, "there is none", "set SIGSTORE_ID_TOKEN"},
		"GitHub, no permission": {map[string]string{"GITHUB_ACTIONS": "true"}, "there is none", "id-token: write"},
		"GitLab, no token":      {map[string]string{"GITLAB_CI": "true"}, "there is none", "id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}"},
		"half of GitHub":        {map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": s.URL()}, "ACTIONS_ID_TOKEN_REQUEST_TOKEN is not", ""},
		"no token at all":       {map[string]string{"SIGSTORE_ID_TOKEN": "secret"}, "SIGSTORE_ID_TOKEN: not an OIDC token", ""},
		"half a token":          {map[string]string{"SIGSTORE_ID_TOKEN": "a.b.c"}, "its second part is not JSON", ""},
		"a token":               {map[string]string{"SIGSTORE_ID_TOKEN": " " + token + "\n", "GITHUB_ACTIONS": "true"}, "", ""},
		"GitHub":                {s.GitHubVariables(workflow), "", ""},
	} {
		_, err := keyless.FindToken("", env(tt.env))
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		case !strings.Contains(hint.Of(err), tt.hint):
			t.Errorf("%s: hint %q", name, hint.Of(err))
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error contains the token", name)
		}
	}
}

func TestServices(t *testing.T) {
	got, err := keyless.ParseServices("fulcio=https://f,rekor=https://r,rekor2=https://r2,timestamp=https://t/x?a=b")
	if err != nil || got.Fulcio != "https://f" || len(got.Logs) != 2 || got.Logs[1] != (keyless.Log{URL: "https://r2", Version: 2}) || got.Timestamps[0] != "https://t/x?a=b" {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"fulcio=https://f": "neither a transparency log", "rekor=https://r": "the certificate authority is missing", "fulcio=https://f,rekor2=https://r": "a Rekor of version 2 does not prove the time",
		"fulcio=": "has no URL", "fulcio=https://f,x=y": `"x" is not a service`, "fulcio=https://f,fulcio=https://g": "given twice",
	} {
		if _, err := keyless.ParseServices(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, url := range []string{"http://fulcio.example", "ftp://fulcio.example", "fulcio", "http://127.0.0.1.example"} {
		_, err := keyless.New(keyless.Options{Services: &keyless.Services{Fulcio: url, Timestamps: []string{"https://t"}}})
		if err == nil {
			t.Errorf("%s is taken", url)
		}
	}
}

// TestLimits checks the limits of files and of answers.
func TestLimits(t *testing.T) {
	s := deployment(t)
	root, config := s.TrustedRoot(keylesstest.Root{}), s.SigningConfig(1)
	file := filepath.Join(t.TempDir(), "file")
	write := func(data []byte, n int) {
		t.Helper()
		if err := os.WriteFile(file, append(bytes.Clone(data), bytes.Repeat([]byte(" "), n-len(data))...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limittest.Around(t, limit.TrustRoot, "more than 1048576 bytes", func(n int) error {
		write(root, n)
		_, err := keyless.ReadTrustRoot(file)
		write(config, n)
		if _, also := keyless.ReadSigningConfig(file, time.Now()); (also == nil) != (err == nil) {
			t.Errorf("signing config of %d bytes: %v", n, also)
		}
		return err
	})
	limittest.Around(t, limit.IdentityToken, "more than 65536 bytes", func(n int) error {
		write([]byte(s.Token(keylesstest.Claims{Subject: workflow})), n)
		_, err := keyless.FindToken(file, env(nil))
		return err
	})
	limittest.Around(t, limit.SigstoreAnswer, "more than 4194304 bytes", func(n int) error {
		o := keyless.Options{Services: services(s), Token: tokenOf(t, s), TrustRoot: trust(t, s, keylesstest.Root{}), Transport: padder(n), Retry: atOnce}
		signer, err := keyless.New(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = signer.Sign(t.Context(), payloadType, []byte(statement))
		return err
	})
}

// padder is a transport that adds spaces to the answers of Fulcio, until they have this many bytes.
type padder int

func (n padder) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/signingCert") {
		return resp, err
	}
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(strings.NewReader(string(data) + strings.Repeat(" ", int(n)-len(data))))
	return resp, err
}

// FuzzCheck changes the bundle of a valid signature. If the trust root accepts the changed bundle, the
// statement in it must still be the signed one. The bundles are files in testdata that keylesstest
// made, because all processes of a fuzz test must use the same keys. Their certificates have expired.
func FuzzCheck(f *testing.F) {
	root, err := keyless.ReadTrustRoot("testdata/root.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"rekor1", "rekor2"} {
		data, err := os.ReadFile("testdata/" + name + ".bundle.json")
		if err != nil {
			f.Fatal(err)
		}
		b := new(bundlev1.Bundle)
		if err := protojson.Unmarshal(data, b); err != nil {
			f.Fatal(err)
		}
		if c, err := root.Check(b, nil); err != nil || c.Subject != workflow {
			f.Fatalf("%s: %+v, %v", name, c, err)
		}
		wire, err := proto.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		b := new(bundlev1.Bundle)
		if proto.Unmarshal(wire, b) != nil {
			return
		}
		c, err := root.Check(b, nil)
		if err == nil && (c.Subject != workflow || string(b.GetDsseEnvelope().GetPayload()) != statement) {
			t.Errorf("%+v signed %s", c, base64.StdEncoding.EncodeToString(b.GetDsseEnvelope().GetPayload()))
		}
	})
}

// TestTokenGoesToFulcioOnly checks that no other server gets the identity token: neither the other
// services, nor a server to which Fulcio redirects.
func TestTokenGoesToFulcioOnly(t *testing.T) {
	s, other := deployment(t), deployment(t)
	watch := &watcher{}
	o := keyless.Options{Services: services(s), Token: tokenOf(t, s), Transport: watch, Retry: atOnce}
	signer, err := keyless.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), payloadType, []byte(statement)); err != nil {
		t.Fatal(err)
	}
	if want := s.URL() + "/api/v2/signingCert"; strings.Join(watch.urls, " ") != want {
		t.Errorf("the token went to %s", watch.urls)
	}
	watch.redirect = other.URL() + "/api/v2/signingCert"
	if signer, err = keyless.New(o); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), payloadType, []byte(statement)); err == nil || !strings.Contains(err.Error(), "307 Temporary Redirect") {
		t.Error(err)
	}
	if n := other.Requests("/api/v2/signingCert"); n != 0 || len(watch.urls) != 2 {
		t.Errorf("%d requests to the other server; the token went to %s", n, watch.urls)
	}
}

// watcher records the URLs to which credentials go. If redirect is not empty, it redirects requests
// for certificates.
type watcher struct {
	urls     []string
	redirect string
}

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "" {
		w.urls = append(w.urls, r.URL.String())
		if w.redirect != "" {
			return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {w.redirect}}, Body: http.NoBody, Request: r}, nil
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}
