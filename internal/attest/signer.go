package attest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"github.com/nixoci/nixoci/internal/keyless"
)

// Signer describes a person or machine whose signatures count. Either Key is set, or Identity for a
// signer with certificates.
type Signer struct {
	Name     string // name in reports
	Key      *PublicKey
	Identity *Identity
}

// Identity describes a signer who signs with short-lived certificates. An authority that Root lists
// must have issued the certificates.
type Identity struct {
	*keyless.Identity
	Root *keyless.TrustRoot
}

// ID identifies the signer. Two signers with the same ID are the same signer. The ID of an identity
// depends on its trust root, because a certificate can count for one trust root and not for another.
func (s Signer) ID() string {
	if s.Identity != nil {
		return "identity " + s.Identity.String() + " " + s.Identity.Root.Digest().String()
	}
	return s.Key.ID()
}

// FlagFor returns the flag with which nixoci verify checks a signature. certified is the name in the
// certificate of the signature, or "" if the signature has no certificate.
func FlagFor(certified string) string {
	if certified == "" {
		return "--key"
	}
	return "--identity"
}

// DistinctSigners removes duplicate signers. If a signer has several names, its name in the result
// lists all of them.
func DistinctSigners(signers []Signer) (distinct []Signer) {
	names := map[string][]string{}
	for _, s := range signers {
		id := s.ID()
		if names[id] == nil {
			distinct = append(distinct, s)
		}
		if !slices.Contains(names[id], s.Name) {
			names[id] = append(names[id], s.Name)
		}
	}
	for n := range distinct {
		if also := names[distinct[n].ID()][1:]; len(also) > 0 {
			distinct[n].Name += " (also " + strings.Join(also, ", ") + ")"
		}
	}
	return distinct
}

// CommonSigners returns the elements of signers that are also in wanted. Their names come from
// signers.
func CommonSigners(signers, wanted []Signer) (common []Signer) {
	for _, s := range signers {
		if slices.ContainsFunc(wanted, func(w Signer) bool { return w.ID() == s.ID() }) {
			common = append(common, s)
		}
	}
	return common
}

// SignerNames returns the names of signers.
func SignerNames(signers []Signer) (names []string) {
	for _, s := range signers {
		names = append(names, s.Name)
	}
	return names
}

// certifiedBy returns the signers whose identities match the certificate of b.
// [keyless.TrustRoot.Check] checks the certificate and the signature first. If no identity matches,
// why contains the reason.
func certifiedBy(b *bundlev1.Bundle, artifact []byte, signers []Signer) (by []Signer, why string) {
	type result struct {
		who *keyless.Certified
		err error
	}
	checked := map[*keyless.TrustRoot]result{}
	for _, s := range signers {
		if s.Identity == nil {
			continue
		}
		r, again := checked[s.Identity.Root]
		if !again {
			r.who, r.err = s.Identity.Root.Check(b, artifact)
			checked[s.Identity.Root] = r
		}
		switch {
		case r.err != nil:
			why = fmt.Sprintf("signed with a certificate of %s, which does not count: %v", nameOf(keyless.Certificate(b)), r.err)
		case s.Identity.Matches(r.who.Subject, r.who.Issuer):
			by = append(by, s.as(r.who.Subject))
		case s.Identity.Matches(r.who.Subject, s.Identity.Issuer):
			why = fmt.Sprintf("signed by %s, but the issuer is %s, and not %s", r.who.Subject, r.who.Issuer, s.Identity.Issuer)
		case why == "":
			why = fmt.Sprintf("signed by %s, who is not a given identity", r.who.Subject)
		}
	}
	return by, why
}

// as returns s with a name that contains the subject of the certificate, because one identity can
// match many subjects.
func (s Signer) as(subject string) Signer {
	switch s.Name {
	case subject:
	case s.Identity.Subject:
		s.Name = subject
	default:
		s.Name += " (" + subject + ")"
	}
	return s
}

// payloadBundle makes a bundle from a signature that cosign stores under its .sig tag. sig is the
// signature of payload. If annotations contain no certificate, payloadBundle returns nil.
func payloadBundle(annotations map[string]string, payload, sig []byte) (*bundlev1.Bundle, error) {
	b, err := keyless.FromAnnotations(annotations)
	if b == nil || err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	b.Content = &bundlev1.Bundle_MessageSignature{MessageSignature: &commonv1.MessageSignature{
		MessageDigest: &commonv1.HashOutput{Algorithm: commonv1.HashAlgorithm_SHA2_256, Digest: sum[:]}, Signature: sig}}
	return b, nil
}
