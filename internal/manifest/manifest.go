package manifest

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// The annotation keys of nixoci. The annotations of layer descriptors identify each layer,
// also for a machine that has never seen the image: the layer need not be read. The
// annotations of manifests and the index do the same for the whole image.
const (
	AnnotationRecipe       = "io.nixoci.layer.recipe"      // layer descriptor: layers.Recipe
	AnnotationDiffID       = "io.nixoci.layer.diffid"      // layer descriptor: diffID, so that readers need not fetch the config
	AnnotationTarSize      = "io.nixoci.layer.tarsize"     // layer descriptor: bytes of the tar
	AnnotationCompression  = "io.nixoci.layer.compression" // layer descriptor: algorithm and level, as in the recipe
	AnnotationToplevel     = "io.nixoci.toplevel"          // manifest and its descriptor in the index: store path
	AnnotationNarHash      = "io.nixoci.toplevel.narhash"  // manifest and its descriptor in the index: the toplevel's narHash, in SRI form
	AnnotationFacts        = "io.nixoci.toplevel.facts"    // the manifest's descriptor in the index: Facts as JSON
	AnnotationFormat       = "io.nixoci.format"            // manifest: the image format's version
	AnnotationApplication  = "io.nixoci.application"       // manifest: version of the rules for applications; absent for a NixOS system
	AnnotationInit         = "io.nixoci.init"              // manifest: digest of the program /sbin/init; absent if /sbin/init is a link
	AnnotationPlanFrom     = "io.nixoci.plan.from"         // manifest: digest of the manifest whose plan this image continues; absent without --plan-from
	AnnotationBaseManifest = "io.nixoci.base.manifest"     // manifest: digest of the base image's manifest; absent without a base
	AnnotationBaseLayers   = "io.nixoci.base.layers"       // manifest: how many layers, from the lowest, come from the base image
	AnnotationImage        = "io.nixoci.image.recipe"      // manifest, its descriptor in the index, and index: recipe, a hash of all inputs
)

// The versions of the image format, see docs/format.md. nixoci can read and verify images of
// all versions.
const (
	// Format1 has a link /sbin/init that points to the toplevel's init program.
	Format1 = 1

	// Format2 has an init layer, a garbage collection root for the image's own toplevel, and
	// a file outside /nix that names the toplevel.
	Format2 = 2

	// CurrentFormat is the format of new images.
	CurrentFormat = Format2
)

// System describes one NixOS system or one application for one platform. Each System becomes
// one manifest. [ReadSystem], [NewSystem] or [NewApplication] returns a System.
type System struct {
	Format   int // format version of the image; 0 means CurrentFormat
	Platform ocispec.Platform
	Toplevel closure.StorePath // for an application: the first root
	NarHash  closure.Hash      // narHash of Toplevel
	Closure  *closure.Closure
	Source   closure.Source
	Init     *Init  // the program /sbin/init; nil means a link to Own
	Own      string // path of the system's own init program, relative to Toplevel
	Guest    bool   // the toplevel contains nixoci-init
	Version  string // the NixOS label, for instance 26.05.20260522.1a2b3c4; "" if the toplevel has none
	Facts    Facts  // the facts from which NewSystem made this System

	// App is set for an application. Init, Own, Guest, Version and Facts are then empty.
	App *application.Application

	// Base is the base image of an application; nil means none.
	Base *Base

	// PlanFrom is the digest of the manifest whose plan this image continues. The image then
	// depends on the closure and on that plan. "" means that it depends only on the closure.
	PlanFrom digest.Digest
}

// Settings contains the parts of the image's config and manifests that the user can change.
// The zero value means the defaults of the image format. [Settings.Validate] describes the
// allowed values.
type Settings struct {
	Env         []string // NAME=value; replaces or extends the defaults
	Labels      map[string]string
	Annotations map[string]string // on manifests and index
	Entrypoint  []string          // nil means /sbin/init; for an application, its program
	Cmd         []string
	User        string
	WorkingDir  string
	StopSignal  string   // "" means SIGRTMIN+3; for an application, the runtime's default
	Ports       []string // "80", "80/tcp", "53/udp", "5060/sctp"
	Volumes     []string // absolute directories
	Created     *time.Time
	Docker      bool // use Docker's media types instead of OCI's

	Healthcheck *Healthcheck // nil means the health check of nixoci-init; for an application, none

	// Shell can only come from a base image. The user cannot set it.
	Shell []string
}

// PlatformImage contains the config and the manifest of one platform. [Draft.Image] returns
// it.
type PlatformImage struct {
	System   *System
	Recipe   digest.Digest // recipe of the draft
	Layers   []ocispec.Descriptor
	Config   oci.Blob
	Manifest oci.Blob // the Descriptor includes the platform and the annotations for the index
}

// newManifestBlob does the same as [oci.JSONBlob] for manifests and indexes. It also checks the size
// limit of registries.
func newManifestBlob(mediaType string, v any) (oci.Blob, error) {
	b, err := oci.JSONBlob(mediaType, v)
	if err == nil && len(b.Data) > oci.MaxManifest {
		return oci.Blob{}, fmt.Errorf("write %s: %d bytes, registries accept at most %d", mediaType, len(b.Data), oci.MaxManifest)
	}
	return b, err
}
