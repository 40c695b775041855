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

// verifyBundles looks at the bundles that are attached to d. Of a bundle only
// the signature by a key counts: certificates and transparency logs are
// Sigstore's way to do without one.
func verifyBundles(ctx context.Context, src oci.Reader, d digest.Digest, key *PublicKey) (sigs []Signature, found int, err error) {
	r, ok := src.(oci.Referrers)
	if !ok {
		return nil, 0, nil
	}
	list, err := r.Referrers(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	for _, ref := range list {
		if !strings.HasPrefix(ref.ArtifactType, bundleType) || found == maxSignatures {
			continue
		}
		a, err := oci.GetArtifact(ctx, src, d, ref)
		if err != nil {
			return nil, 0, err
		}
		var bundle struct {
			Envelope *dsse.Envelope `json:"dsseEnvelope"`
		}
		if json.Unmarshal(a.Data, &bundle) != nil || bundle.Envelope == nil || bundle.Envelope.PayloadType != inTotoPayload {
			continue
		}
		statement, ok := verifyEnvelope(bundle.Envelope, key)
		if statement == nil || statement.PredicateType != signPredicate {
			continue // an attestation, not a signature
		}
		found++
		if ok && slices.Contains(statement.digests(), d) {
			sigs = append(sigs, Signature{Digest: d})
		}
	}
	return sigs, found, nil
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

// verifyEnvelope returns the statement in an envelope, nil if there is none, and
// whether key has signed it.
func verifyEnvelope(e *dsse.Envelope, key *PublicKey) (*signedStatement, bool) {
	data, err := e.DecodeB64Payload()
	if err != nil {
		return nil, false
	}
	var s signedStatement
	if json.Unmarshal(data, &s) != nil || !strings.HasPrefix(s.Type, inTotoV1Prefix) {
		return nil, false
	}
	message := dsse.PAE(e.PayloadType, data)
	for _, sig := range e.Signatures {
		if raw, err := decodeBase64(sig.Sig); err == nil && key.verify(message, raw) {
			return &s, true
		}
	}
	return &s, false
}
