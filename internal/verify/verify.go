package verify

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// Options say what is verified. The zero value checks what the image says of
// itself.
type Options struct {
	Platforms []ocispec.Platform // empty: all
	KeepGoing bool               // look for all findings, not the first alone
	Jobs      int                // layers read at once; ≤0: GOMAXPROCS

	// DefaultSettings refuses an image that starts something else, or in another
	// way, than nixoci's default: entrypoint, command, environment, user,
	// directory, stop signal, ports, volumes.
	DefaultSettings bool

	// Init is what the image should have as /sbin/init; nil: what it has is said.
	Init *manifest.InitChoice

	// OpenBase opens the base image of this name, "" where the image names none;
	// nil: no base is read.
	OpenBase func(name string) (*oci.OpenedImage, error)

	// Closures are what the image should be made of, one for each platform that
	// is to be compared. An error of their source is an error, not a finding.
	Closures []*manifest.System

	// Keys are trusted to sign store paths; nil: signatures are not looked at.
	Keys    closure.TrustedKeys
	Require Required        // "": RequireNone
	Against SignatureSource // has signatures beside those that are attached to the image; nil: nobody

	// Progress, if any, is told how far it is. Its methods are called
	// concurrently.
	Progress Progress

	// Signers are trusted to speak of the image. One of them must have signed what
	// the reference names, unless Attestations are asked for; none: nobody need.
	Signers []attest.NamedKey

	// Attestations are predicate types. One of Signers must have signed a statement
	// of each, about what the reference names or about every platform.
	Attestations []string
}

// Progress is told what is read and made.
type Progress interface {
	More(layers int, bytes int64) // so many more are to be read, or made again
	Did(bytes int64)
	Layer(desc ocispec.Descriptor, done string) // one is done: "read" or "made"
}

type noProgress struct{}

func (noProgress) More(int, int64)                  {}
func (noProgress) Did(int64)                        {}
func (noProgress) Layer(ocispec.Descriptor, string) {}

// Image verifies the image in src. The error says why nobody can know: the
// network, for instance. What is wrong with the image is in the report.
func Image(ctx context.Context, src *oci.OpenedImage, o Options) (*Report, error) {
	dir, remove, err := atomicfile.TempDir(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	defer remove()
	if o.Progress == nil {
		o.Progress = noProgress{}
	}
	v := &verification{src: src.Reader, noManifest: src.NoManifest, o: o, dir: dir}
	results, err := v.run(ctx, src.TagOrDigest)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	return v.report(src.Name, results), nil
}

// verification is what every stage may ask for. No stage changes it.
type verification struct {
	src        oci.Reader
	noManifest bool // src is an archive that holds a config and layers alone
	o          Options
	dir        string // for what is too large for memory
}

// stopAtFirst reports whether the first finding ends the verification. With
// closures it does not: a difference from a closure names the place better, and
// is reported first.
func (v *verification) stopAtFirst() bool { return !v.o.KeepGoing && len(v.o.Closures) == 0 }

func (v *verification) jobs() int {
	if v.o.Jobs > 0 {
		return v.o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// results are what the stages returned, in their order. A stage that was not
// reached has left the zero value.
type results struct {
	docs        *documents
	key         keyCheck
	attached    *attachments
	systems     []*systemContent // of each image in docs
	contents    []*content       // of each image in docs
	checks      []*checks        // of the images in docs, as far as they were checked
	comparisons []*comparison    // of each image in docs with one of Options.Closures
	unmatched   []Finding        // closures that no image is for
	index       indexCheck
}

// run goes from the outside of the image in, and back. Each stage is a function
// of what the stages before it returned.
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
	// After this stage nothing stops: what was found in a layer may come after
	// something that the checks find in an image before.
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

// enough reports whether what was found ends the verification.
func (v *verification) enough(r *results) bool { return v.stopAtFirst() && len(r.findings()) > 0 }

// findings are those of all stages, in the order of the report.
func (r *results) findings() []Finding {
	var all []Finding
	for n := range r.docs.images {
		all = append(all, r.image(n).findings()...)
	}
	return slices.Concat(all, r.docs.findings, r.key.findings, r.attachedFindings(), r.unmatched, r.index.findings)
}

// imageResults are what the stages returned for one image; nil where they were
// not reached.
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

// at is the element n of s, nil where s is shorter.
func at[T any](s []*T, n int) *T {
	if n < len(s) {
		return s[n]
	}
	return nil
}

// findings are all of the image's: those of a given closure first, then from the
// outside in.
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
