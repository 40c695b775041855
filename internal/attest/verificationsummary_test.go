package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

func testSummary() VerificationSummary {
	return VerificationSummary{
		Verifier: Verifier{ID: "https://example.org/anna"}, TimeVerified: time.Date(2026, 1, 2, 3, 4, 5, 999, time.FixedZone("east", 3600)),
		ResourceURI: ImageURI("registry.example:5000/team/Web"), Policy: Resource{URI: RebuildPolicy},
		InputAttestations: []Resource{NewResource(AttachedURI("registry.example:5000/team/web", digest.FromString("m")), digest.FromString("d"))},
		Result:            Passed, Levels: []string{LevelRebuilt},
	}
}

// TestSummary checks that a summary has the form that SLSA and in-toto define. The Go types of
// these projects must read it without an unknown field.
func TestSummary(t *testing.T) {
	alice, public := keyPair(t)
	index, amd := digest.FromString("an index"), digest.FromString("a manifest")
	s := testSummary()
	sealed, err := SealVerificationSummary(t.Context(), "registry.example:5000/team/web", []digest.Digest{index, amd}, &s, alice)
	if err != nil {
		t.Fatal(err)
	}
	again, err := SealVerificationSummary(t.Context(), "registry.example:5000/team/web", []digest.Digest{index, amd}, &s, alice)
	if err != nil || !bytes.Equal(again.Data, sealed.Data) {
		t.Errorf("signed again: %v\n%s", err, again.Data)
	}
	e, err := parseBundle(sealed.Data)
	if err != nil {
		t.Fatal(err)
	}
	if by, _ := e.signedBy([]Signer{{Name: "alice", Key: public}}); len(by) != 1 {
		t.Error("alice has not signed it")
	}
	_, payload, _ := bytes.Cut(e.message, []byte(StatementType+" "))
	_, payload, _ = bytes.Cut(payload, []byte(" "))
	statement := new(intoto.Statement)
	if err := errors.Join(protojson.Unmarshal(payload, statement), statement.Validate()); err != nil {
		t.Fatalf("%v\n%s", err, payload)
	}
	if len(statement.Subject) != 2 || statement.Subject[1].Digest["sha256"] != amd.Encoded() || statement.PredicateType != VerificationSummaryType {
		t.Errorf("%v", statement)
	}
	got := new(vsa.VerificationSummary)
	if err := protojson.Unmarshal(e.statement.Predicate, got); err != nil {
		t.Fatalf("%v\n%s", err, e.statement.Predicate)
	}
	if got.Verifier.Id != "https://example.org/anna" || got.TimeVerified.AsTime() != time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC) ||
		got.ResourceUri != "pkg:oci/web?repository_url=registry.example:5000%2Fteam%2FWeb" || got.Policy.Uri != RebuildPolicy ||
		got.VerificationResult != "PASSED" || strings.Join(got.VerifiedLevels, "") != "NIXOCI_REBUILT" || got.SlsaVersion != "1.1" ||
		got.InputAttestations[0].Uri != "oci://registry.example:5000/team/web@"+digest.FromString("m").String() ||
		got.InputAttestations[0].Digest["sha256"] != digest.FromString("d").Encoded() {
		t.Errorf("%v", got)
	}
	if uri, err := alice.URI(); err != nil || !strings.HasPrefix(uri, "ni:///sha-256;") || len(uri) != len("ni:///sha-256;")+43 {
		t.Errorf("%s, %v", uri, err)
	}
}

// TestParseSummary checks that a summary with a missing or wrong field is refused, with the reason.
func TestParseSummary(t *testing.T) {
	good := `{"verifier":{"id":"https://example.org/v"},"timeVerified":"2026-01-02T03:04:05+01:00","resourceUri":"pkg:oci/web","policy":{"uri":"https://example.org/p"},"verificationResult":"PASSED","verifiedLevels":["NIXOCI_REBUILT"],"https://example.org/own":1}`
	s, err := ParseVerificationSummary([]byte(good))
	if err != nil || !s.Rebuilt() || s.String() != "PASSED on 2026-01-02T02:04:05Z by https://example.org/v" {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`"id":"https://example.org/v"`, ``, "no verifier.id"},
		{`"timeVerified":"2026-01-02T03:04:05+01:00",`, ``, "no timeVerified"},
		{`2026-01-02T03`, `yesterday`, "not a verification summary"},
		{`2026-01-02T03:04:05+01:00`, `9999-12-31T23:00:00-01:00`, "in the year 10000"},
		{`2026`, `1969`, "in the year 1969"},
		{`"2026-01-02T03:04:05+01:00"`, `1767319445`, "not a verification summary"},
		{`"resourceUri":"pkg:oci/web",`, ``, "no resourceUri"},
		{`"uri":"https://example.org/p"`, ``, "no policy.uri"},
		{`"PASSED"`, `"passed"`, `verificationResult is "passed"`},
		{`"PASSED"`, `true`, "not a verification summary"},
		{`"verificationResult":"PASSED",`, ``, `verificationResult is ""`},
		{`["NIXOCI_REBUILT"]`, `["FAILED"]`, "PASSED, but verifiedLevels contains FAILED"},
		{`["NIXOCI_REBUILT"]`, `"NIXOCI_REBUILT"`, "not a verification summary"},
		{`1}`, `1`, "not a verification summary"},
		{good, `[]`, "not a verification summary"},
		{good, `null`, "no verifier.id"},
	} {
		if _, err := ParseVerificationSummary([]byte(strings.Replace(good, tt.old, tt.new, 1))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s → %s: %v", tt.old, tt.new, err)
		}
	}
	for old, new := range map[string]string{`["NIXOCI_REBUILT"]`: `["SLSA_BUILD_LEVEL_3"]`, `,"verifiedLevels":["NIXOCI_REBUILT"]`: ``, `"PASSED"`: `"FAILED"`} {
		if s, err := ParseVerificationSummary([]byte(strings.Replace(good, old, new, 1))); err != nil || s.Rebuilt() {
			t.Errorf("%s → %s: %+v, %v", old, new, s, err)
		}
	}
}

// TestPredicateLength checks that nixoci reads a summary of the largest allowed length, and refuses
// a longer one.
func TestPredicateLength(t *testing.T) {
	alice, public := keyPair(t)
	image := digest.FromString("an image")
	short, err := json.Marshal(testSummary())
	if err != nil {
		t.Fatal(err)
	}
	limittest.Around(t, limit.Predicate, "more than 1048576 bytes", func(n int) error {
		const field = `,"https://example.org/pad":""}`
		padded := string(short[:len(short)-1]) + strings.Replace(field, `""`, `"`+strings.Repeat("x", n-len(short)-len(field)+1)+`"`, 1)
		if len(padded) != n {
			t.Fatalf("%d bytes instead of %d", len(padded), n)
		}
		statement, err := Statement("example.org/web", image, VerificationSummaryType, json.RawMessage(padded))
		if err != nil {
			return err
		}
		sealed, err := Seal(t.Context(), statement, alice)
		if err != nil {
			return err
		}
		a := attestedBy(t, image, sealed.Data, []Signer{{Name: "alice.pub", Key: public}})
		if !a.Trusted() {
			t.Errorf("%d bytes: %s", n, a.Refused)
		}
		_, err = a.VerificationSummary()
		return err
	})
	if _, err := ParseVerificationSummary(bytes.Repeat([]byte(" "), limit.Predicate+1)); err == nil || !strings.Contains(err.Error(), "at most 1048576 are read") {
		t.Error(err)
	}
}

// TestOtherSubject checks that a statement about another image proves nothing. Its signers must
// still be reported.
func TestOtherSubject(t *testing.T) {
	alice, public := keyPair(t)
	s := testSummary()
	sealed, err := SealVerificationSummary(t.Context(), "example.org/web", []digest.Digest{digest.FromString("another image")}, &s, alice)
	if err != nil {
		t.Fatal(err)
	}
	keys := []Signer{{Name: "alice.pub", Key: public}}
	a := attestedBy(t, digest.FromString("an image"), sealed.Data, keys)
	if a.Trusted() || a.TrustedBy(keys) != nil || len(a.SignedBy) != 1 || !strings.Contains(a.Refused, "it is about sha256:") {
		t.Errorf("%+v", a)
	}
}

// TestDistinctKeys checks that the same key in two files becomes one key with both names.
func TestDistinctKeys(t *testing.T) {
	_, alice := keyPair(t)
	_, bob := keyPair(t)
	keys := DistinctSigners([]Signer{{Name: "a", Key: alice}, {Name: "b", Key: bob}, {Name: "c", Key: alice}, {Name: "a", Key: alice}})
	if got := strings.Join(SignerNames(keys), "; "); got != "a (also c); b" {
		t.Error(got)
	}
	if got := SignerNames(CommonSigners(keys, []Signer{{Name: "x", Key: alice}})); len(got) != 1 || got[0] != "a (also c)" {
		t.Error(got)
	}
}

// TestCheckPredicate checks that a predicate of the wrong form is not signed.
func TestCheckPredicate(t *testing.T) {
	summary, err := json.Marshal(testSummary())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ predicateType, data, want string }{
		{OpenVEXPredicate, `{}`, ""},
		{OpenVEXPredicate, ` {"a": [1, null]} `, ""},
		{OpenVEXPredicate, `null`, "not a JSON object"},
		{OpenVEXPredicate, `[]`, "not a JSON object"},
		{OpenVEXPredicate, `"x"`, "not a JSON object"},
		{OpenVEXPredicate, `3`, "not a JSON object"},
		{OpenVEXPredicate, `{`, "not JSON"},
		{OpenVEXPredicate, ``, "not JSON"},
		{VerificationSummaryType, string(summary), ""},
		{VerificationSummaryType, `{}`, "no verifier.id"},
		{VerificationSummaryType, strings.Replace(string(summary), "PASSED", "MAYBE", 1), `verificationResult is "MAYBE"`},
	} {
		err := CheckPredicate(tt.predicateType, []byte(tt.data))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.data, err, tt.want)
		}
	}
}

// TestPredicateName checks that PredicateName reverses PredicateType: the name that it returns for a
// type must give this type again.
func TestPredicateName(t *testing.T) {
	for _, name := range PredicateNames() {
		predicateType, err := PredicateType(name)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := PredicateType(PredicateName(predicateType)); err != nil || again != predicateType {
			t.Errorf("%s: %s, %v", name, again, err)
		}
	}
	if name := PredicateName("https://example.org/other"); name != "" {
		t.Error(name)
	}
}
