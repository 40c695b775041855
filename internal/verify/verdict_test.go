package verify

import (
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/attest"
)

// TestVerdict checks the last line of the report.
func TestVerdict(t *testing.T) {
	anna, ben := newPerson(t, "anna.pub"), newPerson(t, "ben.pub")
	says := func(p person, name, result string) RebuilderReport {
		return RebuilderReport{Name: name, Result: result, Time: &rebuiltAt, key: p.named.Key.ID()}
	}
	for _, tt := range []struct {
		name string
		edit func(r *Report)
		want string
	}{
		{"no closure", func(r *Report) { r.Platforms[0].Checks, r.Platforms[1].Checks = nil, nil }, NoOrigin},
		{"a closure", func(*Report) {}, "verified: the given closure makes it"},
		{"a closure of one platform", func(r *Report) { r.Platforms[1].Checks[2].Verdict = Without },
			"consistent; origin proved for linux/amd64 (the given closure); not for linux/arm64: no closure given"},
		{"everybody reports FAILED", func(r *Report) {
			r.Platforms[0].Checks, r.Platforms[1].Checks = nil, nil
			r.Rebuilders = []RebuilderReport{says(anna, "anna.pub", attest.Failed), says(ben, "ben.pub", attest.Failed)}
		}, "consistent; origin not proved: anna.pub and ben.pub report FAILED; " + howToProve},
		{"one reports FAILED, and the other nothing", func(r *Report) {
			r.Platforms[0].Checks, r.Platforms[1].Checks = nil, nil
			r.Rebuilders = []RebuilderReport{says(anna, "anna.pub", attest.Failed), says(ben, "ben.pub", "")}
		}, "consistent; origin not proved: anna.pub reports FAILED; " + howToProve},
		{"the policy and a flag name the same rebuilder", func(r *Report) {
			r.Platforms[0].Checks, r.Platforms[1].Checks = nil, nil
			r.Rebuilders = []RebuilderReport{says(anna, "anna.pub", attest.Passed), says(ben, "ben", attest.Failed), says(anna, "anna", attest.Passed), says(ben, "ben", attest.Failed)}
		}, "verified: anna.pub (also anna) has made the image again (ben: FAILED)"},
	} {
		r := remadeReport()
		tt.edit(r)
		r.Origin = r.origin()
		if got := r.verdict(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for _, way := range []string{"--key", "--policy", "--require-rebuilders", "--require-signatures", "CLOSURE"} {
		if !strings.Contains(NoOrigin, way) {
			t.Errorf("%s does not name %s", NoOrigin, way)
		}
	}
}

// TestPolicyLines checks that layers with the same fault share one line.
func TestPolicyLines(t *testing.T) {
	r := &Report{}
	for n := range 15 {
		r.Findings = append(r.Findings, Finding{Platform: "linux/amd64", Layer: n + 1, Digest: rebuiltAMD}.of(CheckPolicy, "its compression is gzip:9, the policy allows none"))
	}
	r.Findings = append(r.Findings, Finding{Platform: "linux/arm64", Layer: 1}.of(CheckPolicy, "its compression is gzip:9, the policy allows none"),
		Finding{Platform: "linux/amd64"}.of(CheckPolicy, "config: Env is A=b, which the policy does not allow"))
	lines := r.Lines()
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "the policy allows none; the same for 14 other layers") || strings.Contains(lines[1]+lines[2], "the same") {
		t.Errorf("%q", lines)
	}
}

// TestNotChecked checks that the line about an attached document names the flag that
// checks its signature.
func TestNotChecked(t *testing.T) {
	for predicate, want := range map[string]string{
		attest.VerificationSummaryType: "not checked: give --rebuilder-key",
		attest.SPDXPredicate:           "not checked: give --key with --require-attestation s",
		attest.ProvenanceType:          "not checked: give --key with --require-attestation provenance",
		"https://example.org/a":        "not checked: give --key with --require-attestation https://example.org/a",
		"":                             "not checked: give --key",
	} {
		d := AttachedDocument{ArtifactType: attest.BundleV03, PredicateType: predicate, Signed: true}
		if verdict, text := d.text(false); verdict != Unknown || !strings.Contains(text+"\n", want) || predicate == "" && !strings.HasSuffix(text, want) {
			t.Errorf("%s: %s", predicate, text)
		}
	}
}
