// Package keylesstest simulates a deployment of Sigstore: an OIDC provider, Fulcio, Rekor 1 and 2,
// and a timestamp authority. Tests choose the times that the services use, and can combine services
// of two deployments.
package keylesstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustrootv1 "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// audience is the audience of all tokens.
const audience = "sigstore"

// Sigstore is a simulated deployment. Its fields may be changed between two signatures.
type Sigstore struct {
	CertificateTime func() time.Time          // start of the validity of certificates, which is ten minutes long
	LogTime         func() time.Time          // time in the log entries of Rekor 1
	StampTime       func() time.Time          // time in timestamps
	NoSCT           bool                      // make certificates without the proof that a log of certificates has recorded them
	Template        func(c *x509.Certificate) // changes certificates before they are signed; may be nil
	Fail            func(r *http.Request) int // status with which a request fails; 0 means success

	server   *httptest.Server
	started  time.Time
	provider *rsa.PrivateKey
	ca       authority
	stamps   authority
	ctlog    *ecdsa.PrivateKey
	rekor    *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves [][32]byte        // hashes of the entries of the log
	stored map[string][]byte // answers of Rekor 1, by the hash of the entry
	counts map[string]int    // requests, by path
}

// authority holds a certificate authority. Its intermediate certificate signs all other certificates.
type authority struct {
	root, issuing *x509.Certificate
	key           *ecdsa.PrivateKey
	leaf          *x509.Certificate // certificate that signs timestamps; nil for Fulcio
	leafKey       *ecdsa.PrivateKey
}

// New starts a deployment on a loopback address.
func New() (*Sigstore, error) {
	s := &Sigstore{CertificateTime: time.Now, LogTime: time.Now, StampTime: time.Now, started: time.Now(), stored: map[string][]byte{}, counts: map[string]int{}}
	var err error
	for _, key := range []**ecdsa.PrivateKey{&s.ctlog, &s.rekor} {
		if *key, err = newKey(); err != nil {
			return nil, err
		}
	}
	if s.provider, err = providerKey(); err != nil {
		return nil, err
	}
	if s.ca, err = newAuthority("fulcio", x509.ExtKeyUsageCodeSigning); err != nil {
		return nil, err
	}
	if s.stamps, err = newAuthority("timestamps", x509.ExtKeyUsageTimeStamping); err != nil {
		return nil, err
	}
	if err := s.stamps.addStampLeaf(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.configuration)
	mux.HandleFunc("GET /keys", s.keys)
	mux.HandleFunc("GET /token", s.giveToken)
	mux.HandleFunc("POST /api/v2/signingCert", s.certify)
	mux.HandleFunc("POST /api/v1/signingCert", s.certifyV1)
	mux.HandleFunc("POST /api/v1/log/entries", s.addEntry)
	mux.HandleFunc("GET /api/v1/log/entries/{uuid}", s.getEntry)
	mux.HandleFunc("POST /api/v2/log/entries", s.addEntry2)
	mux.HandleFunc("POST /timestamp", s.stamp)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.counts[r.URL.Path]++
		s.mu.Unlock()
		if s.Fail != nil {
			if status := s.Fail(r); status != 0 {
				http.Error(w, `{"code":8,"message":"simulated failure"}`, status)
				return
			}
		}
		mux.ServeHTTP(w, r)
	}))
	return s, nil
}

// Close stops the services.
func (s *Sigstore) Close() { s.server.Close() }

// URL returns the address of all services. This address is also the issuer of the tokens.
func (s *Sigstore) URL() string { return s.server.URL }

// TimestampURL returns the address of the timestamp authority.
func (s *Sigstore) TimestampURL() string { return s.server.URL + "/timestamp" }

// Requests returns the number of requests for a path.
func (s *Sigstore) Requests(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path]
}

// providerKey returns the key of all providers. It makes the key only once, because this takes long
// for RSA. The key is an RSA key, because cosign 3 accepts no other keys of providers.
var providerKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newAuthority(name string, usage x509.ExtKeyUsage) (a authority, err error) {
	make := func(name string, parent *x509.Certificate, parentKey, key *ecdsa.PrivateKey, usage ...x509.ExtKeyUsage) (*x509.Certificate, error) {
		t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"keylesstest"}},
			NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			ExtKeyUsage: usage, BasicConstraintsValid: true, IsCA: true}
		if parent == nil {
			parent = t
		}
		return create(t, parent, key, parentKey)
	}
	rootKey, err := newKey()
	if err != nil {
		return a, err
	}
	if a.root, err = make(name, nil, rootKey, rootKey); err != nil {
		return a, err
	}
	if a.key, err = newKey(); err != nil {
		return a, err
	}
	a.issuing, err = make(name+" issuing", a.root, rootKey, a.key, usage)
	return a, err
}

func create(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// addStampLeaf makes the certificate that signs timestamps. RFC 3161 requires that the certificate
// has a critical extension for its usage.
func (a *authority) addStampLeaf() (err error) {
	if a.leafKey, err = newKey(); err != nil {
		return err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return err
	}
	a.leaf, err = create(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "timestamps leaf"},
		NotBefore: a.issuing.NotBefore, NotAfter: a.issuing.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}}, a.issuing, a.leafKey, a.key)
	return err
}

// Claims are the contents of a token. Fulcio puts Email or Subject into the certificate.
type Claims struct {
	Email   string    // an address, which the provider has checked; "" for a CI job
	Subject string    // a URI; "" for a person
	Expires time.Time // zero: in ten minutes
}

// Token returns a token with these claims.
func (s *Sigstore) Token(c Claims) string {
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(10 * time.Minute)
	}
	claims := map[string]any{"iss": s.URL(), "aud": audience, "exp": c.Expires.Unix(), "iat": time.Now().Unix(), "sub": c.Subject}
	if c.Email != "" {
		claims["sub"], claims["email"], claims["email_verified"] = "person", c.Email, true
	}
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.provider, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// GitHubVariables returns the environment of a job of GitHub Actions. The job gets tokens for subject.
func (s *Sigstore) GitHubVariables(subject string) map[string]string {
	return map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": s.URL() + "/token?subject=" + subject, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "permission"}
}

// giveToken answers requests for tokens as GitHub does.
func (s *Sigstore) giveToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer permission" || r.FormValue("audience") != audience {
		http.Error(w, "no permission", http.StatusForbidden)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"value": s.Token(Claims{Subject: r.FormValue("subject")})})
}

// configuration answers with the description of the provider, which a real Fulcio reads.
func (s *Sigstore) configuration(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"issuer": s.URL(), "jwks_uri": s.URL() + "/keys", "authorization_endpoint": s.URL() + "/auth", "token_endpoint": s.URL() + "/token",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}})
}

func (s *Sigstore) keys(w http.ResponseWriter, _ *http.Request) {
	n, e := s.provider.N.Bytes(), big.NewInt(int64(s.provider.E)).Bytes()
	writeJSON(w, http.StatusOK, map[string]any{"keys": []map[string]string{{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
		"n": base64.RawURLEncoding.EncodeToString(n), "e": base64.RawURLEncoding.EncodeToString(e)}}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

func body(w http.ResponseWriter, r *http.Request, v any) bool {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf(`{"code":3,"message":%q}`, err.Error()), http.StatusBadRequest)
	}
	return err == nil
}

// publicKey returns a public key in DER.
func publicKey(key crypto.Signer) []byte {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return der
}

func keyID(key crypto.Signer) []byte {
	sum := sha256.Sum256(publicKey(key))
	return sum[:]
}

// A Root selects the services that a trust root lists.
type Root struct{ NoLog, NoCTLog, NoStamps bool }

// TrustedRoot returns the trust root of the deployment, as JSON.
func (s *Sigstore) TrustedRoot(r Root) []byte {
	valid := &commonv1.TimeRange{Start: timestamppb.New(s.started.Add(-48 * time.Hour))}
	log := func(key crypto.Signer) []*trustrootv1.TransparencyLogInstance {
		return []*trustrootv1.TransparencyLogInstance{{BaseUrl: s.URL(), HashAlgorithm: commonv1.HashAlgorithm_SHA2_256, LogId: &commonv1.LogId{KeyId: keyID(key)},
			PublicKey: &commonv1.PublicKey{RawBytes: publicKey(key), KeyDetails: commonv1.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, ValidFor: valid}}}
	}
	ca := func(a *authority) []*trustrootv1.CertificateAuthority {
		chain := new(commonv1.X509CertificateChain)
		for _, c := range []*x509.Certificate{a.leaf, a.issuing, a.root} {
			if c != nil {
				chain.Certificates = append(chain.Certificates, &commonv1.X509Certificate{RawBytes: c.Raw})
			}
		}
		return []*trustrootv1.CertificateAuthority{{Uri: s.URL(), CertChain: chain, ValidFor: valid, Subject: &commonv1.DistinguishedName{CommonName: a.root.Subject.CommonName}}}
	}
	t := &trustrootv1.TrustedRoot{MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1", CertificateAuthorities: ca(&s.ca)}
	if !r.NoLog {
		t.Tlogs = log(s.rekor)
	}
	if !r.NoCTLog {
		t.Ctlogs = log(s.ctlog)
	}
	if !r.NoStamps {
		t.TimestampAuthorities = ca(&s.stamps)
	}
	return protoJSON(t)
}

// PEM returns the certificates of Fulcio and of the timestamp authority, and the public keys of Rekor
// and of the log of certificates. cosign 2 reads them from separate files.
func (s *Sigstore) PEM() (fulcio, stamps, rekor, ctlog []byte) {
	chain := func(a *authority) (all []byte) {
		for _, c := range []*x509.Certificate{a.leaf, a.issuing, a.root} {
			if c != nil {
				all = append(all, inPEM(c)...)
			}
		}
		return all
	}
	key := func(k crypto.Signer) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicKey(k)})
	}
	return chain(&s.ca), chain(&s.stamps), key(s.rekor), key(s.ctlog)
}

// SigningConfig returns the signing config of the deployment, as JSON. rekor is the version of Rekor.
func (s *Sigstore) SigningConfig(rekor int) []byte {
	valid := &commonv1.TimeRange{Start: timestamppb.New(s.started.Add(-48 * time.Hour))}
	service := func(url string, version uint32) []*trustrootv1.Service {
		return []*trustrootv1.Service{{Url: url, MajorApiVersion: version, ValidFor: valid, Operator: "keylesstest"}}
	}
	any := &trustrootv1.ServiceConfiguration{Selector: trustrootv1.ServiceSelector_ANY}
	return protoJSON(&trustrootv1.SigningConfig{MediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
		CaUrls: service(s.URL(), 1), OidcUrls: service(s.URL(), 1), RekorTlogUrls: service(s.URL(), uint32(rekor)), RekorTlogConfig: any,
		TsaUrls: service(s.TimestampURL(), 1), TsaConfig: any})
}
