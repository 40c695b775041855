package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/initbin"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/terminal"
)

// Inspection is the result of the command inspect. Its fields are those of the JSON output.
type Inspection struct {
	Name        string                 `json:"name"`
	Digest      string                 `json:"digest"`
	MediaType   string                 `json:"mediaType"`
	Annotations map[string]string      `json:"annotations,omitempty"`
	Attached    []AttachedDocument     `json:"attached"`
	Signatures  []attest.ClaimedSigner `json:"signatures,omitempty"` // signatures of the image, not checked
	Platforms   []PlatformInspection   `json:"platforms"`
}

// PlatformInspection describes one platform of an image. Sizes are bytes.
type PlatformInspection struct {
	Platform    string             `json:"platform"`
	Digest      string             `json:"digest"`
	Toplevel    closure.StorePath  `json:"toplevel,omitempty"`
	Size        int64              `json:"size"`              // size of all layers as compressed blobs
	TarSize     int64              `json:"tarSize,omitempty"` // size of all layers after decompression; 0 if unknown
	NarSize     int64              `json:"narSize,omitempty"` // size of the closure as NARs
	StorePaths  int                `json:"storePaths,omitempty"`
	SignedBy    map[string]int     `json:"signedBy,omitempty"` // by name of a key: number of store paths with a signature of that name, not checked
	Base        *BaseInspection    `json:"base,omitempty"`     // the base image
	Init        string             `json:"init,omitempty"`     // digest of the program at /sbin/init
	Created     string             `json:"created,omitempty"`
	Annotations map[string]string  `json:"annotations,omitempty"`
	Config      json.RawMessage    `json:"config,omitempty"`
	Layers      []LayerInspection  `json:"layers"`
	Attached    []AttachedDocument `json:"attached"`
	config      ocispec.ImageConfig
}

// BaseInspection describes a base image. The layers of the base image are the lowest layers
// of the platform.
type BaseInspection struct {
	manifest.BaseInfo
	Size int64 `json:"size"` // bytes of the base image's layers, as a client pulls them
}

// LayerInspection describes one layer.
type LayerInspection struct {
	Digest      string        `json:"digest"`
	DiffID      string        `json:"diffID"`
	MediaType   string        `json:"mediaType"`
	Size        int64         `json:"size"`
	TarSize     int64         `json:"tarSize,omitempty"`
	Compression string        `json:"compression,omitempty"`
	Recipe      string        `json:"recipe,omitempty"`
	Comment     string        `json:"comment,omitempty"`
	System      bool          `json:"system,omitempty"` // true: the layer contains root directories and the Nix database
	Init        bool          `json:"init,omitempty"`   // true: the layer contains nixoci-init
	Base        bool          `json:"base,omitempty"`   // true: the layer belongs to the base image
	Paths       []PathOfLayer `json:"paths"`            // store paths; null if unknown
	NarSize     int64         `json:"narSize,omitempty"`
}

// PathOfLayer describes a store path in a layer.
type PathOfLayer struct {
	Path    closure.StorePath `json:"path"`
	NarSize int64             `json:"narSize,omitempty"`
	NarHash string            `json:"narHash,omitempty"` // hash in SRI form
}

// Inspect makes an Inspection from img.
func Inspect(img *Image) *Inspection {
	in := &Inspection{
		Name:        img.Name,
		Digest:      img.Descriptor.Digest.String(),
		MediaType:   img.Descriptor.MediaType,
		Annotations: img.Annotations,
		Attached:    attachedDocuments(img.Attached),
		Signatures:  img.Signatures,
		Platforms:   []PlatformInspection{},
	}
	for _, p := range img.Platforms {
		in.Platforms = append(in.Platforms, inspectPlatform(p))
	}
	return in
}

func inspectPlatform(p *ImagePlatform) PlatformInspection {
	pi := PlatformInspection{
		Platform:    manifest.FormatPlatform(p.Platform),
		Digest:      p.Descriptor.Digest.String(),
		Annotations: p.Annotations,
		Config:      p.RawConfig,
		Init:        p.Init.String(),
		Layers:      []LayerInspection{},
		Attached:    attachedDocuments(p.Attached),
		config:      p.Config.Config,
	}
	if p.Config.Created != nil {
		pi.Created = p.Config.Created.UTC().Format("2006-01-02T15:04:05Z")
	}
	if c := p.Closure; c != nil {
		pi.Toplevel, pi.NarSize, pi.StorePaths = c.Roots[0], c.NarSize(), len(c.Paths)
		if labelled := closure.StorePath(p.Config.Config.Labels[manifest.AnnotationToplevel]); slices.Contains(c.Roots, labelled) {
			pi.Toplevel = labelled // for several applications, the label contains the first of the roots
		}
		pi.SignedBy = signers(c)
	}
	if p.Base != nil {
		pi.Base = &BaseInspection{BaseInfo: *p.Base}
	}
	tarKnown := true
	for i := range p.Layers {
		l := &p.Layers[i]
		li := LayerInspection{
			Digest:      l.Descriptor.Digest.String(),
			DiffID:      l.DiffID.String(),
			MediaType:   l.Descriptor.MediaType,
			Size:        l.Descriptor.Size,
			TarSize:     l.TarSize,
			Compression: l.Compression,
			Recipe:      l.Recipe,
			Comment:     l.Comment,
			System:      l.System,
			Init:        l.Init,
			Base:        l.Base,
		}
		if l.PathsKnown {
			li.Paths = []PathOfLayer{}
		}
		for _, path := range l.Paths {
			pl := PathOfLayer{Path: path}
			if p.Closure != nil {
				if info := p.Closure.Info(path); info != nil {
					pl.NarSize, pl.NarHash = info.NarSize, info.NarHash.SRI()
				}
			}
			li.NarSize += pl.NarSize
			li.Paths = append(li.Paths, pl)
		}
		if pi.Base != nil && l.Base {
			pi.Base.Size += li.Size
		}
		pi.Size += li.Size
		pi.TarSize += li.TarSize
		tarKnown = tarKnown && li.TarSize > 0
		pi.Layers = append(pi.Layers, li)
	}
	if !tarKnown {
		pi.TarSize = 0
	}
	return pi
}

// signerText names the signer that a signature states.
func signerText(s attest.ClaimedSigner) string {
	who := "a key"
	if s.Signer != "" {
		who = s.Signer
	}
	if s.Repository != "" {
		who += ", as " + s.Repository
	}
	return who
}

// WriteText writes the inspection for people. If paths is true, it lists the store paths of
// each layer.
func (in *Inspection) WriteText(p *terminal.Printer, paths bool) error {
	p.Printf("%s\n%s  %s, %s\n", in.Name, in.Digest, kindOf(in.MediaType), human.Count(len(in.Platforms), "platform"))
	for _, s := range in.Signatures {
		p.Printf("signed    by %s (to check it: nixoci verify %s)\n", signerText(s), attest.FlagFor(s.Signer))
	}
	writeDescription(p, in.Annotations)
	writeAttached(p, "", in.Attached)
	for i := range in.Platforms {
		in.Platforms[i].writeText(p, paths)
	}
	return p.Err()
}

// signers counts, for each key name, the store paths with a signature of this name. It does
// not check the signatures.
func signers(c *closure.Closure) map[string]int {
	keys := map[string]int{}
	for i := range c.Paths {
		for _, s := range c.Paths[i].Signatures {
			if name, _, ok := strings.Cut(s, ":"); ok {
				keys[name]++
			}
		}
	}
	return keys
}

func kindOf(mediaType string) string {
	switch mediaType {
	case ocispec.MediaTypeImageIndex:
		return "OCI index"
	case ocispec.MediaTypeImageManifest:
		return "OCI manifest"
	case mediatype.DockerList:
		return "Docker manifest list"
	case mediatype.DockerManifest:
		return "Docker manifest"
	}
	return mediaType
}

// writeDescription writes the annotations that name the origin and the licences of an image. nixoci
// does not check them.
func writeDescription(p *terminal.Printer, annotations map[string]string) {
	for _, line := range [][2]string{
		{"source", annotations[ocispec.AnnotationSource]},
		{"revision", annotations[ocispec.AnnotationRevision]},
		{"url", annotations[ocispec.AnnotationURL]},
		{"licenses", annotations[ocispec.AnnotationLicenses]},
	} {
		if line[1] != "" {
			p.Printf("%-9s %s\n", line[0], line[1])
		}
	}
}

func writeAttached(p *terminal.Printer, indent string, all []AttachedDocument) {
	for i := range all {
		unsigned := ""
		if all[i].unsigned() {
			unsigned = ", not signed"
		}
		p.Printf("%sattached  %s%s\n", indent, all[i].text(), unsigned)
	}
}

func (pi *PlatformInspection) writeText(p *terminal.Printer, paths bool) {
	p.Printf("\n%s  %s\n", pi.Platform, pi.Digest)
	if pi.Toplevel != "" {
		p.Printf("  toplevel  %s\n", pi.Toplevel)
		p.Printf("  closure   %s, %s\n", human.Count(pi.StorePaths, "store path"), human.Bytes(pi.NarSize))
	}
	for _, key := range sortedKeys(pi.SignedBy) {
		p.Printf("  signed    %d of %s by %s (to check it: nixoci verify --require-signatures all)\n", pi.SignedBy[key], human.Count(pi.StorePaths, "store path"), key)
	}
	size := human.Bytes(pi.Size) + " in " + human.Count(len(pi.Layers), "layer")
	if pi.TarSize > 0 {
		size += ", " + human.Bytes(pi.TarSize) + " unpacked (" + percent(pi.Size, pi.TarSize) + ")"
	}
	p.Printf("  size      %s\n", size)
	if b := pi.Base; b != nil {
		p.Printf("  base      %s, %s in %s\n", b.BaseInfo, human.Bytes(b.Size), human.Count(b.Count, "layer"))
	}
	if pi.Init != "" {
		p.Printf("  init      %s\n", initText(pi.Init))
	}
	if pi.Created != "" {
		p.Printf("  created   %s\n", pi.Created)
	}
	c := &pi.config
	for _, line := range [][2]string{
		{"runs", strings.Join(append(slices.Clone(c.Entrypoint), c.Cmd...), " ")},
		{"user", c.User},
		{"workdir", c.WorkingDir},
		{"stop with", c.StopSignal},
		{"health", pi.health()},
		{"env", strings.Join(c.Env, " ")},
		{"ports", strings.Join(sortedKeys(c.ExposedPorts), " ")},
		{"volumes", strings.Join(sortedKeys(c.Volumes), " ")},
	} {
		if line[1] != "" {
			p.Printf("  %-9s %s\n", line[0], line[1])
		}
	}
	for _, k := range sortedKeys(c.Labels) {
		p.Printf("  label     %s=%s\n", k, c.Labels[k])
	}
	writeAttached(p, "  ", pi.Attached)
	rows := [][]string{{"layer", "size", "unpacked", "ratio", "paths", "what"}}
	for i := range pi.Layers {
		l := &pi.Layers[i]
		row := []string{human.Digest(l.Digest), human.Bytes(l.Size), "-", "-", "?", l.Comment}
		if l.TarSize > 0 {
			row[2], row[3] = human.Bytes(l.TarSize), percent(l.Size, l.TarSize)
		}
		if l.Paths != nil {
			row[4] = fmt.Sprint(len(l.Paths))
		}
		rows = append(rows, row)
	}
	p.Printf("\n")
	if !paths {
		p.Table("  ", rows)
		return
	}
	for i := range pi.Layers {
		l := &pi.Layers[i]
		p.Printf("  %s  %s  %s\n", human.Digest(l.Digest), human.Bytes(l.Size), l.Comment)
		for _, path := range l.Paths {
			p.Printf("    %8s  %s\n", human.Bytes(path.NarSize), path.Path)
		}
	}
}

// health returns the command of the image's health check.
func (pi *PlatformInspection) health() string {
	var c manifest.BaseConfig
	if json.Unmarshal(pi.Config, &c) != nil || c.Healthcheck == nil {
		return ""
	}
	return strings.TrimPrefix(strings.Join(c.Healthcheck.Test, " "), manifest.HealthCommand+" ")
}

// initText describes nixoci-init, given the digest of the program.
func initText(digest string) string {
	if program, ok := initbin.Lookup(digest); ok {
		return "nixoci-init " + program.Version + ", " + digest
	}
	return "not a known nixoci-init, " + digest
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
