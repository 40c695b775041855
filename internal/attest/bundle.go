package attest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/nixoci/nixoci/internal/oci"
)

// Names of the signatures that cosign 3 writes: a Sigstore bundle as referrer,
// with a signed in-toto statement that names the image.
const (
	bundleType     = "application/vnd.dev.sigstore.bundle" // and a version
	signPredicate  = "https://sigstore.dev/cosign/sign/v1"
	inTotoPayload  = "application/vnd.in-toto+json"
	inTotoV1Prefix = "https://in-toto.io/Statement/v"
)

// signatureBundle is a signature of an image by cosign 3, with the statement that
// it signs. Nobody has checked it.
type signatureBundle struct {
	envelope    *dsse.Envelope
	statement   *signedStatement
	certificate []byte // DER; nil where a key has signed
}

// signatureBundles returns the bundles attached to d that are signatures of an
// image. Other bundles are attestations.
func signatureBundles(ctx context.Context, src oci.Reader, d digest.Digest) (all []signatureBundle, err error) {
	r, ok := src.(oci.Referrers)
	if !ok {
		return nil, nil
	}
	list, err := r.Referrers(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, ref := range list {
		if !strings.HasPrefix(ref.ArtifactType, bundleType) || len(all) == maxSignatures {
			continue
		}
		a, err := oci.GetArtifact(ctx, src, d, ref)
		if err != nil {
			return nil, err
		}
		if b := parseSignatureBundle(a.Data); b != nil {
			all = append(all, *b)
		}
	}
	return all, nil
}

// parseSignatureBundle reads a Sigstore bundle (v0.1 to v0.3); nil where it is not
// the signature of an image.
func parseSignatureBundle(data []byte) *signatureBundle {
	type certificate struct {
		Raw []byte `json:"rawBytes"`
	}
	var bundle struct {
		Material struct {
			Certificate certificate `json:"certificate"` // since v0.3
			Chain       struct {
				Certificates []certificate `json:"certificates"`
			} `json:"x509CertificateChain"`
		} `json:"verificationMaterial"`
		Envelope *dsse.Envelope `json:"dsseEnvelope"`
	}
	if json.Unmarshal(data, &bundle) != nil || bundle.Envelope == nil || bundle.Envelope.PayloadType != inTotoPayload {
		return nil
	}
	payload, err := bundle.Envelope.DecodeB64Payload()
	if err != nil {
		return nil
	}
	b := &signatureBundle{envelope: bundle.Envelope, statement: new(signedStatement), certificate: bundle.Material.Certificate.Raw}
	if json.Unmarshal(payload, b.statement) != nil || !strings.HasPrefix(b.statement.Type, inTotoV1Prefix) || b.statement.PredicateType != signPredicate {
		return nil
	}
	if chain := bundle.Material.Chain.Certificates; b.certificate == nil && len(chain) > 0 {
		b.certificate = chain[0].Raw
	}
	return b
}

// signedBy reports whether key has signed b.
func (b *signatureBundle) signedBy(key *PublicKey) bool {
	data, err := b.envelope.DecodeB64Payload()
	if err != nil {
		return false
	}
	message := dsse.PAE(b.envelope.PayloadType, data)
	for _, sig := range b.envelope.Signatures {
		if raw, err := decodeBase64(sig.Sig); err == nil && key.verify(message, raw) {
			return true
		}
	}
	return false
}

// verifyBundles looks at the bundles that are attached to d. found counts them. Of
// a bundle only the signature by a key counts: certificates and transparency logs
// are Sigstore's way to do without one.
func verifyBundles(ctx context.Context, src oci.Reader, d digest.Digest, key *PublicKey) (sigs []Signature, found int, err error) {
	all, err := signatureBundles(ctx, src, d)
	if err != nil {
		return nil, 0, err
	}
	for i := range all {
		if all[i].signedBy(key) && slices.Contains(all[i].statement.digests(), d) {
			sigs = append(sigs, Signature{Digest: d})
		}
	}
	return sigs, len(all), nil
}

// signedStatement is what is read of an in-toto statement.
type signedStatement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
}

func (s *signedStatement) digests() (all []digest.Digest) {
	for _, sub := range s.Subject {
		if h, ok := sub.Digest[digest.SHA256.String()]; ok {
			all = append(all, digest.NewDigestFromEncoded(digest.SHA256, h))
		}
	}
	return all
}
