package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// Values of a verification summary (SLSA, "Verification Summary Attestation" v1).
const (
	Passed = "PASSED"
	Failed = "FAILED"

	// LevelRebuilt in verifiedLevels means that the verifier made the subjects again
	// from its own closure. SLSA's own levels begin with SLSA_.
	LevelRebuilt = "NIXOCI_REBUILT"

	// RebuildPolicy is the policy of a verification without a policy file.
	RebuildPolicy = "https://github.com/nixoci/nixoci/blob/main/docs/rebuilders.md#what-is-verified"

	slsaVersion = "1.1"
)

// Summary is the predicate of a verification summary. It states who has verified an
// image, and with what result.
type Summary struct {
	Verifier          Verifier   `json:"verifier"`
	TimeVerified      time.Time  `json:"timeVerified"`
	ResourceURI       string     `json:"resourceUri"`
	Policy            Resource   `json:"policy"`
	InputAttestations []Resource `json:"inputAttestations,omitempty"`
	Result            string     `json:"verificationResult"` // Passed or Failed
	Levels            []string   `json:"verifiedLevels"`
	SLSAVersion       string     `json:"slsaVersion,omitempty"`
}

// Verifier is who has verified an image.
type Verifier struct {
	ID string `json:"id"` // URI
}

// Resource is something that a summary refers to.
type Resource struct {
	URI    string           `json:"uri,omitempty"`
	Digest common.DigestSet `json:"digest,omitempty"`
}

// NewResource returns the resource with this URI and digest.
func NewResource(uri string, d digest.Digest) Resource {
	return Resource{URI: uri, Digest: common.DigestSet{d.Algorithm().String(): d.Encoded()}}
}

// Rebuilt reports whether the verifier made the image again.
func (s *Summary) Rebuilt() bool {
	return s.Result == Passed && slices.Contains(s.Levels, LevelRebuilt)
}

// String states who has verified an image, when, and with what result.
func (s *Summary) String() string {
	return fmt.Sprintf("%s on %s by %s", s.Result, s.TimeVerified.Format(time.RFC3339), s.Verifier.ID)
}

// ParseSummary reads the predicate of a verification summary, of any tool.
func ParseSummary(predicate json.RawMessage) (*Summary, error) {
	fail := func(format string, args ...any) (*Summary, error) {
		return nil, fmt.Errorf("not a verification summary: "+format, args...)
	}
	if len(predicate) > limit.Predicate {
		return fail("it has %d bytes, at most %d are read", len(predicate), limit.Predicate)
	}
	s := new(Summary)
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
		return fail("verificationResult is %s, and a level is %s", Passed, Failed)
	}
	s.TimeVerified = s.TimeVerified.UTC()
	if y := s.TimeVerified.Year(); y < 1970 || y > 9999 {
		return fail("timeVerified is in the year %d", y)
	}
	return s, nil
}

// AttachSummary signs the summary s of the verification of subjects in the repository
// name, and attaches it to one of them in repo, which may be another repository. It
// returns the manifest that attaches it, and whether it was attached already.
func AttachSummary(ctx context.Context, repo *registry.Repository, to ocispec.Descriptor, name string, subjects []digest.Digest, s *Summary, key *PrivateKey) (d digest.Digest, already bool, err error) {
	sealed, err := SealSummary(name, subjects, s, key)
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

// SealSummary signs the summary s of the verification of subjects, in the repository
// name.
func SealSummary(name string, subjects []digest.Digest, s *Summary, key *PrivateKey) (oci.Artifact, error) {
	about := make([]statementSubject, len(subjects))
	for n, d := range subjects {
		about[n] = newSubject(name, d)
	}
	signed := *s
	signed.SLSAVersion = slsaVersion
	signed.TimeVerified = s.TimeVerified.UTC().Truncate(time.Second)
	data, err := statementOf(SummaryType, signed, about...)
	if err != nil {
		return oci.Artifact{}, err
	}
	return Seal(data, key)
}

// HashURI names something by its SHA-256 (RFC 6920). For a public key, that is the
// hash of its DER form.
func HashURI(sum []byte) string {
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(sum)
}

// URI names the key by its hash.
func (k *PrivateKey) URI() (string, error) {
	id, err := k.hint()
	if err != nil {
		return "", err
	}
	sum, err := decodeBase64(id)
	return HashURI(sum), err
}

// ImageURI is the package URL of the images of a repository, such as
// pkg:oci/web?repository_url=ghcr.io/org/web.
func ImageURI(repository string) string {
	q := packageurl.Qualifiers{{Key: "repository_url", Value: repository}}
	return packageurl.NewPackageURL("oci", "", strings.ToLower(path.Base(repository)), "", q, "").ToString()
}

// AttachedURI is where the document is that the manifest d of a repository attaches.
func AttachedURI(repository string, d digest.Digest) string {
	return "oci://" + repository + "@" + d.String()
}
