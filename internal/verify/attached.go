package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/attest"
)

// attachments are the documents attached to the image, and the findings about them.
type attachments struct {
	all      []attachedTo
	findings []Finding
}

// attachedTo lists the documents attached to one manifest or index.
type attachedTo struct {
	platform  string // "" if the reference names this manifest or index
	digest    digest.Digest
	documents []attest.Attestation
}

// AttachedDocument is a document that is attached to the image, for the report.
type AttachedDocument struct {
	Platform      string        `json:"platform,omitempty"` // "" if the document is about the whole image
	Digest        digest.Digest `json:"digest"`             // digest of the manifest that attaches it
	ArtifactType  string        `json:"artifactType"`
	PredicateType string        `json:"predicateType,omitempty"`
	Signed        bool          `json:"signed"`
	Signer        string        `json:"signer,omitempty"`   // name in its certificate, which nobody has checked
	SignedBy      []string      `json:"signedBy,omitempty"` // names of the given keys that have signed it
	Refused       string        `json:"refused,omitempty"`  // reason why it proves nothing
}

func (r *results) attachedFindings() []Finding {
	if r.attached == nil {
		return nil
	}
	return r.attached.findings
}

// readAttached reads what is attached to the image and to its platforms. It then looks
// for Options.Attestations.
func (v *verification) readAttached(ctx context.Context, docs *documents) (*attachments, error) {
	a := &attachments{}
	if v.noManifest || docs.top.Descriptor.Digest == "" {
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
		var err error
		s.documents, err = attest.Attestations(ctx, v.src, s.digest, v.o.Signers)
		if what, bad := contentFinding(err); bad {
			s.documents, err = []attest.Attestation{{Refused: what}}, nil
		}
		if err != nil {
			return nil, err
		}
		a.all = append(a.all, s)
	}
	for _, want := range v.o.Attestations {
		a.findings = append(a.findings, a.missing(want)...)
	}
	return a, nil
}

// missing returns findings if no given key has signed a statement of the predicate type
// want. One statement about the whole image is enough, or one about each platform.
func (a *attachments) missing(want string) (found []Finding) {
	for n, s := range a.all {
		if slices.ContainsFunc(s.documents, func(d attest.Attestation) bool { return d.PredicateType == want && d.Trusted() }) {
			if n == 0 {
				return nil
			}
			continue
		}
		if n > 0 || len(a.all) == 1 {
			why := a.all[0].reasons(want)
			if n > 0 {
				why = append(why, s.reasons(want)...)
			}
			found = append(found, Finding{Platform: s.platform, Digest: s.digest}.of(CheckSignedBy, "no attestation %s by a given key%s", want, inBrackets(why)))
		}
	}
	return found
}

// inBrackets joins the first three reasons, in brackets. It returns "" for none.
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

// reasons lists why the attached documents do not satisfy want.
func (s *attachedTo) reasons(want string) (why []string) {
	for _, d := range s.documents {
		unreadable := d.PredicateType == "" && (d.Signed || attest.IsBundle(d.ArtifactType))
		switch {
		case d.PredicateType == want, unreadable:
			why = append(why, fmt.Sprintf("%s: %s", shortDigest(d.Attached), d.Refused))
		case d.Trusted():
			why = append(why, fmt.Sprintf("%s: it is %s", shortDigest(d.Attached), d.PredicateType))
		}
	}
	return why
}

// shortDigest shortens a digest for display, as nixoci inspect does.
func shortDigest(d digest.Digest) string {
	const long = len("sha256:") + 12
	return string(d)[:min(long, len(d))]
}

// documents returns the attached documents for the report.
func (a *attachments) documents() (all []AttachedDocument) {
	if a == nil {
		return nil
	}
	for _, s := range a.all {
		for _, d := range s.documents {
			if d.IsSignature() {
				continue // the report has a separate line for signatures
			}
			refused := d.Refused
			if !d.Signed && !attest.IsBundle(d.ArtifactType) {
				refused = "" // an unsigned document does not claim to prove anything
			}
			all = append(all, AttachedDocument{Platform: s.platform, Digest: d.Attached, ArtifactType: d.ArtifactType, PredicateType: d.PredicateType,
				Signed: d.Signed, Signer: d.Signer, SignedBy: d.SignedBy, Refused: refused})
		}
	}
	return all
}

// text returns the line of the report for the document, and the result of checking its
// signature. checked means that keys were given.
func (d *AttachedDocument) text(checked bool) (Verdict, string) {
	what := d.ArtifactType
	if d.PredicateType != "" {
		what = d.PredicateType
	}
	if what == "" {
		what = "documents"
	}
	if d.Platform != "" {
		what += " of " + d.Platform
	}
	signer := "a key"
	if d.Signer != "" {
		signer = d.Signer
	}
	switch {
	case len(d.SignedBy) > 0 && d.Refused == "":
		return Holds, what + ", signed by " + strings.Join(d.SignedBy, ", ")
	case d.Signed && !checked:
		return Unknown, what + ", signed by " + signer + "; not checked: give --key"
	case d.Refused != "":
		return Unknown, what + ": " + d.Refused
	}
	return Without, what + ", not signed"
}
