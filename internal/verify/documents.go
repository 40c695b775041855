package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// maxConfig is the largest size of an image config, in bytes.
const maxConfig = limit.Config

// documents holds the index, the manifests and the configs. They are read before any layer.
type documents struct {
	top      oci.Blob        // the manifest or index that the reference names
	index    *manifest.Index // nil if the reference names the manifest of one image
	images   []*document     // in the order of the index
	skipped  []string        // platforms that the user did not ask for
	findings []Finding       // findings about the index
}

// document holds the manifest and config of one image. Neither has been checked yet.
type document struct {
	entry      *ocispec.Descriptor // the image's entry in the index; nil if there is no index
	noManifest bool                // the source is an archive without a manifest, so nixoci composed one
	platform   string              // for display

	blob       oci.Blob // the bytes of the manifest
	manifest   *manifest.Manifest
	configData []byte
	config     ocispec.Image

	made     bool // whether the image says that nixoci made it
	form     form
	findings []Finding
}

// form describes the structure of an image.
type form struct {
	version     int  // version of the image format
	hasInit     bool // whether the first layer is an init layer
	application bool // true for an application, whose last layer is a root layer; false for a NixOS system
	base        int  // number of layers that belong to the base image; these are the lowest layers
}

// words holds the names of an image's parts, as the report and findings use them.
type words struct{ list, roots, last, platform string }

func (f form) words() words {
	if f.application {
		return words{list: "/" + manifest.ImageFile, roots: "the roots", last: "the root layer", platform: "the program that starts is for %s, or names no platform"}
	}
	return words{list: "the Nix database", roots: "the toplevel", last: "the system layer with its Nix database", platform: "the system is for %s"}
}

// place returns the place of layer n for findings. n counts from 0.
func (d *document) place(n int) Finding {
	return Finding{Platform: d.platform, Layer: n + 1, Digest: d.manifest.Layers[n].Digest}
}

// configPlace returns the place of the config, for findings.
func (d *document) configPlace() Finding {
	return Finding{Platform: d.platform, Digest: d.manifest.Config.Digest}
}

// complete reports whether manifest and config were read and have the same number of layers.
func (d *document) complete() bool {
	return d.manifest != nil && d.configData != nil && len(d.config.RootFS.DiffIDs) == len(d.manifest.Layers)
}

var errNotApplication = errors.New("only an application can have a base image")

// minLayers is 2: an image has one layer for the system and at least one for store paths.
const minLayers = 2

// ours reports whether the image says that nixoci made it, and whether its documents could be read.
func (d *document) ours() bool {
	return d.made && d.complete() && len(d.manifest.Layers) >= minLayers
}

// compression returns the recorded compression of layer n, where n counts from 0. If the record is
// invalid, it returns an error and a compression that fits the media type.
func (d *document) compression(n int) (layers.Compression, error) {
	l := d.manifest.Layers[n]
	if d.noManifest {
		return compressionOf(l.MediaType), nil
	}
	comp, err := layers.ParseCompression(l.Annotations[manifest.AnnotationCompression])
	if err != nil {
		return compressionOf(l.MediaType), err
	}
	return comp, nil
}

// readDocuments is the first stage of [Image]. It reads the index, the manifests and the configs.
func (v *verification) readDocuments(ctx context.Context, target string) (*documents, error) {
	docs := &documents{}
	blob, err := v.src.GetManifest(ctx, target)
	if what, ok := contentFinding(err); ok && !errors.Is(err, oci.ErrNotFound) {
		docs.findings = append(docs.findings, Finding{}.of(CheckDigests, "%s: %s", target, what))
		return docs, nil
	} else if err != nil {
		return docs, err
	}
	docs.top = blob
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if errors.Is(err, manifest.ErrNotManifest) {
		d, err := v.readDocument(ctx, blob, &document{})
		docs.images = append(docs.images, d)
		return docs, err
	}
	if err != nil {
		docs.findings = append(docs.findings, Finding{}.of(CheckDigests, "index: %v", err))
		return docs, nil
	}
	docs.index = index
	for n := range index.Manifests {
		entry := &index.Manifests[n]
		name := ""
		if entry.Platform != nil {
			name = manifest.FormatPlatform(*entry.Platform)
		}
		if !v.wanted(entry) {
			docs.skipped = append(docs.skipped, cmp.Or(name, entry.Digest.String()))
			continue
		}
		d, err := v.openDocument(ctx, &document{entry: entry, platform: name})
		if err != nil {
			return docs, err
		}
		docs.images = append(docs.images, d)
		if v.stopAtFirst() && len(d.findings) > 0 {
			return docs, nil
		}
	}
	if len(docs.images) == 0 {
		docs.findings = requiredBy(false, []Finding{Finding{}.of(CheckPlatform, "the index has no image for the requested platforms")})
	}
	return docs, nil
}

func (v *verification) wanted(d *ocispec.Descriptor) bool {
	if len(v.o.Platforms) == 0 {
		return true
	}
	return d.Platform != nil && slices.ContainsFunc(v.o.Platforms, func(p ocispec.Platform) bool { return manifest.SamePlatform(p, *d.Platform) })
}

// openDocument reads the manifest that the index entry d.entry names.
func (v *verification) openDocument(ctx context.Context, d *document) (*document, error) {
	found := func(format string, args ...any) {
		d.findings = append(d.findings, Finding{Platform: d.platform}.of(CheckDigests, format, args...))
	}
	blob, err := v.src.GetManifest(ctx, d.entry.Digest.String())
	if what, ok := contentFinding(err); ok {
		d.findings = append(d.findings, Finding{Platform: d.platform, Digest: d.entry.Digest}.of(CheckDigests, "manifest: %s", what))
		return d, nil
	} else if err != nil {
		return d, err
	}
	if d.entry.Size != blob.Descriptor.Size {
		found("manifest: it has %d bytes instead of %d", blob.Descriptor.Size, d.entry.Size)
	}
	if d.entry.MediaType != blob.Descriptor.MediaType {
		found("manifest: media type is %q, the index has %q", blob.Descriptor.MediaType, d.entry.MediaType)
	}
	if v.stopAtFirst() && len(d.findings) > 0 {
		return d, nil
	}
	return v.readDocument(ctx, blob, d)
}

// readDocument parses the manifest and reads the config that it names.
func (v *verification) readDocument(ctx context.Context, blob oci.Blob, d *document) (*document, error) {
	d.blob, d.noManifest = blob, v.noManifest
	found := func(c Check, format string, args ...any) (*document, error) {
		d.findings = append(d.findings, Finding{Platform: d.platform}.of(c, format, args...))
		return d, nil
	}
	m, err := manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return found(CheckDigests, "manifest: %v", err)
	}
	d.manifest = m
	data, what, err := v.readConfig(ctx, m.Config)
	if err != nil {
		return d, err
	}
	if what != "" {
		return found(CheckDigests, "config %s: %s", m.Config.Digest, what)
	}
	d.configData = data
	if err := manifest.UnmarshalConfig(data, &d.config); err != nil {
		return found(CheckDigests, "config %s: %v", m.Config.Digest, err)
	}
	if d.platform == "" {
		d.platform = manifest.FormatPlatform(d.config.Platform)
	}
	if n, want := len(d.config.RootFS.DiffIDs), len(m.Layers); n != want {
		return found(CheckDigests, "config %s: %d diffIDs for the manifest's %d layers", m.Config.Digest, n, want)
	}
	if d.noManifest {
		d.made = d.config.Config.Labels[manifest.AnnotationToplevel] != ""
	} else if format, ok := m.Annotations[manifest.AnnotationFormat]; ok {
		d.made = true
		d.form.version, err = strconv.Atoi(format)
		if err != nil || d.form.version < manifest.Format1 || d.form.version > manifest.CurrentFormat || strconv.Itoa(d.form.version) != format {
			found(CheckFormat, "manifest: image format is %q, but this nixoci knows only %d to %d", format, manifest.Format1, manifest.CurrentFormat)
		} else {
			d.form.hasInit = d.form.version >= manifest.Format2 && m.Annotations[manifest.AnnotationInit] != ""
			d.form.application = m.Annotations[manifest.AnnotationApplication] != ""
			if d.form.base, err = m.BaseLayers(); err != nil || d.form.base > 0 && !d.form.application {
				return found(CheckFormat, "manifest: annotation %s: %v", manifest.AnnotationBaseLayers, cmp.Or(err, errNotApplication))
			}
		}
	}
	if n := len(m.Layers); d.made && n < minLayers {
		return found(CheckFormat, "manifest: %s, but an image has at least two: one for the system and one for store paths", human.Count(n, "layer"))
	}
	return d, nil
}

// readConfig reads a config. If the config is wrong, what describes the fault.
func (v *verification) readConfig(ctx context.Context, d ocispec.Descriptor) (data []byte, what string, err error) {
	if d.Size > maxConfig {
		return nil, fmt.Sprintf("%d bytes, at most %d are read", d.Size, maxConfig), nil
	}
	r, err := v.src.GetBlob(ctx, d)
	if err == nil {
		data, err = io.ReadAll(r)
		r.Close()
	}
	if what, ok := contentFinding(err); ok {
		return nil, what, nil
	}
	return data, "", err
}
