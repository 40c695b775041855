package attest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// Documents selects the documents that an [Attacher] makes for an image.
type Documents struct {
	Closure    bool // attach a closure statement
	Provenance bool

	// Author signs a statement about each document. nixoci attaches the signed statements as well
	// as the documents. If Author is nil, nixoci signs nothing.
	Author Author

	// Build describes how the image was made, for the provenance. The Attacher sets its fields
	// Systems and Recipe from the image.
	Build Build
}

// Counts holds a number of documents and a number of signed statements.
type Counts struct{ Documents, Statements int }

// Attacher makes the documents of one image and attaches them. Call ToPlatform for each system of the
// image, and then ToIndex.
type Attacher struct {
	repo      *registry.Repository
	documents Documents
	top       oci.Blob // the image's index
	index     *manifest.Index
	built     []BuiltSystem

	// Added counts the documents and statements that are new. Known counts the others, which were
	// attached before.
	Added, Known Counts
}

// NewAttacher returns an Attacher for the image in repo whose index has this digest.
func NewAttacher(ctx context.Context, repo *registry.Repository, index digest.Digest, d Documents) (*Attacher, error) {
	top, err := repo.GetManifest(ctx, index.String())
	if err != nil {
		return nil, err
	}
	parsed, err := manifest.ParseIndex(top.Data, top.Descriptor.MediaType)
	if err != nil {
		return nil, err
	}
	return &Attacher{repo: repo, documents: d, top: top, index: parsed}, nil
}

// ToPlatform attaches documents to the manifest of one platform: a closure statement, the bills of
// materials sboms, and a provenance. This manifest does not change when another platform joins the
// index.
func (a *Attacher) ToPlatform(ctx context.Context, sys *manifest.System, sboms []oci.Artifact) error {
	listed := a.index.Find(sys.Platform)
	if listed == nil {
		return fmt.Errorf("attach to %s: the index has no manifest for %s", a.top.Descriptor.Digest, manifest.FormatPlatform(sys.Platform))
	}
	built := describeSystem(sys)
	var docs []oci.Artifact
	if a.documents.Closure {
		doc, err := ClosureDocument(sys.Closure, built.System)
		if err != nil {
			return err
		}
		built.Closure = digest.FromBytes(doc.Data)
		docs = append(docs, doc)
	}
	docs = append(docs, sboms...)
	if a.documents.Provenance {
		doc, err := a.documents.provenance(a.repo.Name(), *listed, built)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
	}
	a.built = append(a.built, built)
	return a.attach(ctx, *listed, docs...)
}

// ToIndex attaches a provenance to the index, if the index lists exactly the platforms of the
// ToPlatform calls.
func (a *Attacher) ToIndex(ctx context.Context) error {
	if !a.documents.Provenance || len(a.index.Manifests) != len(a.built) {
		return nil
	}
	about := a.top.Descriptor
	about.Annotations = a.index.Annotations
	doc, err := a.documents.provenance(a.repo.Name(), about, a.built...)
	if err != nil {
		return err
	}
	return a.attach(ctx, a.top.Descriptor, doc)
}

// attach attaches docs, and a signed statement about each, to a manifest or index.
func (a *Attacher) attach(ctx context.Context, to ocispec.Descriptor, docs ...oci.Artifact) error {
	sealed, err := sealAll(ctx, a.repo.Name(), to.Digest, docs, a.documents.Author)
	if err != nil {
		return err
	}
	attached, err := a.repo.Attach(ctx, to, append(docs, sealed...))
	for n, one := range attached {
		counts := &a.Known
		if one.New {
			counts = &a.Added
		}
		if n < len(docs) {
			counts.Documents++
		} else {
			counts.Statements++
		}
	}
	return err
}

// sealAll signs a statement about each of docs, and returns the signed statements. If by is nil, it
// signs nothing.
func sealAll(ctx context.Context, name string, subject digest.Digest, docs []oci.Artifact, by Author) (sealed []oci.Artifact, err error) {
	if by == nil {
		return nil, nil
	}
	for _, doc := range docs {
		s, err := SealDocument(ctx, name, subject, doc, by)
		if err != nil {
			return nil, err
		}
		sealed = append(sealed, s)
	}
	return sealed, nil
}

// documentPredicates maps the artifact types of documents to the predicate types of statements that
// contain them. Documents that are statements themselves are not in the map.
var documentPredicates = map[string]string{
	ClosureType:   ClosurePredicate,
	SPDXType:      SPDXPredicate,
	CycloneDXType: CycloneDXPredicate,
	OpenVEXType:   OpenVEXPredicate,
}

// These are media types of documents, and also the artifact types under which they are attached.
const (
	SPDXType      = "application/spdx+json"          // registered with IANA, for all versions
	CycloneDXType = "application/vnd.cyclonedx+json" // registered with IANA
	OpenVEXType   = "application/vnd.openvex+json"
)

// ClosureDocument makes the closure statement of c, ready to be attached to an image. For system, see
// [Closure].
func ClosureDocument(c *closure.Closure, system string) (oci.Artifact, error) {
	data, err := Closure(c, system)
	return oci.Artifact{Type: ClosureType, MediaType: ClosureType, Data: data}, err
}

// StatementDocument makes the in-toto statement that contains predicate, ready to be signed and
// attached. The statement is about the manifest or index subject in the repository name.
func StatementDocument(name string, subject digest.Digest, predicateType string, predicate json.RawMessage) (oci.Artifact, error) {
	data, err := Statement(name, subject, predicateType, predicate)
	return oci.Artifact{Type: StatementType, MediaType: StatementType, Data: data,
		Annotations: map[string]string{PredicateTypeKey: predicateType}}, err
}

// SealDocument signs the in-toto statement that contains doc. The statement is about the manifest
// or index subject in the repository name.
func SealDocument(ctx context.Context, name string, subject digest.Digest, doc oci.Artifact, by Author) (oci.Artifact, error) {
	if doc.Type == StatementType {
		return Seal(ctx, doc.Data, by)
	}
	predicate, ok := documentPredicates[doc.Type]
	if !ok {
		return oci.Artifact{}, fmt.Errorf("sign %s: it has no predicate type", doc.Type)
	}
	statement, err := Statement(name, subject, predicate, json.RawMessage(doc.Data))
	if err != nil {
		return oci.Artifact{}, err
	}
	return Seal(ctx, statement, by)
}

// describeSystem describes sys for the provenance.
func describeSystem(sys *manifest.System) BuiltSystem {
	system, _ := closure.NixSystem(sys.Platform)
	built := BuiltSystem{Platform: manifest.FormatPlatform(sys.Platform), System: system, Toplevel: *sys.Closure.Info(sys.Toplevel)}
	built.Roots = []closure.StorePath{sys.Toplevel}
	if sys.App != nil {
		built.Roots = sys.App.Roots
	}
	if sys.Init != nil {
		built.Init = sys.Init.Digest
	}
	if sys.Base != nil && sys.Base.Name != "" {
		if built.Base = sys.Base.Name; !strings.Contains(built.Base, "@") {
			built.Base += "@" + sys.Base.Digest.String()
		}
	}
	return built
}

// provenance makes the provenance of about, which is a manifest or index in the repository name.
// The annotations of about contain its recipe.
func (d *Documents) provenance(name string, about ocispec.Descriptor, systems ...BuiltSystem) (oci.Artifact, error) {
	b := d.Build
	b.Systems, b.Recipe = systems, about.Annotations[manifest.AnnotationImage]
	data, err := Provenance(name, about.Digest, b)
	return oci.Artifact{Type: StatementType, MediaType: StatementType, Data: data,
		Annotations: map[string]string{PredicateTypeKey: ProvenanceType}}, err
}

// BuildSettings returns the settings that the user changed, in the form of Build.Settings. The keys
// are the names of the flags.
func BuildSettings(s *manifest.Settings) map[string]any {
	m := map[string]any{}
	list := func(name string, v []string) {
		if len(v) > 0 {
			m[name] = v
		}
	}
	text := func(name, v string) {
		if v != "" {
			m[name] = v
		}
	}
	list("env", s.Env)
	list("entrypoint", s.Entrypoint)
	list("cmd", s.Cmd)
	list("port", s.Ports)
	list("volume", s.Volumes)
	text("user", s.User)
	text("workdir", s.WorkingDir)
	text("stop-signal", s.StopSignal)
	if s.Healthcheck != nil {
		m["healthcheck"] = s.Healthcheck
	}
	if len(s.Labels) > 0 {
		m["label"] = s.Labels
	}
	if len(s.Annotations) > 0 {
		m["annotation"] = s.Annotations
	}
	if s.Created != nil {
		m["created"] = s.Created.UTC().Format(time.RFC3339)
	}
	if s.Docker {
		m["format"] = "docker"
	}
	return m
}
