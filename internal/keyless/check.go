package keyless

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Certified describes a checked signature: who signed, and when.
type Certified struct {
	Subject string    // identity of the signer: a URI or an address
	Issuer  string    // URL of the provider that has checked the identity
	Time    time.Time // time of the signature, according to a log or a timestamp authority
}

// Check checks a signature with a certificate: the chain of the certificate, its validity at the time
// of the signature, the log entry, the timestamps, and the signature itself. If the bundle contains
// an envelope, the content of the envelope is signed, and artifact is nil. Otherwise artifact is
// signed. The caller must compare the result with the identities that it trusts.
func (t *TrustRoot) Check(b *bundlev1.Bundle, artifact []byte) (*Certified, error) {
	if err := CheckSize(b); err != nil {
		return nil, err
	}
	der := Certificate(b)
	if der == nil {
		return nil, errors.New("it was signed with a key, not with a certificate")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("its certificate cannot be read")
	}
	if err := checkNames(cert); err != nil {
		return nil, err
	}
	if e := b.GetDsseEnvelope(); e != nil && len(e.Signatures) != 1 {
		return nil, fmt.Errorf("its envelope has %d signatures, but a certificate belongs to exactly one", len(e.Signatures))
	}
	if err := checkStamps(b); err != nil {
		return nil, err
	}
	parsed, err := bundle.NewBundle(b)
	if err != nil {
		return nil, fmt.Errorf("its bundle is not valid: %w", err)
	}
	var why error
	for _, d := range t.deployments {
		c, err := d.check(parsed, cert, artifact)
		if err == nil {
			return c, nil
		}
		if why == nil || d.issued(cert) {
			why = err
		}
	}
	return nil, why
}

// oldIssuer is the extension with the issuer in Fulcio's older certificates. sigstore-go has the same
// value under a deprecated name.
var oldIssuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}

// checkNames refuses a certificate with several names, or with two different issuers. Sigstore's
// library would use the first name and the last issuer. Fulcio writes one name. It writes the same
// issuer into an old and a new extension.
func checkNames(cert *x509.Certificate) error {
	if n := len(cert.URIs) + len(cert.EmailAddresses); n > 1 {
		return fmt.Errorf("its certificate has %d names, but must have exactly one", n)
	}
	var issuers []string
	for _, e := range cert.Extensions {
		switch {
		case e.Id.Equal(oldIssuer):
			issuers = append(issuers, string(e.Value))
		case e.Id.Equal(certificate.OIDIssuerV2):
			var issuer string
			if err := certificate.ParseDERString(e.Value, &issuer); err != nil {
				return errors.New("the issuer in its certificate cannot be read")
			}
			issuers = append(issuers, issuer)
		}
	}
	if len(issuers) == 2 && issuers[0] != issuers[1] {
		return fmt.Errorf("its certificate names two issuers, %s and %s", issuers[0], issuers[1])
	}
	return nil
}

func (d *deployment) check(b *bundle.Bundle, cert *x509.Certificate, artifact []byte) (*Certified, error) {
	what := verify.WithoutArtifactUnsafe() // safe, because the envelope contains the signed content
	if b.GetDsseEnvelope() == nil {
		what = verify.WithArtifact(bytes.NewReader(artifact))
	}
	result, err := d.verifier.Verify(b, verify.NewPolicy(what, verify.WithoutIdentitiesUnsafe()))
	if err != nil {
		return nil, d.explain(b, cert, err)
	}
	s := result.Signature.Certificate
	if s == nil || len(result.VerifiedTimestamps) == 0 {
		return nil, errors.New("its certificate or the time of its signature was not checked")
	}
	for _, t := range result.VerifiedTimestamps {
		if err := d.checkLogs(b, t.Timestamp); err != nil {
			return nil, err
		}
	}
	return &Certified{s.SubjectAlternativeName, s.Issuer, result.VerifiedTimestamps[0].Timestamp.UTC()}, nil
}

// checkLogs returns an error if the key of a log was not valid at the time of the signature. Sigstore's
// library checks this only if the log has signed the time, which a Rekor of version 2 does not do.
func (d *deployment) checkLogs(b *bundle.Bundle, signed time.Time) error {
	for _, e := range b.GetVerificationMaterial().GetTlogEntries() {
		log := d.logOf(e)
		if log == nil {
			continue
		}
		if signed.Before(log.ValidityPeriodStart) || !log.ValidityPeriodEnd.IsZero() && signed.After(log.ValidityPeriodEnd) {
			return fmt.Errorf("it was signed on %s, when the key of the log was not valid", stamp(signed))
		}
	}
	return nil
}

// logOf returns the transparency log of a log entry, or nil if the trust root does not list this log.
func (d *deployment) logOf(e *rekorv1.TransparencyLogEntry) *root.TransparencyLog {
	return d.root.RekorLogs()[hex.EncodeToString(e.GetLogId().GetKeyId())]
}

// Certificate returns the signer's certificate in DER. If the bundle has none, Certificate returns
// nil.
func Certificate(b *bundlev1.Bundle) []byte {
	m := b.GetVerificationMaterial()
	if c := m.GetCertificate().GetRawBytes(); c != nil {
		return c // only bundles since v0.3 have this field
	}
	if chain := m.GetX509CertificateChain().GetCertificates(); len(chain) > 0 {
		return chain[0].GetRawBytes()
	}
	return nil
}

// Claimed returns the subject and the issuer that a certificate names. It does not check the
// certificate.
func Claimed(der []byte) (subject, issuer string) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return "", ""
	}
	s, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return "", ""
	}
	return s.SubjectAlternativeName, s.Issuer
}

// issued reports whether a certificate authority of the deployment has issued cert. The time of the
// signature does not matter.
func (d *deployment) issued(cert *x509.Certificate) bool {
	_, err := verify.VerifyLeafCertificate(cert.NotBefore, clearSAN(cert), d.root)
	return err == nil
}

// clearSAN returns cert without its unhandled critical extensions. Fulcio can put a kind of name into
// a certificate that Go's library does not support.
func clearSAN(cert *x509.Certificate) *x509.Certificate {
	c := *cert
	c.UnhandledCriticalExtensions = nil
	return &c
}

// explain returns the reason why Sigstore's library has refused a signature. err is the error of the
// library. explain decides only the text of the error: every signature that reaches it is refused.
func (d *deployment) explain(b *bundle.Bundle, cert *x509.Certificate, err error) error {
	entries := b.GetVerificationMaterial().GetTlogEntries()
	stamps := b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps()
	known := 0
	for _, e := range entries {
		if d.logOf(e) != nil {
			known++
		}
	}
	switch {
	case !d.issued(cert):
		return errors.New("its certificate comes from an authority that the trust root does not list")
	case len(d.root.RekorLogs()) > 0 && len(entries) == 0:
		return errors.New("it has no entry in a transparency log")
	case len(d.root.RekorLogs()) > 0 && known == 0:
		return errors.New("its log entry comes from a log that the trust root does not list")
	}
	if t, out := outside(b, cert); out {
		return fmt.Errorf("it was signed on %s, when its certificate was not valid (%s to %s)", stamp(t), stamp(cert.NotBefore), stamp(cert.NotAfter))
	}
	text := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("transparency log signature does not match", "transparency log certificate does not match", "entry payload hash", "entry digest"):
		return errors.New("its log entry belongs to another signature")
	case has("not enough verified log entries"):
		return errors.New("the log has not signed its log entry, or the key of the log was not valid at that time")
	case has("failed to verify log inclusion"):
		return fmt.Errorf("its log entry does not prove that the log contains it: %w", err)
	case has("threshold not met for verified signed", "no valid observer timestamps") && len(stamps) == 0:
		return errors.New("nothing proves the time of its signature: it has no timestamp of an authority that the trust root lists, and its log entry has no signed time")
	case has("threshold not met for verified signed", "no valid observer timestamps"):
		return errors.New("its timestamp comes from an authority that the trust root does not list, or belongs to another signature")
	case has("signed certificate timestamp"):
		return errors.New("no log of certificates that the trust root lists has recorded its certificate (SCT)")
	case has("failed to verify signature"):
		return errors.New("the signature does not match: the statement or the signature was changed")
	}
	return err
}

// outside returns a time of the signature at which cert was not valid, if the bundle contains such a
// time. The time in the bundle is not checked.
func outside(b *bundle.Bundle, cert *x509.Certificate) (time.Time, bool) {
	var times []time.Time
	for _, e := range b.GetVerificationMaterial().GetTlogEntries() {
		if e.IntegratedTime != 0 {
			times = append(times, time.Unix(e.IntegratedTime, 0))
		}
	}
	for _, s := range b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps() {
		if t, err := timestamp.ParseResponse(s.GetSignedTimestamp()); err == nil {
			times = append(times, t.Time)
		}
	}
	for _, t := range times {
		if t.Before(cert.NotBefore) || t.After(cert.NotAfter) {
			return t, true
		}
	}
	return time.Time{}, false
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
