package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
)

// Attestation is a document that is attached to an image, usually a signed statement.
type Attestation struct {
	Repository    string        // the repository that has the document; "" if this is the image's repository
	Attached      digest.Digest // digest of the manifest that attaches the document
	Content       digest.Digest // digest of the document itself
	ArtifactType  string
	PredicateType string   // "" if the document is not a statement, or cannot be read
	Signed        bool     // whether the document has any signature
	Signer        string   // name in the signer's certificate; "" if the document was signed with a plain key
	SignedBy      []Signer // the given signers who have signed the document, even if it is about another image
	Refused       string   // reason why the document proves nothing; "" if nothing is wrong

	statement   *signedStatement // nil if the statement cannot be read
	hint        string           // ID of the key that the document names; another key may have made the signature
	certificate []byte           // certificate in the document, not checked; nil if there is none
}

// Names reports whether the document names s as its signer. Names does not check the signature.
func (a *Attestation) Names(s Signer) bool {
	if s.Identity == nil {
		return a.hint == s.ID()
	}
	return a.certificate != nil && s.Identity.Matches(keyless.Claimed(a.certificate))
}

// Trusted reports whether a given signer has signed the attestation and whether the attestation is
// about the image.
func (a *Attestation) Trusted() bool { return a.Refused == "" && len(a.SignedBy) > 0 }

// TrustedBy returns those of signers who have signed the attestation. If the attestation is not
// about the image, TrustedBy returns none.
func (a *Attestation) TrustedBy(signers []Signer) []Signer {
	if a.Refused != "" {
		return nil
	}
	return CommonSigners(a.SignedBy, signers)
}

// IsSignature reports whether the attestation contains only a signature of the image.
func (a *Attestation) IsSignature() bool { return a.PredicateType == signPredicate }

// Predicate returns the attestation's predicate. It returns nil if the attestation
// cannot be read or the predicate is longer than limit.Predicate.
func (a *Attestation) Predicate() json.RawMessage {
	if a.statement == nil {
		return nil
	}
	return a.statement.Predicate
}

// Attestations lists the documents that are attached to subject. It reads two kinds of signed
// attestations: Sigstore's bundles, and envelopes under cosign's .att tag. It checks which of
// signers have signed each of them. For each kind it reads at most limit.Artifact bytes, and
// refuses the rest.
func Attestations(ctx context.Context, src oci.Reader, subject digest.Digest, signers []Signer) ([]Attestation, error) {
	all, err := bundles(ctx, src, subject, signers)
	if err != nil {
		return nil, err
	}
	tagged, err := taggedEnvelopes(ctx, src, subject, signers)
	return append(all, tagged...), err
}

func bundles(ctx context.Context, src oci.Reader, subject digest.Digest, signers []Signer) (all []Attestation, err error) {
	r, ok := src.(oci.Referrers)
	if !ok {
		return nil, nil
	}
	list, err := r.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	left := int64(limit.Artifact)
	for _, d := range list {
		if !IsBundle(d.ArtifactType) {
			all = append(all, Attestation{Attached: d.Digest, ArtifactType: d.ArtifactType, PredicateType: d.Annotations[PredicateTypeKey], Refused: "it is not signed"})
			continue
		}
		doc, err := oci.GetArtifactUpTo(ctx, src, subject, d, min(left, limit.Bundle))
		left -= int64(len(doc.Data))
		a, err := examine(subject, signers, err, func() (*envelope, error) { return parseBundle(doc.Data) })
		if err != nil {
			return nil, err
		}
		a.Attached, a.Content, a.ArtifactType = d.Digest, digest.FromBytes(doc.Data), d.ArtifactType
		all = append(all, *a)
	}
	return all, nil
}

// ReadBundle reads a bundle that is attached to subject. It does not check the signature.
func ReadBundle(subject digest.Digest, data []byte) Attestation {
	a, _ := examine(subject, nil, nil, func() (*envelope, error) { return parseBundle(data) })
	return *a
}

// examine checks one attestation, which parse returns. failed is the error of reading its document.
// If the attestation itself is wrong, examine returns no error but sets Refused.
func examine(subject digest.Digest, signers []Signer, failed error, parse func() (*envelope, error)) (*Attestation, error) {
	var content *oci.ContentError
	if errors.As(failed, &content) || errors.Is(failed, oci.ErrNotFound) {
		return &Attestation{Refused: failed.Error()}, nil
	}
	if failed != nil {
		return nil, failed
	}
	e, err := parse()
	if err != nil {
		return &Attestation{Refused: err.Error()}, nil
	}
	a := &Attestation{PredicateType: e.statement.PredicateType, Signed: true, Signer: signerOf(e.certificate), statement: e.statement, hint: e.hint, certificate: e.certificate}
	by, why := e.signedBy(signers)
	a.SignedBy = by
	switch about := e.statement.digests(); {
	case !slices.Contains(about, subject):
		a.Refused = fmt.Sprintf("it is about %s, not this image", about[0])
	case len(signers) == 0:
		a.Refused = "nobody has checked it"
	case len(a.SignedBy) == 0:
		a.Refused = why
	}
	if len(a.statement.Predicate) > limit.Predicate {
		a.statement.Predicate = nil // callers do not need long predicates, such as bills of materials
	}
	return a, nil
}

// VerificationSummary reads a verification summary. If the attestation is not a verification
// summary, it returns nil.
func (a *Attestation) VerificationSummary() (*VerificationSummary, error) {
	switch {
	case a.PredicateType != VerificationSummaryType || a.statement == nil:
		return nil, nil
	case a.statement.Predicate == nil:
		return nil, fmt.Errorf("not a verification summary: more than %d bytes", limit.Predicate)
	}
	return ParseVerificationSummary(a.statement.Predicate)
}

const attestationSuffix = ".att"

// taggedEnvelopes checks the envelopes that cosign 2 stores under a tag.
func taggedEnvelopes(ctx context.Context, src oci.Reader, subject digest.Digest, signers []Signer) (all []Attestation, err error) {
	b, m, err := taggedManifest(ctx, src, cosignTag(subject, attestationSuffix))
	if err != nil {
		return nil, err
	}
	left := int64(limit.Artifact)
	for _, l := range m.Layers {
		if l.MediaType != envelopeType {
			continue
		}
		data, err := readEnvelope(ctx, src, l, min(left, limit.Bundle))
		left -= int64(len(data))
		a, err := examine(subject, signers, err, func() (*envelope, error) { return parseEnvelope(data, l.Annotations) })
		if err != nil {
			return nil, err
		}
		a.Attached, a.Content, a.ArtifactType = b.Descriptor.Digest, l.Digest, l.MediaType
		all = append(all, *a)
	}
	return all, nil
}

func readEnvelope(ctx context.Context, src oci.Reader, l ocispec.Descriptor, most int64) ([]byte, error) {
	if l.Size > most {
		return nil, oci.ContentErrorf("the envelope has %d bytes, at most %d are read", l.Size, most)
	}
	return readBlob(ctx, src, l)
}
