//lint:file-ignore SA1019 The successors are protobuf messages, and protojson writes other bytes from one build to the next.

package attest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	slsa "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// ProvenanceType is the predicate type of SLSA provenance v1.
const ProvenanceType = slsa.PredicateSLSAProvenance

// buildType names the parameters below and their meaning. If the parameters change, buildType must
// change too.
const (
	DefaultBuilder = "https://github.com/nixoci/nixoci"
	buildType      = "https://github.com/nixoci/nixoci/blob/main/docs/attestations.md#build-type-2"
	narType        = "application/x-nix-nar"
)

// Build describes the inputs of an image, and how it was made.
type Build struct {
	Builder     string         // URI of the person or machine that ran nixoci; "" means [DefaultBuilder]
	Version     string         // version of nixoci
	Program     digest.Digest  // digest of nixoci's own file; "" if it cannot be read
	Format      int            // manifest.CurrentFormat
	Compression string         // for example "gzip:5"
	Systems     []BuiltSystem  // the systems in the image that the provenance is about
	Settings    map[string]any // settings that the user changed, by flag name
	Recipe      string         // recipe of this image, from manifest.AnnotationImage

	// Checkout is the repository that a platform checked out for this build.
	Checkout *Checkout

	// Built contains the roots of systems that this run has built, and their sources. A root that
	// was built earlier is missing.
	Built map[closure.StorePath]*nixbuild.Built

	// Rebuild returns the command that makes the image with these systems again. reference names
	// the image. Rebuild may be nil. It is a function because only cmd/nixoci can write a command,
	// and the reference is known only for each document.
	Rebuild func(reference string, systems []BuiltSystem) []string
}

// BuiltSystem describes one system in the image that the provenance is about.
type BuiltSystem struct {
	Platform string // for example "linux/amd64"
	System   string // for example "x86_64-linux"
	Toplevel closure.Info
	Roots    []closure.StorePath // the roots of an application, in order; or the toplevel of a NixOS system
	Closure  digest.Digest       // digest of the closure statement; "" if there is none
	Init     digest.Digest       // digest of nixoci-init at /sbin/init; "" if /sbin/init is a link
	Base     string              // pinned reference of the base image; "" if there is none, or if it was a file
}

// Provenance writes an in-toto statement with a SLSA v1 predicate. The statement says that the
// manifest or index subject, in the repository name, was made as b describes. It contains no times
// and no number of a run, so the same build gives the same bytes.
func Provenance(name string, subject digest.Digest, b Build) ([]byte, error) {
	systems := slices.Clone(b.Systems)
	slices.SortFunc(systems, func(x, y BuiltSystem) int {
		return cmp.Or(cmp.Compare(x.Platform, y.Platform), cmp.Compare(x.Toplevel.Path, y.Toplevel.Path))
	})
	closures := []map[string]any{}
	var sources sourceList
	for i := range systems {
		s := &systems[i]
		of := map[string]any{"system": s.System, "platform": s.Platform, "toplevel": string(s.Toplevel.Path)}
		if stated := sources.add(s, b.Built); len(stated) > 0 {
			of["sources"] = stated
		}
		closures = append(closures, of)
	}
	external := map[string]any{"closures": closures, "compression": b.Compression}
	if len(b.Settings) > 0 {
		external["settings"] = b.Settings
	}
	internal := map[string]any{"format": b.Format}
	if b.Recipe != "" {
		internal["recipe"] = b.Recipe
	}
	if b.Rebuild != nil && !sources.dirty {
		internal["rebuild"] = b.Rebuild(name+"@"+subject.String(), systems)
	}
	builder := slsa.Builder{ID: cmp.Or(b.Builder, DefaultBuilder), Version: map[string]string{"nixoci": b.Version}}
	if b.Program != "" {
		builder.BuilderDependencies = []slsa.ResourceDescriptor{{Name: "nixoci", Digest: digestSet(b.Program)}}
	}
	data, err := Statement(name, subject, ProvenanceType, slsa.ProvenancePredicate{
		BuildDefinition: slsa.ProvenanceBuildDefinition{
			BuildType:            buildType,
			ExternalParameters:   external,
			InternalParameters:   internal,
			ResolvedDependencies: slices.Concat(madeOf(systems), sources.dependencies(b.Checkout)),
		},
		RunDetails: slsa.ProvenanceRunDetails{Builder: builder},
	})
	if err != nil {
		return nil, fmt.Errorf("write provenance of %s: %w", subject, err)
	}
	return data, nil
}

// madeOf lists the store paths, closure statements and programs from which the image of these
// systems was assembled.
func madeOf(systems []BuiltSystem) (deps []slsa.ResourceDescriptor) {
	for _, s := range systems {
		deps = append(deps, slsa.ResourceDescriptor{
			URI:       "nix:" + string(s.Toplevel.Path),
			Name:      s.Toplevel.Path.Name(),
			Digest:    common.DigestSet{"sha256": strings.TrimPrefix(s.Toplevel.NarHash.Hex(), "sha256:")},
			MediaType: narType,
		})
		if s.Closure != "" {
			deps = append(deps, slsa.ResourceDescriptor{
				Name:      "closure of " + s.Toplevel.Path.Name() + " for " + s.Platform,
				Digest:    digestSet(s.Closure),
				MediaType: ClosureType,
			})
		}
	}
	var inits []digest.Digest // without duplicates, because platforms may share a nixoci-init
	for _, s := range systems {
		if s.Init != "" && !slices.Contains(inits, s.Init) {
			inits = append(inits, s.Init)
			deps = append(deps, slsa.ResourceDescriptor{Name: "nixoci-init for " + s.Platform, Digest: digestSet(s.Init)})
		}
	}
	return deps
}

func digestSet(d digest.Digest) common.DigestSet {
	return common.DigestSet{d.Algorithm().String(): d.Encoded()}
}
