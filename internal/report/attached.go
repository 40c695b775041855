package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
)

// Attached describes a document that is attached to an image.
type Attached struct {
	Descriptor ocispec.Descriptor  // descriptor of the document's manifest, with artifact type and annotations
	Data       []byte              // content of an in-toto statement; nil if the caller asked for no documents
	Unchecked  *attest.Attestation // content of a signed statement, not checked; nil if the caller asked for no documents
}

// readAttached lists the documents attached to subject. If o asks for documents, it also
// reads the in-toto statements. It passes a closure statement to the function complete and
// does not keep the statement, because a hostile registry can hold many large statements. For
// the same reason, all documents of an image together may have at most limit.Artifact bytes.
// readAttached leaves out documents beyond this limit, with a warning.
func readAttached(ctx context.Context, src *oci.OpenedImage, subject digest.Digest, o *ReadOptions, complete func([]byte) error) ([]Attached, error) {
	list, err := src.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	var all []Attached
	for _, d := range list {
		a := Attached{Descriptor: d}
		closure := d.ArtifactType == attest.ClosureType && complete != nil
		if o.Documents && (closure || d.ArtifactType == attest.StatementType || attest.IsBundle(d.ArtifactType)) {
			doc, err := oci.GetArtifactUpTo(ctx, src, subject, d, limit.Artifact-o.read)
			o.read += int64(len(doc.Data))
			var content *oci.ContentError
			switch {
			case errors.As(err, &content) || errors.Is(err, oci.ErrNotFound):
				o.warn(err)
			case err != nil:
				return nil, err
			case closure:
				if err := complete(doc.Data); err != nil {
					o.warn(fmt.Errorf("attached %s: %w", d.Digest, err))
				}
			case attest.IsBundle(d.ArtifactType):
				signed := attest.ReadBundle(subject, doc.Data)
				a.Unchecked = &signed
			default:
				a.Data = doc.Data
			}
		}
		all = append(all, a)
	}
	return all, nil
}

// complete adds the derivers and signatures of an attached closure statement to p.Closure.
// The layers of an image must not contain derivers and signatures.
func (p *ImagePlatform) complete(statement []byte) error {
	if p.Closure == nil {
		return nil
	}
	stated, _, err := attest.ParseClosure(statement)
	if err != nil {
		return err
	}
	c, err := attest.Complete(p.Closure, stated)
	if err == nil {
		p.Closure = c
	}
	return err
}

// AttachedDocument describes an attached document in the JSON output of inspect.
type AttachedDocument struct {
	ArtifactType string                      `json:"artifactType"`
	Digest       string                      `json:"digest"` // digest of the document's manifest
	Annotations  map[string]string           `json:"annotations,omitempty"`
	Statement    json.RawMessage             `json:"statement,omitempty"`     // content of an in-toto statement
	Predicate    string                      `json:"predicateType,omitempty"` // type of a signed statement's content
	Signer       string                      `json:"signer,omitempty"`        // the signer that the signature names, not checked
	Summary      *attest.VerificationSummary `json:"summary,omitempty"`       // content of a verification summary, not checked
}

// aKey is the text for a signer without a certificate.
const aKey = "a key"

func attachedDocuments(all []Attached) []AttachedDocument {
	out := []AttachedDocument{}
	for _, a := range all {
		d := AttachedDocument{ArtifactType: a.Descriptor.ArtifactType, Digest: a.Descriptor.Digest.String(), Annotations: a.Descriptor.Annotations}
		if a.Descriptor.ArtifactType == attest.StatementType && json.Valid(a.Data) {
			d.Statement = a.Data
		}
		if s := a.Unchecked; s != nil && s.Signed {
			d.Predicate, d.Signer = s.PredicateType, cmp.Or(s.Signer, aKey)
			d.Summary, _ = s.VerificationSummary() // nil if the summary cannot be read; the document is then shown as any signed statement
		}
		out = append(out, d)
	}
	return out
}

// text describes the document in one line.
func (a *AttachedDocument) text() string {
	flag := attest.FlagFor(a.Signer)
	switch {
	case a.Signer == aKey && a.Summary != nil:
		flag = "--rebuilder-key"
	case a.Signer == aKey:
		flag = attest.FlagFor("")
	case a.Summary != nil:
		flag = "--policy"
	}
	switch {
	case a.Summary != nil:
		return "verification summary: " + a.Summary.String() + ", signed by " + a.Signer + " (to check it: nixoci verify " + flag + ")"
	case a.Predicate != "":
		return "statement " + a.Predicate + ", signed by " + a.Signer + " (to check it: nixoci verify " + flag + ")"
	}
	says := a.statementText()
	if a.ArtifactType != attest.StatementType {
		says = a.known()
	}
	if says != "" {
		says = "  " + says
	}
	return a.ArtifactType + "  " + human.Digest(a.Digest) + says
}

// statementText describes an unsigned in-toto statement. It returns "" if the document is no such
// statement.
func (a *AttachedDocument) statementText() string {
	var st statement
	if json.Unmarshal(a.Statement, &st) != nil {
		return ""
	}
	s := st.PredicateType
	if b := st.Predicate.RunDetails.Builder; b.ID != "" {
		s += ", built by " + b.ID
		for _, name := range sortedKeys(b.Version) {
			s += ", " + name + " " + b.Version[name]
		}
	}
	if from := st.sources(); len(from) > 0 {
		s += ", from " + strings.Join(from, " and ")
	}
	return s
}

// statement holds the fields of a provenance that a line of text contains.
type statement struct {
	PredicateType string `json:"predicateType"`
	Predicate     struct {
		BuildDefinition struct {
			ExternalParameters struct {
				Closures []struct {
					Sources []struct {
						Flake  string `json:"flake"`
						File   string `json:"file"`
						Nixoci string `json:"nixoci"`
						Dirty  bool   `json:"dirty"`
					} `json:"sources"`
				} `json:"closures"`
			} `json:"externalParameters"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID      string            `json:"id"`
				Version map[string]string `json:"version"`
			} `json:"builder"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

// sources returns the name of each source of the closures, without duplicates.
func (s *statement) sources() (all []string) {
	for _, c := range s.Predicate.BuildDefinition.ExternalParameters.Closures {
		for _, src := range c.Sources {
			from := cmp.Or(src.Flake, src.File)
			if from == "" && src.Nixoci != "" {
				from = "nixoci's own " + src.Nixoci
			}
			if src.Dirty {
				from += " (with uncommitted changes)"
			}
			if from != "" && !slices.Contains(all, from) {
				all = append(all, from)
			}
		}
	}
	return all
}

// unsigned reports whether the document is not a signed statement. The image may have a signed
// statement with the same content as well.
func (a *AttachedDocument) unsigned() bool {
	what, _ := a.describe()
	return a.Summary == nil && what != "signed statement"
}
