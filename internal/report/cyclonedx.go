package report

import (
	"encoding/hex"
	"io"
	"strconv"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// writeCycloneDX writes c as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/). The
// document describes the closure as one component, which depends on the roots. Properties
// hold what only Nix records about a path. The section "CycloneDX" of nixpkgs' manual defines
// the names of these properties.
func writeCycloneDX(w io.Writer, c *closure.Closure, o SBOMOptions) error {
	name := subject(c)
	whole := cdx.Component{
		BOMRef:  "closure",
		Type:    cdx.ComponentTypeApplication,
		Name:    name.Name,
		Version: name.Version,
	}
	if len(c.Roots) == 1 && c.Roots[0].NamedAsSystem() {
		whole.Type = cdx.ComponentTypeOS
	}
	var roots []string
	for _, r := range c.Roots {
		roots = append(roots, string(r))
	}
	components := make([]cdx.Component, len(c.Paths))
	dependencies := []cdx.Dependency{{Ref: whole.BOMRef, Dependencies: &roots}}
	for i := range c.Paths {
		p := &c.Paths[i]
		components[i] = cdxComponent(p, o)
		refs := []string{}
		for _, r := range others(p) {
			refs = append(refs, string(r))
		}
		dependencies = append(dependencies, cdx.Dependency{Ref: string(p.Path), Dependencies: &refs})
	}
	if o.Init != "" {
		parts := cdxInit(o)
		roots = append(roots, parts[0].BOMRef)
		for i, part := range parts {
			uses := []string{}
			if i == 0 && len(parts) > 1 {
				uses = append(uses, parts[1].BOMRef)
			}
			dependencies = append(dependencies, cdx.Dependency{Ref: part.BOMRef, Dependencies: &uses})
		}
		components = append(components, parts...)
	}
	aggregate := cdx.CompositionAggregateComplete
	if o.Base != nil {
		base := cdxBase(o.Base)
		roots = append(roots, base.BOMRef)
		components = append(components, base)
		dependencies = append(dependencies, cdx.Dependency{Ref: base.BOMRef, Dependencies: &[]string{}})
		aggregate = cdx.CompositionAggregateIncomplete // the document does not list the content of the base image
	}
	bom := cdx.NewBOM()
	bom.SerialNumber = serialNumber(contentID(c, FormatCycloneDX, o))
	bom.Metadata = &cdx.Metadata{
		Timestamp: o.created(),
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{
			{Type: cdx.ComponentTypeApplication, Name: sbomTool, Version: sbomVersion}}},
		Component: &whole,
	}
	bom.Components = &components
	bom.Dependencies = &dependencies
	bom.Vulnerabilities = o.cdxVulnerabilities(c)
	// Without a base image the list is complete: a closure contains everything that its
	// programs use at run time.
	bom.Compositions = &[]cdx.Composition{{
		Aggregate:  aggregate,
		Assemblies: &[]cdx.BOMReference{cdx.BOMReference(whole.BOMRef)},
	}}
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).
		EncodeVersion(bom, cdx.SpecVersion1_6)
}

func cdxComponent(p *closure.Info, o SBOMOptions) cdx.Component {
	pkg := PackageOf(p.Path)
	c := cdx.Component{
		BOMRef:     string(p.Path),
		Type:       cdx.ComponentTypeApplication, // a closure does not show which packages are programs and which are libraries
		Name:       pkg.Name,
		Version:    pkg.Version,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(p.NarHash.Hex(), "sha256:")}},
		PackageURL: o.purl(p),
	}
	var props []cdx.Property
	add := func(name, value string) {
		if value != "" {
			props = append(props, cdx.Property{Name: "nix:" + name, Value: value})
		}
	}
	add("store_path", string(p.Path))
	add("narinfo:nar_hash", p.NarHash.Nix32())
	add("narinfo:nar_size", strconv.FormatInt(p.NarSize, 10))
	if p.Deriver != "" {
		add("narinfo:deriver", closure.StoreDir+"/"+p.Deriver)
	}
	if !strings.Contains(o.System, "/") {
		add("narinfo:system", o.System)
	}
	for _, s := range sortedSignatures(p) {
		add("narinfo:sig", s)
	}
	add("narinfo:ca", p.CA)
	var refs []string
	for _, r := range p.References {
		refs = append(refs, string(r))
	}
	add("narinfo:references", strings.Join(refs, " "))
	c.Properties = &props
	o.addCDXMeta(&c, p)
	return c
}

// cdxInit returns the component for nixoci-init. If the compiler of nixoci-init is known,
// cdxInit also returns a component for Go's standard library.
func cdxInit(o SBOMOptions) []cdx.Component {
	url, program := initPackage(o)
	parts := []cdx.Component{{
		BOMRef:     initName,
		Type:       cdx.ComponentTypeApplication,
		Name:       initName,
		Version:    program.Version,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(o.Init, "sha256:")}},
		PackageURL: url,
	}}
	if program.Go != "" {
		version, url := goLibrary(program)
		parts = append(parts, cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: "stdlib", Version: version, PackageURL: url})
	}
	return parts
}

// cdxBase returns one component that stands for the whole base image.
func cdxBase(b *manifest.BaseInfo) cdx.Component {
	name, url := basePackage(b)
	return cdx.Component{
		BOMRef:      url,
		Type:        cdx.ComponentTypeContainer,
		Name:        name,
		Version:     b.Digest.String(),
		Description: baseDescription,
		Hashes:      &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: b.Digest.Encoded()}},
		PackageURL:  url,
	}
}

// serialNumber makes a UUID of version 8 (RFC 9562, "custom") from a sha256 in hexadecimal.
func serialNumber(id string) string {
	b, _ := hex.DecodeString(id)
	u := uuid.UUID(b[:16])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u.URN()
}
