package manifest

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// Annotation keys of nixoci. With those on layer descriptors, a machine that has never
// seen the image can identify each layer without reading it. Those on manifests and the
// index do the same for the whole image.
const (
	AnnotationRecipe       = "io.nixoci.layer.recipe"      // layer descriptor: layers.Recipe
	AnnotationDiffID       = "io.nixoci.layer.diffid"      // layer descriptor: diffID, so the config need not be fetched
	AnnotationTarSize      = "io.nixoci.layer.tarsize"     // layer descriptor: bytes of the tar
	AnnotationCompression  = "io.nixoci.layer.compression" // layer descriptor: algorithm and level, as in the recipe
	AnnotationToplevel     = "io.nixoci.toplevel"          // manifest and its descriptor in the index: store path
	AnnotationNarHash      = "io.nixoci.toplevel.narhash"  // beside it: the toplevel's narHash, SRI
	AnnotationFacts        = "io.nixoci.toplevel.facts"    // beside it, in the index: Facts as JSON
	AnnotationFormat       = "io.nixoci.format"            // manifest: the image format's version
	AnnotationApplication  = "io.nixoci.application"       // manifest: version of the rules for applications; absent for a NixOS system
	AnnotationInit         = "io.nixoci.init"              // manifest: digest of the program /sbin/init; absent if that is a link
	AnnotationPlanFrom     = "io.nixoci.plan.from"         // manifest: digest of the manifest whose plan this one continues; absent without --plan-from
	AnnotationBaseManifest = "io.nixoci.base.manifest"     // manifest: digest of the base image's manifest; absent without a base
	AnnotationBaseLayers   = "io.nixoci.base.layers"       // manifest: how many of its layers, the lowest, are those of the base
	AnnotationImage        = "io.nixoci.image.recipe"      // manifest, its descriptor, index: recipe, a hash of all inputs
)

// Versions of the image format, see docs/format.md. nixoci can read and verify images of
// all versions.
const (
	// Format1 has a link /sbin/init to the toplevel's init.
	Format1 = 1

	// Format2 has an init layer, a gc root for the image's own toplevel, and a file
	// outside /nix that names the toplevel.
	Format2 = 2

	// CurrentFormat is the format of new images.
	CurrentFormat = Format2
)

// System is one NixOS system or one application for one platform: one manifest is made
// from it. [ReadSystem], [NewSystem] or [NewApplication] makes it.
type System struct {
	Format   int // format version of the image; 0 means CurrentFormat
	Platform ocispec.Platform
	Toplevel closure.StorePath // for an application: the first root
	NarHash  closure.Hash      // of Toplevel
	Closure  *closure.Closure
	Source   closure.Source
	Init     *Init  // the program /sbin/init; nil means a link to Own
	Own      string // name of the system's own init program, below Toplevel
	Guest    bool   // the toplevel contains nixoci-init
	Version  string // the NixOS label, for instance 26.05.20260522.1a2b3c4; "" if the toplevel has none
	Facts    Facts  // the facts from which NewSystem made this System

	// App is set for an application. The five fields above it are then empty.
	App *application.Application

	// Base is the image that an application is put above; nil means none.
	Base *Base

	// PlanFrom is the manifest whose plan this image continues. The image then depends on
	// the closure and that plan. "" means that it depends on the closure only.
	PlanFrom digest.Digest
}

// Settings are the parts of the image's config and manifests that the user can change.
// The zero value is the default of the image format. [Settings.Validate] describes the
// allowed values.
type Settings struct {
	Env         []string // NAME=value; replaces or extends the defaults
	Labels      map[string]string
	Annotations map[string]string // on manifests and index
	Entrypoint  []string          // nil means /sbin/init, or the application's program
	Cmd         []string
	User        string
	WorkingDir  string
	StopSignal  string   // "" means SIGRTMIN+3, for an application the runtime's default
	Ports       []string // "80", "80/tcp", "53/udp", "5060/sctp"
	Volumes     []string // absolute directories
	Created     *time.Time
	Docker      bool // use Docker's media types instead of OCI's

	Healthcheck *Healthcheck // nil means nixoci-init's in a NixOS system, none in an application

	// A setting that only a base image can have.
	Shell []string
}

// PlatformImage is one platform's config and manifest. [Draft.Image] makes it.
type PlatformImage struct {
	System   *System
	Recipe   digest.Digest // recipe of the draft
	Layers   []ocispec.Descriptor
	Config   oci.Blob
	Manifest oci.Blob // its Descriptor has the platform and annotations for the index
}
