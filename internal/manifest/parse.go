package manifest

import (
	"bytes"
	_ "crypto/sha512" // because descriptors of other tools may use it
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

// Index is a parsed index or Docker manifest list.
type Index struct {
	MediaType   string
	Manifests   []ocispec.Descriptor
	Annotations map[string]string
}

// Manifest is a parsed manifest of one platform.
type Manifest struct {
	MediaType   string
	Config      ocispec.Descriptor
	Layers      []ocispec.Descriptor
	Annotations map[string]string
}

// ErrNotManifest is wrapped by the errors that the parsers return for a JSON document of
// another kind: for instance an index instead of a manifest, a manifest instead of an index,
// or another artifact.
var ErrNotManifest = errors.New("not a document of this kind")

// document contains the fields of all kinds of documents. The parsers use it to find out the
// kind.
type document struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	FSLayers      json.RawMessage      `json:"fsLayers"`
	Annotations   map[string]string    `json:"annotations"`
}

// ParseIndex parses an index or a manifest list of at most [oci.MaxManifest] bytes. mediaType
// is the media type that the registry stated, "" if it is unknown.
func ParseIndex(data []byte, mediaType string) (*Index, error) {
	doc, err := parse(data, mediaType, "index")
	if err != nil {
		return nil, err
	}
	if doc.MediaType != ocispec.MediaTypeImageIndex && doc.MediaType != mediatype.DockerList {
		return nil, fmt.Errorf("read index: media type %q: %w", doc.MediaType, ErrNotManifest)
	}
	if doc.Config != nil || doc.Layers != nil || doc.FSLayers != nil {
		return nil, fmt.Errorf("read index: it also has the fields of a manifest, so it is ambiguous: %w", ErrNotManifest)
	}
	for i, d := range doc.Manifests {
		if err := checkDescriptor(d); err != nil {
			return nil, fmt.Errorf("read index: manifest %d: %w", i, err)
		}
		if d.Size > oci.MaxManifest {
			return nil, fmt.Errorf("read index: manifest %s: %d bytes, at most %d are allowed", d.Digest, d.Size, oci.MaxManifest)
		}
	}
	return &Index{MediaType: doc.MediaType, Manifests: doc.Manifests, Annotations: doc.Annotations}, nil
}

// ParseManifest parses the manifest of one platform, in the format of OCI or of Docker schema
// 2. data must have at most [oci.MaxManifest] bytes.
func ParseManifest(data []byte, mediaType string) (*Manifest, error) {
	doc, err := parse(data, mediaType, "manifest")
	if err != nil {
		return nil, err
	}
	if doc.MediaType != ocispec.MediaTypeImageManifest && doc.MediaType != mediatype.DockerManifest {
		return nil, fmt.Errorf("read manifest: media type %q: %w", doc.MediaType, ErrNotManifest)
	}
	if doc.Manifests != nil || doc.FSLayers != nil {
		return nil, fmt.Errorf("read manifest: it also has the fields of an index, so it is ambiguous: %w", ErrNotManifest)
	}
	if doc.Config == nil {
		return nil, errors.New("read manifest: no config")
	}
	if err := checkDescriptor(*doc.Config); err != nil {
		return nil, fmt.Errorf("read manifest: config: %w", err)
	}
	for i, d := range doc.Layers {
		if err := checkDescriptor(d); err != nil {
			return nil, fmt.Errorf("read manifest: layer %d: %w", i, err)
		}
	}
	return &Manifest{MediaType: doc.MediaType, Config: *doc.Config, Layers: doc.Layers, Annotations: doc.Annotations}, nil
}

func parse(data []byte, mediaType, kind string) (*document, error) {
	if len(data) > oci.MaxManifest {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d are allowed", kind, len(data), oci.MaxManifest)
	}
	doc := &document{}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", kind, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("read %s: trailing data after the document", kind)
	}
	if doc.SchemaVersion != 2 {
		return nil, fmt.Errorf("read %s: schemaVersion is %d, not 2: %w", kind, doc.SchemaVersion, ErrNotManifest)
	}
	switch {
	case doc.MediaType == "":
		doc.MediaType = mediaType // OCI does not require the field mediaType
	case mediaType != "" && doc.MediaType != mediaType:
		return nil, fmt.Errorf("read %s: media type is %q, but the registry calls it %q", kind, doc.MediaType, mediaType)
	}
	if doc.MediaType == "" && kind == "index" && doc.Manifests != nil {
		doc.MediaType = ocispec.MediaTypeImageIndex
	}
	if doc.MediaType == "" && kind == "manifest" && doc.Config != nil {
		doc.MediaType = ocispec.MediaTypeImageManifest
	}
	return doc, nil
}

// UnmarshalConfig decodes the config of an image. It refuses a config with too many values, which would
// need many times as much memory as its JSON.
func UnmarshalConfig(data []byte, v any) error {
	if err := limit.JSONValues(data, limit.ConfigValues); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: size is %d", d.Digest, d.Size)
	}
	if d.MediaType == "" {
		return fmt.Errorf("%s: no media type", d.Digest)
	}
	return nil
}

// Find returns the descriptor for platform p. It returns nil if the index contains none.
func (x *Index) Find(p ocispec.Platform) *ocispec.Descriptor {
	for i, d := range x.Manifests {
		if d.Platform != nil && SamePlatform(*d.Platform, p) {
			return &x.Manifests[i]
		}
	}
	return nil
}

// Holds reports whether the index lists exactly these images for their platforms. After a
// join, push reads the index again and calls Holds.
func (x *Index) Holds(images []*PlatformImage) bool {
	for _, img := range images {
		d := x.Find(img.System.Platform)
		if d == nil || d.Digest != img.Manifest.Descriptor.Digest {
			return false
		}
	}
	return true
}

// Claims contains the claims of a manifest about its layers. Anyone who can write to the
// repository can claim anything. Claims were checked as far as possible without reading a
// layer.
type Claims struct {
	Rejected []error // for messages: one error for each layer with an inconsistent claim

	known map[layers.Recipe]claim
}

type claim struct {
	layers.Packed
	compression string
}

// Claims reads the claims from the annotations of m's layers. A layer without a recipe was
// made by another tool and has no claim. configData is the config, or nil if the caller does
// not have the config. If configData is not nil, it must match m.Config, and its diffIDs must
// be the claimed ones.
func (m *Manifest) Claims(configData []byte) (*Claims, error) {
	var diffIDs []digest.Digest
	if configData != nil {
		if int64(len(configData)) != m.Config.Size || m.Config.Digest.Algorithm().FromBytes(configData) != m.Config.Digest {
			return nil, fmt.Errorf("read config: the content does not have digest %s and %d bytes", m.Config.Digest, m.Config.Size)
		}
		var c ocispec.Image
		if err := UnmarshalConfig(configData, &c); err != nil {
			return nil, fmt.Errorf("read config %s: %w", m.Config.Digest, err)
		}
		if diffIDs = c.RootFS.DiffIDs; len(diffIDs) != len(m.Layers) {
			return nil, fmt.Errorf("read config %s: %d diffIDs for %d layers", m.Config.Digest, len(diffIDs), len(m.Layers))
		}
	}
	c := &Claims{known: map[layers.Recipe]claim{}}
	contradicted := map[layers.Recipe]bool{}
	for i, d := range m.Layers {
		if _, ok := d.Annotations[AnnotationRecipe]; !ok {
			continue
		}
		r, cl, err := readClaim(d)
		if err == nil && diffIDs != nil && cl.DiffID != diffIDs[i] {
			err = fmt.Errorf("diffID is %s, but the config has %s", cl.DiffID, diffIDs[i])
		}
		if err != nil {
			c.Rejected = append(c.Rejected, fmt.Errorf("layer %s: %w", d.Digest, err))
			continue
		}
		if other, twice := c.known[r]; twice && other != cl {
			c.Rejected = append(c.Rejected, fmt.Errorf("layer %s: it has the same recipe as another layer, %s: %s", d.Digest, other.Digest, r))
			contradicted[r] = true
		}
		c.known[r] = cl
	}
	maps.DeleteFunc(c.known, func(r layers.Recipe, _ claim) bool { return contradicted[r] })
	return c, nil
}

func readClaim(d ocispec.Descriptor) (layers.Recipe, claim, error) {
	r, err := layers.ParseRecipe(d.Annotations[AnnotationRecipe])
	if err != nil {
		return r, claim{}, err
	}
	tarSize, err := strconv.ParseInt(d.Annotations[AnnotationTarSize], 10, 64)
	if err != nil {
		return r, claim{}, fmt.Errorf("tar size %q: not a number", d.Annotations[AnnotationTarSize])
	}
	cl := claim{
		Packed: layers.Packed{
			DiffID:           digest.Digest(d.Annotations[AnnotationDiffID]),
			Digest:           d.Digest,
			Size:             d.Size,
			UncompressedSize: tarSize,
		},
		compression: d.Annotations[AnnotationCompression],
	}
	if err := checkPacked(cl.Packed); err != nil {
		return r, claim{}, err
	}
	comp, err := layers.ParseCompression(cl.compression)
	if err != nil || comp.String() != cl.compression {
		return r, claim{}, fmt.Errorf("compression %q: not in the form that nixoci writes", cl.compression)
	}
	oci, _ := comp.MediaType(false)
	docker, _ := comp.MediaType(true)
	switch {
	case d.MediaType != oci && d.MediaType != docker:
		return r, claim{}, fmt.Errorf("media type %s does not fit compression %q", d.MediaType, cl.compression)
	case comp.Algorithm == layers.None && (cl.DiffID != cl.Digest || cl.Packed.Size != cl.UncompressedSize):
		return r, claim{}, errors.New("not compressed, but blob and tar differ")
	case comp.Algorithm != layers.None && cl.DiffID == cl.Digest:
		return r, claim{}, errors.New("compressed, but blob and tar have the same digest")
	}
	return r, cl, nil
}

// Lookup returns the claim about the bytes of l. It returns false if there is none.
func (c *Claims) Lookup(l *layers.Layer) (layers.Packed, bool) {
	if c == nil {
		return layers.Packed{}, false
	}
	cl, ok := c.known[l.Recipe]
	if !ok || cl.compression != l.Compression.String() {
		return layers.Packed{}, false
	}
	return cl.Packed, true
}

// Recipes returns the recipes of all claims in sorted order.
func (c *Claims) Recipes() []layers.Recipe {
	return slices.SortedFunc(maps.Keys(c.known), func(a, b layers.Recipe) int { return bytes.Compare(a[:], b[:]) })
}
