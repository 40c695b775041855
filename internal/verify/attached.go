package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/human"
)

// attachments holds the documents attached to the image, and the findings about these documents.
type attachments struct {
	all      []attachedTo
	attested []attestedBy // who has signed the required statements, one element for each
	rebuilt  []RebuilderReport
	inputs   []Input // required documents on which the result depends
	findings []Finding
}

// attachedTo lists the documents attached to one manifest or index.
type attachedTo struct {
	platform  string // "" for the manifest or index that the reference names
	digest    digest.Digest
	documents []attest.Attestation
}

// attestedBy names the signers of the required statements of one type.
type attestedBy struct {
	predicateType string
	signers       []attest.Signer
}

// AttachedDocument is a document that is attached to the image, for the report.
type AttachedDocument struct {
	Platform      string        `json:"platform,omitempty"` // "" if the document is attached to the manifest or index that the reference names
	Digest        digest.Digest `json:"digest"`             // digest of the manifest that attaches it
	ArtifactType  string        `json:"artifactType"`
	PredicateType string        `json:"predicateType,omitempty"`
	Signed        bool          `json:"signed"`
	Signer        string        `json:"signer,omitempty"`   // name in the signer's certificate, which nobody has checked
	SignedBy      []string      `json:"signedBy,omitempty"` // names of the given keys that have signed the document
	Refused       string        `json:"refused,omitempty"`  // reason why the document proves nothing

	Summary *attest.VerificationSummary `json:"summary,omitempty"` // content of a verification summary
}

func (r *results) attachedFindings() []Finding {
	if r.attached == nil {
		return nil
	}
	return r.attached.findings
}

// readAttached reads the documents that are attached to the image and to its platforms. It then
// checks whether they meet the requirements in Options.
func (v *verification) readAttached(ctx context.Context, docs *documents) (*attachments, error) {
	a := &attachments{}
	switch {
	case v.noManifest && len(v.o.Attestations)+len(v.o.Rebuilders) > 0:
		a.findings = []Finding{Finding{}.of(CheckSignedBy, "nothing is attached: a docker-archive has no attached documents")}
		return a, nil
	case v.noManifest || docs.top.Descriptor.Digest == "":
		return a, nil
	}
	subjects := []attachedTo{{digest: docs.top.Descriptor.Digest}}
	if docs.index != nil {
		for _, d := range docs.images {
			subjects = append(subjects, attachedTo{platform: d.platform, digest: d.blob.Descriptor.Digest})
		}
	}
	for _, s := range subjects {
		if s.digest == "" {
			continue
		}
		for _, where := range append([]Elsewhere{{Reader: v.src}}, v.o.Elsewhere...) {
			docs, err := v.documentsAt(ctx, where, s.digest)
			if err != nil {
				return nil, err
			}
			s.documents = append(s.documents, docs...)
		}
		a.all = append(a.all, s)
	}
	for _, want := range v.o.Signatures {
		a.inputs = append(a.inputs, a.signatures(want.Signers)...)
	}
	for _, want := range v.o.Attestations {
		by, found := a.check(want, v.o.now())
		if len(found) == 0 {
			a.inputs = append(a.inputs, a.used(want, v.o.now())...)
		}
		a.findings = append(a.findings, requiredBy(want.Policy, found)...)
		if len(found) == 0 {
			a.attested = append(a.attested, attestedBy{want.Type, by})
		}
	}
	for _, want := range v.o.Rebuilders {
		t := a.tally(want, v.o.now())
		a.rebuilt = append(a.rebuilt, t.reports...)
		a.inputs = append(a.inputs, t.inputs...)
		a.findings = append(a.findings, requiredBy(want.Policy, t.findings(want, a.all[0].digest))...)
	}
	return a, nil
}

// documentsAt reads the documents about the manifest or index d in one repository.
func (v *verification) documentsAt(ctx context.Context, where Elsewhere, d digest.Digest) ([]attest.Attestation, error) {
	docs, err := attest.Attestations(ctx, where.Reader, d, v.known)
	if what, bad := contentFinding(err); bad {
		docs, err = []attest.Attestation{{Refused: what}}, nil
	}
	for n := range docs {
		docs[n].Repository = where.Name
	}
	return docs, err
}

// check returns the signers of the statements that want requires. One statement about
// the whole image is enough, or one about each platform. If a statement is missing, check returns
// findings with the reasons.
func (a *attachments) check(want RequiredAttestation, now time.Time) (by []attest.Signer, found []Finding) {
	for n, s := range a.all {
		signers := s.signers(want, now)
		by = attest.DistinctSigners(append(by, signers...))
		switch {
		case len(signers) > 0 && n == 0:
			return by, nil // this statement is about the whole image
		case len(signers) == 0 && (n > 0 || len(a.all) == 1):
			why := a.all[0].reasons(want, now)
			if n > 0 {
				why = append(why, s.reasons(want, now)...)
			}
			found = append(found, Finding{Platform: s.platform, Digest: s.digest}.of(CheckSignedBy, "no attestation %s by %s%s",
				want.Type, strings.Join(attest.SignerNames(want.Signers), " or "), inBrackets(why)))
		}
	}
	return by, found
}

// signers returns the signers of all statements that satisfy want.
func (s *attachedTo) signers(want RequiredAttestation, now time.Time) (by []attest.Signer) {
	for n := range s.documents {
		d := &s.documents[n]
		if d.PredicateType != want.Type || want.unmet(d, now) != "" {
			continue
		}
		for _, signer := range d.TrustedBy(want.Signers) {
			if !s.failedSince(d, signer) {
				by = append(by, signer)
			}
		}
	}
	return by
}

// failedSince reports whether signer has signed a verification summary with the result FAILED that is
// not older than the summary d.
func (s *attachedTo) failedSince(d *attest.Attestation, signer attest.Signer) bool {
	passed, err := d.VerificationSummary()
	if passed == nil || err != nil {
		return false // d is not a verification summary
	}
	return slices.ContainsFunc(s.documents, func(other attest.Attestation) bool {
		if len(other.TrustedBy([]attest.Signer{signer})) == 0 {
			return false
		}
		failed, err := other.VerificationSummary()
		return err == nil && failed != nil && failed.Result == attest.Failed && !failed.TimeVerified.Before(passed.TimeVerified)
	})
}

// unmet returns why the content of d does not satisfy want. If it satisfies want, unmet returns "".
// A verification summary must have the result PASSED.
func (want *RequiredAttestation) unmet(d *attest.Attestation, now time.Time) string {
	switch summary, err := d.VerificationSummary(); {
	case err != nil:
		return err.Error()
	case summary != nil && summary.Result != attest.Passed:
		return "it reports " + summary.String()
	}
	return want.tooOld(d, now)
}

// tooOld returns why the age of d does not satisfy want. If it satisfies want, tooOld returns "".
func (want *RequiredAttestation) tooOld(d *attest.Attestation, now time.Time) string {
	if want.MaxAge == 0 {
		return ""
	}
	t, err := d.Time()
	if err != nil {
		return fmt.Sprintf("%v, and it must not be older than %s", err, human.Age(want.MaxAge))
	}
	return notOfAge(t, want.MaxAge, now)
}

// notOfAge returns why a statement with the time t is not accepted, or "" if it is accepted. If
// maxAge is 0, a statement may have any age, but its time must not be in the future.
func notOfAge(t time.Time, maxAge time.Duration, now time.Time) string {
	switch age := now.Sub(t); {
	case age < -maxClockSkew:
		return fmt.Sprintf("it is of %s, which is in the future", t.Format(time.RFC3339))
	case maxAge > 0 && age > maxAge:
		return fmt.Sprintf("it is of %s, more than %s ago", t.Format(time.RFC3339), human.Age(maxAge))
	}
	return ""
}

// inBrackets joins the first three reasons, in brackets. If there are no reasons, it returns "".
func inBrackets(why []string) string {
	if len(why) == 0 {
		return ""
	}
	const most = 3
	if more := len(why) - most; more > 0 {
		why = append(why[:most], fmt.Sprintf("and %d more", more))
	}
	return " (" + strings.Join(why, "; ") + ")"
}

// used returns the signed statements that satisfy want.
func (a *attachments) used(want RequiredAttestation, now time.Time) (all []Input) {
	for _, s := range a.all {
		for n := range s.documents {
			if d := &s.documents[n]; d.PredicateType == want.Type && want.unmet(d, now) == "" && len(d.TrustedBy(want.Signers)) > 0 {
				all = append(all, inputOf(d))
			}
		}
	}
	return all
}

// signatures returns the bundles in which one of signers has signed the image.
func (a *attachments) signatures(signers []attest.Signer) (all []Input) {
	for n := range a.all[0].documents {
		if d := &a.all[0].documents[n]; d.IsSignature() && len(d.TrustedBy(signers)) > 0 {
			all = append(all, inputOf(d))
		}
	}
	return all
}

// reasons returns why the attached documents do not satisfy want.
func (s *attachedTo) reasons(want RequiredAttestation, now time.Time) (why []string) {
	for n := range s.documents {
		d := &s.documents[n]
		unreadable := d.PredicateType == "" && (d.Signed || attest.IsBundle(d.ArtifactType))
		reason := ""
		switch {
		case (d.PredicateType == want.Type || unreadable) && d.Refused != "":
			reason = d.Refused
		case d.PredicateType == want.Type && len(d.TrustedBy(want.Signers)) > 0:
			if reason = want.unmet(d, now); reason == "" {
				reason = "a later one reports FAILED"
			}
		case d.PredicateType == want.Type:
			reason = "signed by " + strings.Join(attest.SignerNames(d.SignedBy), ", ")
		case len(d.TrustedBy(want.Signers)) > 0:
			reason = "it is " + d.PredicateType
		default:
			continue
		}
		why = append(why, human.Digest(d.Attached.String())+": "+reason)
	}
	return why
}

// documents returns the attached documents in the form that the report needs.
func (a *attachments) documents() (all []AttachedDocument) {
	if a == nil {
		return nil
	}
	for _, s := range a.all {
		for _, d := range s.documents {
			if d.IsSignature() {
				continue // the report has a separate line for each signature
			}
			refused := d.Refused
			if !d.Signed && !attest.IsBundle(d.ArtifactType) {
				refused = "" // an unsigned document does not claim to prove anything
			}
			summary, err := d.VerificationSummary()
			if err != nil && refused == "" {
				refused = err.Error()
			}
			all = append(all, AttachedDocument{Platform: s.platform, Digest: d.Attached, ArtifactType: d.ArtifactType, PredicateType: d.PredicateType,
				Signed: d.Signed, Signer: d.Signer, SignedBy: attest.SignerNames(d.SignedBy), Refused: refused, Summary: summary})
		}
	}
	return all
}

// text returns the report's line about the document, and the result of checking its signature.
// checked is true if the user gave keys.
func (d *AttachedDocument) text(checked bool) (Verdict, string) {
	what := d.ArtifactType
	if d.PredicateType != "" {
		what = d.PredicateType
	}
	if what == "" {
		what = "documents"
	}
	if d.Summary != nil {
		what = "verification summary"
	}
	if d.Platform != "" {
		what += " of " + d.Platform
	}
	if s := d.Summary; s != nil {
		what += ": " + s.String()
	}
	signer := "a key"
	if d.Signer != "" {
		signer = d.Signer
	}
	switch {
	case len(d.SignedBy) > 0 && d.Refused == "":
		return Holds, what + ", signed by " + strings.Join(d.SignedBy, ", ")
	case d.Signed && !checked:
		give := attest.FlagFor(d.Signer)
		switch name := attest.PredicateName(d.PredicateType); {
		case d.PredicateType == attest.VerificationSummaryType && d.Signer != "":
			give = "--policy"
		case d.PredicateType == attest.VerificationSummaryType:
			give = "--rebuilder-key"
		case d.PredicateType != "":
			give += " with --require-attestation " + cmp.Or(name, d.PredicateType)
		}
		return Unknown, what + ", signed by " + signer + "; not checked: give " + give
	case d.Refused != "" && len(d.SignedBy) > 0:
		return Unknown, what + ", signed by " + strings.Join(d.SignedBy, ", ") + ": " + d.Refused
	case d.Refused != "":
		return Unknown, what + ": " + d.Refused
	}
	return Without, what + ", not signed"
}
