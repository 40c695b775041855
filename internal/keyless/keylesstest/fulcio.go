package keylesstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func protoJSON(m proto.Message) []byte {
	data, err := protojson.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// tokenClaims are the claims that Fulcio reads.
type tokenClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	Subject  string `json:"sub"`
	Email    string `json:"email"`
}

// checkToken checks a token of the provider.
func (s *Sigstore) checkToken(r *http.Request) (c tokenClaims, err error) {
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return c, errors.New("There was an error processing the identity token")
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return c, errors.New("the token's signature is not valid")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&s.provider.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return c, errors.New("the token's signature is not valid")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, err
	}
	switch {
	case c.Issuer != s.URL() || c.Audience != audience:
		return c, errors.New("the token is for somebody else")
	case time.Now().After(time.Unix(c.Expires, 0)):
		return c, errors.New("the token has expired")
	}
	return c, nil
}

func refuse(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]any{"code": 3, "message": err.Error()})
}

// certify answers requests of Fulcio's second interface.
func (s *Sigstore) certify(w http.ResponseWriter, r *http.Request) {
	var q struct {
		CertificateSigningRequest []byte `json:"certificateSigningRequest"`
		PublicKeyRequest          struct {
			PublicKey         struct{ Content string } `json:"publicKey"`
			ProofOfPossession []byte                   `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	if !body(w, r, &q) {
		return
	}
	cert := s.certificateFor(w, r, q.CertificateSigningRequest, []byte(q.PublicKeyRequest.PublicKey.Content), q.PublicKeyRequest.ProofOfPossession)
	if cert == nil {
		return
	}
	chain := []string{inPEM(cert), inPEM(s.ca.issuing), inPEM(s.ca.root)}
	writeJSON(w, http.StatusOK, map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}})
}

// certifyV1 answers requests of Fulcio's first interface, which cosign 2 uses.
func (s *Sigstore) certifyV1(w http.ResponseWriter, r *http.Request) {
	var q struct {
		PublicKey          struct{ Content []byte } `json:"publicKey"`
		SignedEmailAddress []byte                   `json:"signedEmailAddress"`
		Request            []byte                   `json:"certificateSigningRequest"`
	}
	if !body(w, r, &q) {
		return
	}
	cert := s.certificateFor(w, r, q.Request, q.PublicKey.Content, q.SignedEmailAddress)
	if cert == nil {
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(inPEM(cert) + inPEM(s.ca.issuing) + inPEM(s.ca.root)))
}

// certificateFor checks the token of r and issues a certificate. A request proves that it has the private
// key with a certificate signing request or, if csr is nil, with a public key and a signature (proof).
// If the request is not valid, certificateFor answers it and returns nil.
func (s *Sigstore) certificateFor(w http.ResponseWriter, r *http.Request, csr, publicKey, proof []byte) *x509.Certificate {
	c, err := s.checkToken(r)
	if err != nil {
		refuse(w, http.StatusUnauthorized, err)
		return nil
	}
	key, err := requestedKey(csr)
	if csr == nil {
		key, err = possessedKey(publicKey, proof, &c)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return nil
	}
	cert, err := s.issue(key, &c)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return nil
	}
	return cert
}

func inPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// requestedKey checks a certificate signing request, and returns its key.
func requestedKey(data []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the request is not PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the key is not ECDSA")
	}
	return key, csr.CheckSignature()
}

// possessedKey checks that the client has the private key.
func possessedKey(data, proof []byte, c *tokenClaims) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PublicKey)
	subject := c.Subject
	if c.Email != "" {
		subject = c.Email
	}
	sum := sha256.Sum256([]byte(subject))
	if !ok || !ecdsa.VerifyASN1(ec, sum[:], proof) {
		return nil, errors.New("the proof of possession is not valid")
	}
	return ec, nil
}

// These extensions of Fulcio's certificates contain the issuer of the token: the old form, and the
// new form in DER.
var (
	issuerOID   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	issuerV2OID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	sctOID      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// issue makes a certificate for key.
func (s *Sigstore) issue(key *ecdsa.PublicKey, c *tokenClaims) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	issuer, err := asn1.MarshalWithParams(c.Issuer, "utf8")
	if err != nil {
		return nil, err
	}
	from := s.CertificateTime().Truncate(time.Second)
	template := &x509.Certificate{SerialNumber: serial, NotBefore: from, NotAfter: from.Add(10 * time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: issuerOID, Value: []byte(c.Issuer)}, {Id: issuerV2OID, Value: issuer}}}
	if c.Email != "" {
		template.EmailAddresses = []string{c.Email}
	} else {
		u, err := url.Parse(c.Subject)
		if err != nil || u.Scheme == "" {
			return nil, fmt.Errorf("the subject %q is not a URI", c.Subject)
		}
		template.URIs = []*url.URL{u}
	}
	if s.Template != nil {
		s.Template(template)
	}
	make := func() (*x509.Certificate, error) {
		der, err := x509.CreateCertificate(rand.Reader, template, s.ca.issuing, key, s.ca.key)
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificate(der)
	}
	cert, err := make()
	if err != nil || s.NoSCT {
		return cert, err
	}
	sct, err := s.sct(cert.RawTBSCertificate)
	if err != nil {
		return nil, err
	}
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: sctOID, Value: sct})
	return make()
}

// sct returns the extension with the proof that the log of certificates has recorded a certificate
// (RFC 6962, sections 3.2 and 3.3). tbs is the certificate without the extension.
func (s *Sigstore) sct(tbs []byte) ([]byte, error) {
	now := uint64(s.CertificateTime().UnixMilli())
	issuer := sha256.Sum256(s.ca.issuing.RawSubjectPublicKeyInfo)
	var signed cryptobyte.Builder
	signed.AddUint8(0) // version 1
	signed.AddUint8(0) // type: certificate_timestamp
	signed.AddUint64(now)
	signed.AddUint16(1) // precert_entry
	signed.AddBytes(issuer[:])
	signed.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	signed.AddUint16(0) // no extensions
	message, err := signed.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, s.ctlog, sum[:])
	if err != nil {
		return nil, err
	}
	var list cryptobyte.Builder
	list.AddUint16LengthPrefixed(func(all *cryptobyte.Builder) {
		all.AddUint16LengthPrefixed(func(one *cryptobyte.Builder) {
			one.AddUint8(0)
			one.AddBytes(keyID(s.ctlog))
			one.AddUint64(now)
			one.AddUint16(0)
			one.AddUint8(4) // SHA-256
			one.AddUint8(3) // ECDSA
			one.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sig) })
		})
	})
	data, err := list.Bytes()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(data)
}
