package attest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssev1 "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
)

// These names appear in bundles with signed statements. A Sigstore bundle is a referrer of the
// image. cosign 2 stores its envelopes as layers of an image under the tag sha256-….att.
const (
	bundleType     = "application/vnd.dev.sigstore.bundle" // a version follows, as in BundleV03
	BundleV03      = keyless.BundleV03
	envelopeType   = "application/vnd.dsse.envelope.v1+json"
	bundleContent  = "dev.sigstore.bundle.content" // cosign reads this annotation and the next one
	bundlePredType = "dev.sigstore.bundle.predicateType"
	dsseContent    = "dsse-envelope"
)

// IsBundle reports whether artifactType is the type of a Sigstore bundle, which contains a signed
// statement.
func IsBundle(artifactType string) bool { return strings.HasPrefix(artifactType, bundleType) }

// Author signs statements. The two implementations are [*PrivateKey], and [*keyless.Signer], which
// signs with certificates.
type Author interface {
	// Sign signs payload in the format DSSE. It returns a Sigstore bundle.
	Sign(ctx context.Context, payloadType string, payload []byte) (*bundlev1.Bundle, error)
}

// Sign implements [Author]. The same payload and key always give the same bundle.
func (k *PrivateKey) Sign(_ context.Context, payloadType string, payload []byte) (*bundlev1.Bundle, error) {
	sig, err := k.sign(dsse.PAE(payloadType, payload))
	if err != nil {
		return nil, err
	}
	hint, err := k.hint()
	if err != nil {
		return nil, err
	}
	return &bundlev1.Bundle{
		MediaType: BundleV03,
		VerificationMaterial: &bundlev1.VerificationMaterial{
			Content: &bundlev1.VerificationMaterial_PublicKey{PublicKey: &commonv1.PublicKeyIdentifier{Hint: hint}}},
		Content: &bundlev1.Bundle_DsseEnvelope{DsseEnvelope: &dssev1.Envelope{
			PayloadType: payloadType, Payload: payload, Signatures: []*dssev1.Signature{{Sig: sig}}}},
	}, nil
}

// Seal signs an in-toto statement and puts the Sigstore bundle into an artifact. If the author is a
// [*PrivateKey], the same statement always gives the same bytes.
func Seal(ctx context.Context, statement []byte, by Author) (oci.Artifact, error) {
	fail := func(err error) (oci.Artifact, error) {
		return oci.Artifact{}, fmt.Errorf("sign statement: %w", err)
	}
	s, err := parseStatement(statement)
	if err != nil {
		return fail(err)
	}
	signed, err := by.Sign(ctx, StatementType, statement)
	if err != nil {
		return fail(err)
	}
	loose, err := protojson.Marshal(signed)
	if err != nil {
		return fail(err)
	}
	// protojson inserts white space at random. Remove it, so that the bytes are always the same.
	var b bytes.Buffer
	if err := json.Compact(&b, loose); err != nil {
		return fail(err)
	}
	if b.Len() > limit.Bundle {
		return fail(fmt.Errorf("%s: the signed statement has %d bytes, at most %d are read", s.PredicateType, b.Len(), limit.Bundle))
	}
	return oci.Artifact{Type: BundleV03, MediaType: BundleV03, Data: b.Bytes(), Annotations: map[string]string{
		bundleContent: dsseContent, bundlePredType: s.PredicateType}}, nil
}

// envelope holds a statement and its signatures, which are not checked yet.
type envelope struct {
	message     []byte // the signed bytes
	signatures  [][]byte
	hint        string // ID of the signing key, as the bundle names it; "" if it names none
	certificate []byte // in DER; nil if the statement was signed with a plain key
	statement   *signedStatement
	bundle      *bundlev1.Bundle // the whole bundle with the certificate; nil if there is no certificate
}

// parseBundle reads a Sigstore bundle of version v0.1, v0.2 or v0.3.
func parseBundle(data []byte) (*envelope, error) {
	if err := limit.JSONValues(data, limit.BundleValues); err != nil {
		return nil, err
	}
	var b bundlev1.Bundle
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &b); err != nil {
		// protojson's error texts differ from build to build, so do not pass them on.
		if strings.Contains(err.Error(), "unexpected") {
			return nil, errors.New("not a Sigstore bundle, or cut short")
		}
		return nil, errors.New("not a Sigstore bundle")
	}
	if err := keyless.CheckSize(&b); err != nil {
		return nil, err
	}
	in := b.GetDsseEnvelope()
	if in == nil {
		return nil, errors.New("the bundle has no envelope with a statement")
	}
	var sigs [][]byte
	for _, s := range in.Signatures {
		sigs = append(sigs, s.GetSig())
	}
	e, err := newEnvelope(in.PayloadType, in.Payload, sigs)
	if err != nil {
		return nil, err
	}
	e.hint = b.GetVerificationMaterial().GetPublicKey().GetHint()
	if e.certificate = keyless.Certificate(&b); e.certificate != nil {
		e.bundle = &b
	}
	return e, nil
}

// parseEnvelope reads an envelope without a bundle. cosign 2 stores such envelopes under the .att
// tag, and the certificate in annotations.
func parseEnvelope(data []byte, annotations map[string]string) (*envelope, error) {
	if err := limit.JSONValues(data, limit.BundleValues); err != nil {
		return nil, err
	}
	var in dsse.Envelope
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("not an envelope: %w", err)
	}
	payload, err := in.DecodeB64Payload()
	if err != nil {
		return nil, errors.New("the payload is not base64")
	}
	var sigs [][]byte
	for _, s := range in.Signatures {
		raw, err := decodeBase64(s.Sig)
		if err != nil {
			return nil, errors.New("the signature is not base64")
		}
		sigs = append(sigs, raw)
	}
	e, err := newEnvelope(in.PayloadType, payload, sigs)
	if err != nil {
		return nil, err
	}
	if e.bundle, err = keyless.FromAnnotations(annotations); err != nil || e.bundle == nil {
		return e, err
	}
	e.certificate = keyless.Certificate(e.bundle)
	signed := &dssev1.Envelope{PayloadType: in.PayloadType, Payload: payload}
	for n, s := range in.Signatures {
		signed.Signatures = append(signed.Signatures, &dssev1.Signature{Sig: sigs[n], Keyid: s.KeyID})
	}
	e.bundle.Content = &bundlev1.Bundle_DsseEnvelope{DsseEnvelope: signed}
	return e, nil
}

func newEnvelope(payloadType string, payload []byte, signatures [][]byte) (*envelope, error) {
	switch {
	case payloadType != StatementType:
		return nil, fmt.Errorf("the envelope holds %q, not %s", payloadType, StatementType)
	case len(signatures) == 0:
		return nil, errors.New("the envelope has no signature")
	case len(signatures) > limit.Signatures:
		return nil, fmt.Errorf("the envelope has %d signatures, at most %d are read", len(signatures), limit.Signatures)
	}
	s, err := parseStatement(payload)
	if err != nil {
		return nil, err
	}
	return &envelope{message: dsse.PAE(payloadType, payload), signatures: signatures, statement: s}, nil
}

// signedBy returns those of signers who have signed e. If none has signed e, why contains the reason.
func (e *envelope) signedBy(signers []Signer) (by []Signer, why string) {
	for _, s := range signers {
		if s.Key != nil && slices.ContainsFunc(e.signatures, func(sig []byte) bool { return s.Key.verify(e.message, sig) }) {
			by = append(by, s)
		}
	}
	if e.bundle != nil {
		certified, reason := certifiedBy(e.bundle, nil, signers)
		by, why = append(by, certified...), reason
	}
	switch {
	case len(by) > 0:
		return by, ""
	case why != "":
		return nil, why
	}
	return nil, e.strange(signers)
}

// strange returns a text that explains why no key of signers has signed e.
func (e *envelope) strange(signers []Signer) string {
	keys := slices.ContainsFunc(signers, func(s Signer) bool { return s.Key != nil })
	if e.certificate != nil {
		c, err := x509.ParseCertificate(e.certificate)
		switch {
		case err != nil:
			return "signed with a certificate that cannot be read"
		case time.Now().After(c.NotAfter):
			return fmt.Sprintf("signed with a certificate of %s that expired on %s, not with a given key", nameOf(e.certificate), c.NotAfter.UTC().Format(time.DateOnly))
		}
		return fmt.Sprintf("signed with a certificate of %s, not with a given key", nameOf(e.certificate))
	}
	for _, s := range signers {
		if s.Key != nil && e.hint == s.Key.ID() {
			return fmt.Sprintf("names %s as its key, but the signature does not match: the statement or the signature was changed", s.Name)
		}
	}
	if !keys {
		return "signed with a key, not with a certificate"
	}
	return "no given key has signed it"
}

func nameOf(certificate []byte) string {
	if s := signerOf(certificate); s != "" {
		return s
	}
	return "an unknown signer"
}

func decodeBase64(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }
