package verify

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// Options selects what is verified. If it is the zero value, verify compares the image with the
// image's own records.
type Options struct {
	Platforms []ocispec.Platform // platforms to verify; empty means all platforms
	KeepGoing bool               // search for all findings, and do not stop at the first
	Jobs      int                // number of layers read at once; ≤0 means GOMAXPROCS

	// DefaultSettings requires nixoci's defaults for entrypoint, command, environment,
	// user, working directory, stop signal, ports and volumes.
	DefaultSettings bool

	// Init is the expected program at /sbin/init. If Init is nil, the report only describes the
	// program in the image.
	Init *manifest.InitChoice

	// OpenBase opens the base image called name for platform p. If the image records no name of its
	// base, name is "". If OpenBase is nil, no base image is read.
	OpenBase func(name string, p ocispec.Platform) (*oci.OpenedImage, error)

	// Closures are the systems that the image should contain, at most one for each platform. If a
	// system cannot be read, [Image] returns an error and not a finding.
	Closures []*manifest.System

	// Keys are trusted to sign store paths. If Keys is nil, signatures of store paths are not
	// checked.
	Keys    closure.TrustedKeys
	Require Required        // which paths must be signed; "" means RequireNone
	Policy  bool            // true if a policy sets Require, false if only a flag does
	Against SignatureSource // source of more signatures, beside the attached statements; may be nil

	// Progress is told what is read and made. Its methods are called concurrently. It may be nil.
	Progress Progress

	// Signatures are the required signatures of the image. The image must meet all of these
	// requirements.
	Signatures []RequiredSignatures

	// Attestations are the required signed statements. The image must meet all of these
	// requirements.
	Attestations []RequiredAttestation

	// Rebuilders names the rebuilders that must have made the image again.
	Rebuilders []RequiredRebuilders

	// Elsewhere lists other repositories. verify also reads the documents about the image in these.
	Elsewhere []Elsewhere

	// Allowed restricts which settings, compression, base image and init the image may have.
	Allowed Allowed

	Now time.Time // the time of the verification; zero means the current time
}

// Elsewhere names a repository that contains documents about images of other repositories.
type Elsewhere struct {
	Name   string
	Reader oci.Reader
}

// RequiredSignatures requires that several signers have signed the manifest or index that the
// reference names.
type RequiredSignatures struct {
	Signers []attest.Signer
	Count   int  // number of different members of Signers who must have signed the image
	Policy  bool // true if the policy requires the signatures, false if only a flag does
}

// RequiredAttestation requires a statement that one of Signers has signed. There must be a statement
// about the manifest or index that the reference names, or one about each platform.
type RequiredAttestation struct {
	Type    string // predicate type
	Signers []attest.Signer
	MaxAge  time.Duration // largest age of the statement, by the time in the statement; 0 allows any age
	Policy  bool          // true if the policy requires the statement, false if only a flag does
}

// signers returns the signers who count for required signatures and required statements, without
// duplicates.
func (o *Options) signers() (all []attest.Signer) {
	for _, s := range o.Signatures {
		all = append(all, s.Signers...)
	}
	for _, a := range o.Attestations {
		all = append(all, a.Signers...)
	}
	return attest.DistinctSigners(all)
}

// known returns all signers that Options contains, without duplicates.
func (o *Options) known() []attest.Signer {
	all := o.signers()
	for _, r := range o.Rebuilders {
		all = append(all, r.signers()...)
	}
	return attest.DistinctSigners(all)
}

func (o *Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// Progress is told what verify reads and makes.
type Progress interface {
	More(layers int, bytes int64) // this number of layers and bytes will be read or made, in addition to earlier calls
	Did(bytes int64)
	Layer(desc ocispec.Descriptor, done string) // a layer is finished; done is "read" or "made"
}

type noProgress struct{}

func (noProgress) More(int, int64)                  {}
func (noProgress) Did(int64)                        {}
func (noProgress) Layer(ocispec.Descriptor, string) {}

// Image verifies the image in src. The report contains everything that is wrong with the image. If
// the image could not be checked, for example because of the network, Image returns an error.
func Image(ctx context.Context, src *oci.OpenedImage, o Options) (*Report, error) {
	dir, remove, err := atomicfile.TempDir(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	defer remove()
	if o.Progress == nil {
		o.Progress = noProgress{}
	}
	v := &verification{src: src.Reader, noManifest: src.NoManifest, o: o, signers: o.signers(), known: o.known(), dir: dir}
	results, err := v.run(ctx, src.TagOrDigest)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	return v.report(src.Name, results), nil
}

// verification holds the input of all stages. No stage changes it.
type verification struct {
	src        oci.Reader
	noManifest bool // src is an archive that contains only a config and layers
	o          Options
	signers    []attest.Signer // the signers who count for required signatures and required statements
	known      []attest.Signer // all signers of Options
	dir        string          // directory for temporary data that is too large for memory
}

// stopAtFirst reports whether the first finding ends the verification. With closures the
// verification continues, because a comparison with a closure names the place of a fault more
// exactly. The report lists such differences first.
func (v *verification) stopAtFirst() bool { return !v.o.KeepGoing && len(v.o.Closures) == 0 }

func (v *verification) jobs() int {
	if v.o.Jobs > 0 {
		return v.o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// results holds the results of the stages, in their order. If a stage was not reached, its result
// is the zero value.
type results struct {
	docs        *documents
	key         keyCheck
	attached    *attachments
	systems     []*systemContent // one for each image in docs
	contents    []*content       // one for each image in docs
	checks      []*checks        // one for each image that was checked, in the order of docs
	comparisons []*comparison    // one for each image in docs that was compared with one of Options.Closures
	unmatched   []Finding        // findings about closures for which the index has no image
	index       indexCheck
}

// run calls the stages one after another. Each stage is a function of the results of earlier
// stages.
func (v *verification) run(ctx context.Context, target string) (r *results, err error) {
	r = &results{}
	if r.docs, err = v.readDocuments(ctx, target); err != nil || v.enough(r) {
		return r, err
	}
	if r.key, err = v.checkKey(ctx, r.docs); err != nil || v.enough(r) {
		return r, err
	}
	if r.attached, err = v.readAttached(ctx, r.docs); err != nil || v.enough(r) {
		return r, err
	}
	if r.systems, err = v.readSystems(ctx, r.docs); err != nil || v.enough(r) {
		return r, err
	}
	// From here to the end of checkImages, no finding stops the verification. A later check of an
	// earlier image may have a finding that comes before a finding in a layer.
	if r.contents, err = v.readLayers(ctx, r.docs, r.systems); err != nil {
		return r, err
	}
	if r.checks, err = v.checkImages(ctx, r.contents); err != nil || v.enough(r) {
		return r, err
	}
	if r.comparisons, r.unmatched, err = v.compareClosures(ctx, r.contents, r.checks); err != nil {
		return r, err
	}
	r.index = checkIndex(r.docs, r.checks)
	return r, nil
}

// enough reports whether the findings so far end the verification.
func (v *verification) enough(r *results) bool { return v.stopAtFirst() && len(r.findings()) > 0 }

// findings returns the findings of all stages, in the order of the report.
func (r *results) findings() []Finding {
	var all []Finding
	for n := range r.docs.images {
		all = append(all, r.image(n).findings()...)
	}
	return slices.Concat(all, r.docs.findings, r.key.findings, r.attachedFindings(), r.unmatched, r.index.findings)
}

// imageResults holds the results of the stages for one image. If a stage was not reached, its
// result is nil.
type imageResults struct {
	doc        *document
	system     *systemContent
	content    *content
	checks     *checks
	comparison *comparison
}

func (r *results) image(n int) imageResults {
	return imageResults{r.docs.images[n], at(r.systems, n), at(r.contents, n), at(r.checks, n), at(r.comparisons, n)}
}

// at returns element n of s. If s is shorter, it returns nil.
func at[T any](s []*T, n int) *T {
	if n < len(s) {
		return s[n]
	}
	return nil
}

// findings returns all findings of the image. The findings from the comparison with a closure come
// first. The others follow from the outside in.
func (r imageResults) findings() []Finding {
	var all []Finding
	if r.comparison != nil {
		all = append(all, r.comparison.findings...)
	}
	all = append(all, r.doc.findings...)
	if r.checks != nil {
		all = append(all, r.checks.findings...)
	}
	if r.system != nil {
		all = slices.Concat(all, r.system.findings, r.system.identityFindings)
	}
	return all
}
