package manifest

import (
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
)

// Annotation keys of nixoci. The ones on layer descriptors let a machine that
// has never seen the image know each layer without reading it; the ones on
// manifests and the index do the same for the whole image.
const (
	AnnotationRecipe   = "io.nixoci.layer.recipe"  // layer descriptor: layers.Recipe
	AnnotationDiffID   = "io.nixoci.layer.diffid"  // layer descriptor: diffID, so that the config need not be fetched
	AnnotationTarSize  = "io.nixoci.layer.tarsize" // layer descriptor: bytes of the tar
	AnnotationToplevel = "io.nixoci.toplevel"      // manifest and its descriptor in the index: store path
	AnnotationImage    = "io.nixoci.image.recipe"  // index: hash of all that determines it
)

// System is one NixOS system for one platform: what one manifest is made from.
type System struct {
	Platform ocispec.Platform
	Toplevel closure.StorePath
	Closure  *closure.Closure
	Source   closure.Source
	Init     string // what /sbin/init links to, below Toplevel
	Guest    bool   // the closure has nixoci-init as its toplevel's nixoci-init
}

// Settings are what the user may override in the image's config and manifests.
// The zero value is the default of design.md.
type Settings struct {
	Env         []string // NAME=value, added to or replacing the defaults
	Labels      map[string]string
	Annotations map[string]string // on manifests and index
	Entrypoint  []string          // nil: /sbin/init
	Cmd         []string
	User        string
	WorkingDir  string
	StopSignal  string // "": SIGRTMIN+3
	Ports       []string
	Volumes     []string
	Created     *time.Time // nil: left out
	Docker      bool       // Docker media types instead of OCI's
}

// Blob is a small blob that is held in memory: a config, manifest or index.
type Blob struct {
	Descriptor ocispec.Descriptor
	Data       []byte
}

// Image is one platform's config and manifest.
type Image struct {
	System   *System
	Config   Blob
	Manifest Blob // Descriptor has the platform and annotations as the index lists it
}

// PackedLayer is a layer with what is known of its bytes.
type PackedLayer struct {
	*layers.Layer
	layers.Packed
}
