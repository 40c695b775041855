package keyless

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssev1 "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/retry"
)

// BundleV03 is the media type of the bundles that Sign makes.
const BundleV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"

// leastRest is the shortest remaining validity with which a Signer uses a certificate again. The
// services need some of this time to confirm the signature.
const leastRest = 3 * time.Minute

// Options describe how to sign.
type Options struct {
	Services  *Services
	Token     *TokenSource
	TrustRoot *TrustRoot // Sign checks every new signature with it; nil means no check
	Transport http.RoundTripper
	Retry     retry.Schedule
	Insecure  bool // allow plain http to other machines
}

// Signer signs with a key that exists only in memory. It asks Fulcio for a certificate before the
// first signature, and for a new key and certificate when the old certificate is about to expire.
type Signer struct {
	o      Options
	client *client

	mu   sync.Mutex
	key  *ecdsa.PrivateKey
	cert *x509.Certificate // nil before the first signature
}

// New returns a signer. New itself sends no request.
func New(o Options) (*Signer, error) {
	s := &Signer{o: o, client: newClient(&o)}
	urls := append([]string{o.Services.Fulcio}, o.Services.Timestamps...)
	for _, l := range o.Services.Logs {
		urls = append(urls, l.URL)
	}
	for _, u := range urls {
		if err := s.client.checkURL(u); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Sign signs payload in an envelope, and returns the bundle with the proofs of all services.
func (s *Signer) Sign(ctx context.Context, payloadType string, payload []byte) (*bundlev1.Bundle, error) {
	key, cert, err := s.certificate(ctx)
	if err != nil {
		return nil, err
	}
	message := dsse.PAE(payloadType, payload)
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	m := &bundlev1.VerificationMaterial{Content: &bundlev1.VerificationMaterial_Certificate{Certificate: &commonv1.X509Certificate{RawBytes: cert.Raw}}}
	b := &bundlev1.Bundle{MediaType: BundleV03, VerificationMaterial: m, Content: &bundlev1.Bundle_DsseEnvelope{DsseEnvelope: &dssev1.Envelope{
		PayloadType: payloadType, Payload: payload, Signatures: []*dssev1.Signature{{Sig: sig}}}}}
	for _, url := range s.o.Services.Timestamps {
		stamp, err := s.timestamp(ctx, url, sig)
		if err != nil {
			return nil, fmt.Errorf("timestamp authority %s: %w", redacted(url), err)
		}
		if m.TimestampVerificationData == nil {
			m.TimestampVerificationData = new(bundlev1.TimestampVerificationData)
		}
		m.TimestampVerificationData.Rfc3161Timestamps = append(m.TimestampVerificationData.Rfc3161Timestamps, &commonv1.RFC3161SignedTimestamp{SignedTimestamp: stamp})
	}
	for _, l := range s.o.Services.Logs {
		add := s.addToRekor
		if l.Version == 2 {
			add = s.addToRekor2
		}
		entry, err := add(ctx, l.URL, b.GetDsseEnvelope(), cert)
		if err != nil {
			return nil, fmt.Errorf("transparency log %s: %w", redacted(l.URL), err)
		}
		m.TlogEntries = append(m.TlogEntries, entry)
	}
	if s.o.TrustRoot != nil {
		if _, err := s.o.TrustRoot.Check(b, nil); err != nil {
			return nil, hint.Add(fmt.Errorf("check the new signature with the trust root: %w", err), "the services and the trust root must belong to the same deployment")
		}
	}
	return b, nil
}

// Certified returns the identity in the signer's certificate.
func (s *Signer) Certified(ctx context.Context) (subject, issuer string, err error) {
	_, cert, err := s.certificate(ctx)
	if err != nil {
		return "", "", err
	}
	subject, issuer = Claimed(cert.Raw)
	return subject, issuer, nil
}

// certificate returns a key and its certificate.
func (s *Signer) certificate(ctx context.Context) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert != nil && time.Until(s.cert.NotAfter) >= leastRest {
		return s.key, s.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	token, err := s.o.Token.get(ctx, s.client)
	if err != nil {
		return nil, nil, err
	}
	cert, err := s.request(ctx, key, token)
	if err != nil {
		err = fmt.Errorf("certificate authority %s: %w", redacted(s.o.Services.Fulcio), err)
		if advice := expired(token, time.Now()); advice != "" {
			err = hint.Add(err, advice)
		}
		return nil, nil, err
	}
	s.key, s.cert = key, cert
	return key, cert, nil
}

// request asks Fulcio for a certificate.
func (s *Signer) request(ctx context.Context, key *ecdsa.PrivateKey, token string) (*x509.Certificate, error) {
	// The request is signed, which proves to Fulcio that nixoci has the private key. The request
	// contains no names, because Fulcio takes them from the token.
	csr, err := x509.CreateCertificateRequest(rand.Reader, new(x509.CertificateRequest), key)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string][]byte{"certificateSigningRequest": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})})
	if err != nil {
		return nil, err
	}
	a, err := s.client.send(ctx, request{method: http.MethodPost, url: join(s.o.Services.Fulcio, "/api/v2/signingCert"), body: body, accept: []int{http.StatusOK, http.StatusCreated},
		header: map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + token}})
	if err != nil {
		return nil, err
	}
	type certificates struct {
		Chain struct{ Certificates []string }
	}
	var got struct{ SignedCertificateEmbeddedSct, SignedCertificateDetachedSct certificates }
	if json.Unmarshal(a.body, &got) != nil {
		return nil, errors.New("the answer is not JSON")
	}
	chain := append(got.SignedCertificateEmbeddedSct.Chain.Certificates, got.SignedCertificateDetachedSct.Chain.Certificates...)
	if len(chain) == 0 {
		return nil, errors.New("the answer has no certificate")
	}
	block, _ := pem.Decode([]byte(chain[0]))
	if block == nil {
		return nil, errors.New("the certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	return cert, nil
}

// timestamp asks a timestamp authority to confirm the time of sig (RFC 3161).
func (s *Signer) timestamp(ctx context.Context, url string, sig []byte) ([]byte, error) {
	sum := sha256.Sum256(sig)
	query := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Certificates: true}
	body, err := query.Marshal()
	if err != nil {
		return nil, err
	}
	a, err := s.client.send(ctx, request{method: http.MethodPost, url: url, body: body, accept: []int{http.StatusOK, http.StatusCreated},
		header: map[string]string{"Content-Type": "application/timestamp-query"}})
	if err != nil {
		return nil, err
	}
	t, err := timestamp.ParseResponse(a.body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer is not a timestamp: %w", err)
	case !bytes.Equal(t.HashedMessage, sum[:]):
		return nil, errors.New("the timestamp belongs to another signature")
	}
	return a.body, nil
}
