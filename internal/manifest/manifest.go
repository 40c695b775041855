package manifest

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// Annotation keys of nixoci. The ones on layer descriptors let a machine that
// has never seen the image know each layer without reading it; the ones on
// manifests and the index do the same for the whole image.
const (
	AnnotationRecipe      = "io.nixoci.layer.recipe"      // layer descriptor: layers.Recipe
	AnnotationDiffID      = "io.nixoci.layer.diffid"      // layer descriptor: diffID, so that the config need not be fetched
	AnnotationTarSize     = "io.nixoci.layer.tarsize"     // layer descriptor: bytes of the tar
	AnnotationCompression = "io.nixoci.layer.compression" // layer descriptor: algorithm and level, as in the recipe
	AnnotationToplevel    = "io.nixoci.toplevel"          // manifest and its descriptor in the index: store path
	AnnotationNarHash     = "io.nixoci.toplevel.narhash"  // beside it: the toplevel's narHash, SRI
	AnnotationFacts       = "io.nixoci.toplevel.facts"    // beside it, in the index: Facts as JSON
	AnnotationFormat      = "io.nixoci.format"            // manifest: the image format's version
	AnnotationApplication = "io.nixoci.application"       // manifest: version of the rules for applications; none of a NixOS system
	AnnotationInit        = "io.nixoci.init"              // manifest: digest of the program at /sbin/init; none where it is a link
	AnnotationPlanFrom    = "io.nixoci.plan.from"         // manifest: digest of the manifest whose plan this one continues; none without --plan-from
	AnnotationImage       = "io.nixoci.image.recipe"      // manifest, its descriptor, index: hash of all that determines it
)

// Versions of the image format, docs/format.md. Images of all of them can be
// read and verified.
const (
	// Format1 has /sbin/init as a link to the toplevel's init.
	Format1 = 1

	// Format2 has an init layer, a garbage collector's root for the image's own
	// toplevel, and a file outside of /nix that names it.
	Format2 = 2

	// CurrentFormat is the one that new images have.
	CurrentFormat = Format2
)

// System is one NixOS system, or one application, for one platform: what one
// manifest is made from. [ReadSystem], [NewSystem] or [NewApplication] makes it.
type System struct {
	Format   int // of the image; 0 is CurrentFormat
	Platform ocispec.Platform
	Toplevel closure.StorePath // of an application the first root
	Closure  *closure.Closure
	Source   closure.Source
	Init     *Init  // what /sbin/init is; nil: a link to Own
	Own      string // the system's own program that can be /sbin/init, below Toplevel
	Guest    bool   // the closure has nixoci-init as its toplevel's nixoci-init
	Version  string // the NixOS label, for instance 26.05.20260522.1a2b3c4; "" where the toplevel has none
	Facts    Facts  // what all of this was read from

	// App is what makes it an application. It then has none of the five above.
	App *application.Application

	// PlanFrom is the manifest whose plan this image continues: with it, the image
	// is a function of the closure and of that plan. "": of the closure alone.
	PlanFrom digest.Digest
}

// Settings are what the user may override in the image's config and manifests.
// The zero value is the default of the image format. [Settings.Validate] says
// what may be in it.
type Settings struct {
	Env         []string // NAME=value, added to or replacing the defaults
	Labels      map[string]string
	Annotations map[string]string // on manifests and index
	Entrypoint  []string          // nil: /sbin/init, or an application's program
	Cmd         []string
	User        string
	WorkingDir  string
	StopSignal  string   // "": SIGRTMIN+3, of an application none
	Ports       []string // "80", "80/tcp", "53/udp", "5060/sctp"
	Volumes     []string // absolute directories
	Created     *time.Time
	Docker      bool // Docker media types instead of OCI's
}

// PlatformImage is one platform's config and manifest. [Draft.Image] makes it.
type PlatformImage struct {
	System   *System
	Recipe   digest.Digest // the draft's
	Layers   []ocispec.Descriptor
	Config   oci.Blob
	Manifest oci.Blob // Descriptor has the platform and annotations as the index lists it
}
