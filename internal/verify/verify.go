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

// Options selects what is verified. With the zero value, the image is compared with its
// own records.
type Options struct {
	Platforms []ocispec.Platform // empty: all platforms
	KeepGoing bool               // search for all findings, not only the first
	Jobs      int                // layers read at once; ≤0: GOMAXPROCS

	// DefaultSettings requires nixoci's defaults for entrypoint, command, environment,
	// user, directory, stop signal, ports and volumes.
	DefaultSettings bool

	// Init is the expected /sbin/init. If it is nil, the report only describes the
	// image's.
	Init *manifest.InitChoice

	// OpenBase opens the base image with this name for p, "" if the image records no name.
	// If OpenBase is nil, no base image is read.
	OpenBase func(name string, p ocispec.Platform) (*oci.OpenedImage, error)

	// Closures are the systems that the image should contain, at most one for each
	// platform. An error of their source is an error, not a finding.
	Closures []*manifest.System

	// Keys are trusted to sign store paths. If Keys is nil, their signatures are not
	// checked.
	Keys    closure.TrustedKeys
	Require Required        // "" stands for RequireNone
	Policy  bool            // a policy, not only a flag, says what Require is
	Against SignatureSource // another source of signatures beside attached statements; may be nil

	// Progress, if set, receives the progress. Its methods are called concurrently.
	Progress Progress

	// Signatures are the signatures of the image that are required. All of them
	// must be there.
	Signatures []RequiredSignatures

	// Attestations are the signed statements that are required. All of them must be
	// there.
	Attestations []RequiredAttestation

	// Rebuilders are the rebuilders that must have made the image again.
	Rebuilders []RequiredRebuilders

	// Elsewhere are other repositories whose documents about the image count, too.
	Elsewhere []Elsewhere

	// Allowed restricts what the image may record of how it was made.
	Allowed Allowed

	Now time.Time // when it is verified; zero: the clock
}

// Elsewhere is a repository that has documents about images of other repositories.
type Elsewhere struct {
	Name   string
	Reader oci.Reader
}

// RequiredSignatures requires that several keys have signed what the reference names.
type RequiredSignatures struct {
	Keys   []attest.NamedKey
	Count  int  // how many different ones of Keys must have signed it
	Policy bool // the policy requires it, not only a flag
}

// RequiredAttestation requires a statement that one of Keys has signed. There must be
// one about what the reference names, or one about each platform.
type RequiredAttestation struct {
	Type   string // predicate type
	Keys   []attest.NamedKey
	MaxAge time.Duration // limit for the age of the statement, by its own time; 0: any age
	Policy bool          // the policy requires it, not only a flag
}

// signers returns the keys that may sign the image and statements about it, each once.
func (o *Options) signers() (all []attest.NamedKey) {
	for _, s := range o.Signatures {
		all = append(all, s.Keys...)
	}
	for _, a := range o.Attestations {
		all = append(all, a.Keys...)
	}
	return attest.DistinctKeys(all)
}

// keys returns all keys that Options names, each once.
func (o *Options) keys() []attest.NamedKey {
	all := o.signers()
	for _, r := range o.Rebuilders {
		all = append(all, r.keys()...)
	}
	return attest.DistinctKeys(all)
}

func (o *Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// Progress receives what is read and made.
type Progress interface {
	More(layers int, bytes int64) // so many more layers and bytes will be read or made again
	Did(bytes int64)
	Layer(desc ocispec.Descriptor, done string) // a layer is finished: "read" or "made"
}

type noProgress struct{}

func (noProgress) More(int, int64)                  {}
func (noProgress) Did(int64)                        {}
func (noProgress) Layer(ocispec.Descriptor, string) {}

// Image verifies the image in src. The report contains everything that is wrong with
// the image. An error means that the image could not be checked, for example because of
// the network.
func Image(ctx context.Context, src *oci.OpenedImage, o Options) (*Report, error) {
	dir, remove, err := atomicfile.TempDir(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	defer remove()
	if o.Progress == nil {
		o.Progress = noProgress{}
	}
	v := &verification{src: src.Reader, noManifest: src.NoManifest, o: o, signers: o.signers(), keys: o.keys(), dir: dir}
	results, err := v.run(ctx, src.TagOrDigest)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	return v.report(src.Name, results), nil
}

// verification holds what every stage needs. No stage changes it.
type verification struct {
	src        oci.Reader
	noManifest bool // src is an archive that contains only a config and layers
	o          Options
	signers    []attest.NamedKey // keys that may sign the image and statements about it
	keys       []attest.NamedKey // all keys of Options
	dir        string            // for temporary files that are too large for memory
}

// stopAtFirst reports whether the first finding ends the verification. With closures it
// does not. A difference from a closure names the place more exactly, so it is reported
// first.
func (v *verification) stopAtFirst() bool { return !v.o.KeepGoing && len(v.o.Closures) == 0 }

func (v *verification) jobs() int {
	if v.o.Jobs > 0 {
		return v.o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// results holds the results of the stages, in their order. A stage that was not reached
// leaves its zero value.
type results struct {
	docs        *documents
	key         keyCheck
	attached    *attachments
	systems     []*systemContent // one for each image in docs
	contents    []*content       // one for each image in docs
	checks      []*checks        // one for each image that was checked, in the order of docs
	comparisons []*comparison    // one for each image in docs that was compared with one of Options.Closures
	unmatched   []Finding        // closures without an image
	index       indexCheck
}

// run calls the stages, from the outside of the image to the inside and back. Each
// stage is a function of the results of earlier stages.
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
	// From here to the end of checkImages nothing stops the verification. A check of
	// an earlier image may have a finding that comes before one in a layer.
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

// enough reports whether the findings end the verification.
func (v *verification) enough(r *results) bool { return v.stopAtFirst() && len(r.findings()) > 0 }

// findings returns the findings of all stages, in the order of the report.
func (r *results) findings() []Finding {
	var all []Finding
	for n := range r.docs.images {
		all = append(all, r.image(n).findings()...)
	}
	return slices.Concat(all, r.docs.findings, r.key.findings, r.attachedFindings(), r.unmatched, r.index.findings)
}

// imageResults are the results of the stages for one image. A stage that was not
// reached leaves nil.
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

// at returns element n of s, nil if s is shorter.
func at[T any](s []*T, n int) *T {
	if n < len(s) {
		return s[n]
	}
	return nil
}

// findings returns all findings of the image. Those of a given closure come first, then
// the others from the outside in.
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
