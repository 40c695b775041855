package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// These are values in a verification summary (SLSA, "Verification Summary Attestation" v1).
const (
	Passed = "PASSED"
	Failed = "FAILED"

	// LevelRebuilt in verifiedLevels means that the verifier made the subjects again from its own
	// closure. SLSA's own levels begin with SLSA_.
	LevelRebuilt = "NIXOCI_REBUILT"

	// RebuildPolicy is the policy in the summary of a verification without a policy file.
	RebuildPolicy = "https://github.com/nixoci/nixoci/blob/main/docs/rebuilders.md#what-is-verified"

	slsaVersion = "1.1"
)

// VerificationSummary is the predicate of a verification summary. It states who verified an image,
// and the result.
type VerificationSummary struct {
	Verifier          Verifier   `json:"verifier"`
	TimeVerified      time.Time  `json:"timeVerified"`
	ResourceURI       string     `json:"resourceUri"`
	Policy            Resource   `json:"policy"`
	InputAttestations []Resource `json:"inputAttestations,omitempty"`
	Result            string     `json:"verificationResult"` // Passed or Failed
	Levels            []string   `json:"verifiedLevels"`
	SLSAVersion       string     `json:"slsaVersion,omitempty"`
}

// Verifier names the person or machine that verified an image.
type Verifier struct {
	ID string `json:"id"` // a URI
}

// Resource names a document or image to which a summary refers.
type Resource struct {
	URI    string           `json:"uri,omitempty"`
	Digest common.DigestSet `json:"digest,omitempty"`
}

// NewResource returns the resource with this URI and digest.
func NewResource(uri string, d digest.Digest) Resource {
	return Resource{URI: uri, Digest: common.DigestSet{d.Algorithm().String(): d.Encoded()}}
}

// Rebuilt reports whether, according to the summary, the verifier made the image again.
func (s *VerificationSummary) Rebuilt() bool {
	return s.Result == Passed && slices.Contains(s.Levels, LevelRebuilt)
}

// String returns a text that names the verifier, the time and the result.
func (s *VerificationSummary) String() string {
	return fmt.Sprintf("%s on %s by %s", s.Result, s.TimeVerified.Format(time.RFC3339), s.Verifier.ID)
}

// ParseVerificationSummary reads the predicate of a verification summary. Any tool may have written
// it.
func ParseVerificationSummary(predicate json.RawMessage) (*VerificationSummary, error) {
	fail := func(format string, args ...any) (*VerificationSummary, error) {
		return nil, fmt.Errorf("not a verification summary: "+format, args...)
	}
	if len(predicate) > limit.Predicate {
		return fail("it has %d bytes, at most %d are read", len(predicate), limit.Predicate)
	}
	s := new(VerificationSummary)
	if err := json.Unmarshal(predicate, s); err != nil {
		return fail("%w", err)
	}
	switch {
	case s.Verifier.ID == "":
		return fail("it has no verifier.id")
	case s.TimeVerified.IsZero():
		return fail("it has no timeVerified")
	case s.ResourceURI == "":
		return fail("it has no resourceUri")
	case s.Policy.URI == "":
		return fail("it has no policy.uri")
	case s.Result != Passed && s.Result != Failed:
		return fail("verificationResult is %q, not %s or %s", s.Result, Passed, Failed)
	case s.Result == Passed && slices.Contains(s.Levels, Failed):
		return fail("verificationResult is %s, but verifiedLevels contains %s", Passed, Failed)
	}
	s.TimeVerified = s.TimeVerified.UTC()
	if y := s.TimeVerified.Year(); y < 1970 || y > 9999 {
		return fail("timeVerified is in the year %d", y)
	}
	return s, nil
}

// AttachVerificationSummary signs the summary s about subjects, which are in the repository name.
// It attaches the signed summary in repo to the manifest or index to, which is one of subjects.
// repo may be another repository. AttachVerificationSummary returns the digest of the manifest that
// attaches the summary. already reports whether the same summary was attached before.
func AttachVerificationSummary(ctx context.Context, repo *registry.Repository, to ocispec.Descriptor, name string, subjects []digest.Digest, s *VerificationSummary, by Author) (d digest.Digest, already bool, err error) {
	sealed, err := SealVerificationSummary(ctx, name, subjects, s, by)
	if err != nil {
		return "", false, err
	}
	before, err := repo.Referrers(ctx, to.Digest)
	if err != nil {
		return "", false, err
	}
	attached, err := repo.Attach(ctx, to, []oci.Artifact{sealed})
	if err != nil {
		return "", false, err
	}
	d = attached[0].Digest
	return d, slices.ContainsFunc(before, func(b ocispec.Descriptor) bool { return b.Digest == d }), nil
}

// SealVerificationSummary signs the summary s about subjects, which are in the repository name.
func SealVerificationSummary(ctx context.Context, name string, subjects []digest.Digest, s *VerificationSummary, by Author) (oci.Artifact, error) {
	about := make([]statementSubject, len(subjects))
	for n, d := range subjects {
		about[n] = newSubject(name, d)
	}
	signed := *s
	signed.SLSAVersion = slsaVersion
	signed.TimeVerified = s.TimeVerified.UTC().Truncate(time.Second)
	data, err := statementOf(VerificationSummaryType, signed, about...)
	if err != nil {
		return oci.Artifact{}, err
	}
	return Seal(ctx, data, by)
}

// HashURI returns the name of a file or key by its SHA-256 (RFC 6920). For a public key, sum is the
// hash of its DER form.
func HashURI(sum []byte) string {
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(sum)
}

// URI returns the name of the key by its hash.
func (k *PrivateKey) URI() (string, error) {
	id, err := k.hint()
	if err != nil {
		return "", err
	}
	sum, err := decodeBase64(id)
	return HashURI(sum), err
}

// AuthorURI returns a URI that names an author: the hash of a key, or the identity in a
// certificate. For an email address, the URI begins with mailto:.
func AuthorURI(ctx context.Context, by Author) (string, error) {
	switch by := by.(type) {
	case *PrivateKey:
		return by.URI()
	case *keyless.Signer:
		subject, _, err := by.Certified(ctx)
		if u, bad := url.Parse(subject); err == nil && (bad != nil || u.Scheme == "") {
			subject = "mailto:" + subject
		}
		return subject, err
	}
	return "", fmt.Errorf("an author of type %T has no name", by)
}

// ImageURI returns the package URL of the images in a repository, such as
// pkg:oci/web?repository_url=ghcr.io/org/web.
func ImageURI(repository string) string {
	q := packageurl.Qualifiers{{Key: "repository_url", Value: repository}}
	return packageurl.NewPackageURL("oci", "", strings.ToLower(path.Base(repository)), "", q, "").ToString()
}

// AttachedURI returns the address of the document that manifest d of a repository attaches.
func AttachedURI(repository string, d digest.Digest) string {
	return "oci://" + repository + "@" + d.String()
}
