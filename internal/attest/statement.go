package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
)

// These are types in in-toto statements (in-toto attestation framework, "Statement v1").
const (
	StatementType      = "application/vnd.in-toto+json" // artifact type, media type and payload type
	statementV1        = "https://in-toto.io/Statement/v1"
	statementPrefix    = "https://in-toto.io/Statement/v" // cosign also writes v0.1
	signPredicate      = "https://sigstore.dev/cosign/sign/v1"
	SPDXPredicate      = "https://spdx.dev/Document"
	CycloneDXPredicate = "https://cyclonedx.org/bom"
	OpenVEXPredicate   = "https://openvex.dev/ns" // github.com/openvex/spec, ATTESTING.md
	// ClosurePredicate is the predicate type of a signed closure statement.
	ClosurePredicate = "https://github.com/nixoci/nixoci/blob/main/docs/attestations.md#closure-statement"
	// VerificationSummaryType is the predicate type of a verification summary (SLSA VSA v1).
	VerificationSummaryType = "https://slsa.dev/verification_summary/v1"
	// PredicateTypeKey is the name of an annotation that contains the predicate type. With it,
	// tools need not read the statement. BuildKit chose the name.
	PredicateTypeKey = "in-toto.io/predicate-type"
)

// predicateTypes maps the short names of cosign's --type to predicate types.
var predicateTypes = map[string]string{
	"closure":          ClosurePredicate,
	"provenance":       ProvenanceType,
	"slsaprovenance1":  ProvenanceType,
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"spdx":             SPDXPredicate,
	"spdxjson":         SPDXPredicate,
	"sbom":             SPDXPredicate,
	"cyclonedx":        CycloneDXPredicate,
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
	"openvex":          OpenVEXPredicate,
	"link":             "https://in-toto.io/Link/v1",
	"vsa":              VerificationSummaryType,
}

// PredicateType returns the predicate type for name. name is one of cosign's short names, or the
// URI itself.
func PredicateType(name string) (string, error) {
	if t, ok := predicateTypes[name]; ok {
		return t, nil
	}
	if u, err := url.Parse(name); err != nil || u.Scheme == "" || u.Host == "" {
		return "", fmt.Errorf("%q is neither a known type nor a URI", name)
	}
	return name, nil
}

// PredicateName returns the shortest name of a predicate type. If the type has no name, it returns
// "".
func PredicateName(predicateType string) (name string) {
	for _, n := range PredicateNames() {
		if predicateTypes[n] == predicateType && (name == "" || len(n) < len(name)) {
			name = n
		}
	}
	return name
}

// CheckPredicate checks the predicate of a statement before it is signed. The predicate must be a
// JSON object. A verification summary must be in the form that nixoci verify reads.
func CheckPredicate(predicateType string, data []byte) error {
	var object map[string]json.RawMessage
	switch {
	case !json.Valid(data):
		return errors.New("it is not JSON")
	case json.Unmarshal(data, &object) != nil || object == nil:
		return errors.New("it is not a JSON object, {…}")
	case predicateType == VerificationSummaryType:
		_, err := ParseVerificationSummary(data)
		return err
	}
	return nil
}

// PredicateNames returns the short names of all predicate types, sorted.
func PredicateNames() []string { return slices.Sorted(maps.Keys(predicateTypes)) }

// statement is an in-toto statement. The in-toto project's own Go type is a protocol buffer, and
// the JSON of protocol buffers differs from build to build on purpose.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     any                `json:"predicate"`
}

type statementSubject struct {
	Name   string           `json:"name"`
	Digest common.DigestSet `json:"digest"`
}

// Statement writes an in-toto statement with the given predicate. The statement is about the
// manifest or index subject in the repository name.
func Statement(name string, subject digest.Digest, predicateType string, predicate any) ([]byte, error) {
	return statementOf(predicateType, predicate, newSubject(name, subject))
}

func newSubject(name string, d digest.Digest) statementSubject {
	return statementSubject{Name: name, Digest: common.DigestSet{d.Algorithm().String(): d.Encoded()}}
}

func statementOf(predicateType string, predicate any, subjects ...statementSubject) ([]byte, error) {
	data, err := oci.Marshal(statement{Type: statementV1, Subject: subjects, PredicateType: predicateType, Predicate: predicate})
	if err != nil {
		return nil, fmt.Errorf("write statement %s: %w", predicateType, err)
	}
	return data, nil
}

// signedStatement contains the fields of an in-toto statement that nixoci reads.
type signedStatement struct {
	Type          string          `json:"_type"`
	Subject       subjects        `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// subjects is the list of subjects in a statement that nixoci reads.
type subjects []struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// UnmarshalJSON refuses a list of more than limit.Subjects bytes, because a list needs much more memory
// than its JSON.
func (s *subjects) UnmarshalJSON(data []byte) error {
	if len(data) > limit.Subjects {
		return fmt.Errorf("the list of subjects has %d bytes, at most %d are read", len(data), limit.Subjects)
	}
	type plain subjects
	return json.Unmarshal(data, (*plain)(s))
}

// parseStatement reads the payload of an envelope.
func parseStatement(payload []byte) (*signedStatement, error) {
	s := new(signedStatement)
	if err := json.Unmarshal(payload, s); err != nil {
		return nil, fmt.Errorf("the payload is not an in-toto statement: %w", err)
	}
	switch {
	case !strings.HasPrefix(s.Type, statementPrefix):
		return nil, fmt.Errorf("the payload is %q, not an in-toto statement", s.Type)
	case s.PredicateType == "":
		return nil, errors.New("the statement has no predicate type")
	case len(s.digests()) == 0:
		return nil, errors.New("the statement names no subject with a sha256 digest")
	}
	return s, nil
}

// digests returns the sha256 digests of the statement's subjects.
func (s *signedStatement) digests() (all []digest.Digest) {
	for _, sub := range s.Subject {
		d := digest.NewDigestFromEncoded(digest.SHA256, sub.Digest[digest.SHA256.String()])
		if d.Validate() == nil {
			all = append(all, d)
		}
	}
	return all
}
