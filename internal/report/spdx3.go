package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// FormatSPDX3 is SPDX 3.0.1 as JSON-LD.
const FormatSPDX3 = "spdx3"

const (
	spdx3Context = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
	spdx3Version = "3.0.1"
	spdx3Info    = "_:creationInfo" // all elements refer to this one
)

// spdx3 collects the elements of a document. SPDX's own Go library has no release for version
// 3 yet, so nixoci writes the JSON-LD itself. An element is an object. The context file of
// SPDX defines the names of its fields.
type spdx3 struct {
	prefix   string // prefix of each identifier
	graph    []map[string]any
	elements []string // identifiers of the elements
	licenses map[string]string
	n        int // number of relationships
}

// add adds an element and returns its identifier.
func (d *spdx3) add(kind, id string, fields map[string]any) string {
	iri := d.prefix + "#" + id
	element := map[string]any{"type": kind, "spdxId": iri, "creationInfo": spdx3Info}
	for k, v := range fields {
		if v != "" {
			element[k] = v
		}
	}
	d.graph = append(d.graph, element)
	d.elements = append(d.elements, iri)
	return iri
}

// relate adds a relationship between elements. kind is the type of the relationship.
func (d *spdx3) relate(from, kind string, to []string, fields map[string]any) {
	d.n++
	all := map[string]any{"from": from, "relationshipType": kind, "to": to}
	for k, v := range fields {
		all[k] = v
	}
	class := "Relationship"
	if kind == "fixedIn" {
		class = "security_VexFixedVulnAssessmentRelationship"
	}
	d.add(class, fmt.Sprintf("Relationship-%d", d.n), all)
}

// license relates the element from to a licence expression. All packages with the same
// expression share one element for it.
func (d *spdx3) license(from, expression string) {
	id, ok := d.licenses[expression]
	if !ok {
		id = d.add("simplelicensing_LicenseExpression", fmt.Sprintf("License-%d", len(d.licenses)+1),
			map[string]any{"simplelicensing_licenseExpression": expression})
		d.licenses[expression] = id
	}
	d.relate(from, "hasDeclaredLicense", []string{id}, nil)
}

func spdx3Hash(hexadecimal string) []map[string]any {
	return []map[string]any{{"type": "Hash", "algorithm": "sha256", "hashValue": strings.TrimPrefix(hexadecimal, "sha256:")}}
}

// writeSPDX3 writes c as SPDX 3.0.1 (https://spdx.github.io/spdx-spec/v3.0.1/). The document
// has the same packages as SPDX 2.3. It marks the dependencies of each package as complete,
// because the references of a store path are all store paths that Nix found in its files.
func writeSPDX3(w io.Writer, c *closure.Closure, o SBOMOptions) error {
	d := &spdx3{prefix: spdxNamespace + contentID(c, FormatSPDX3, o), licenses: map[string]string{}}
	name := subject(c)
	agent := d.add("SoftwareAgent", "Agent", map[string]any{"name": sbomTool})
	tool := d.add("Tool", "Tool", map[string]any{"name": sbomTool + "-" + sbomVersion})
	ids := make(map[closure.StorePath]string, len(c.Paths))
	taken := make(map[string]closure.StorePath, len(c.Paths))
	for i := range c.Paths {
		p := &c.Paths[i]
		id := spdxID(p.Path)
		if taken[id] != "" {
			return fmt.Errorf("%s and %s have one hash", taken[id], p.Path)
		}
		taken[id] = p.Path
		ids[p.Path] = d.add("software_Package", id, o.spdx3Package(p))
	}
	for i := range c.Paths {
		p := &c.Paths[i]
		if refs := others(p); len(refs) > 0 {
			to := make([]string, len(refs))
			for k, r := range refs {
				to[k] = ids[r]
			}
			d.relate(ids[p.Path], "dependsOn", to, map[string]any{"completeness": "complete"})
		}
		if expression, ok := spdxLicense(o.meta(p.Path)); ok {
			d.license(ids[p.Path], expression)
		}
	}
	var roots []string
	for _, r := range c.Roots {
		roots = append(roots, ids[r])
	}
	roots = append(roots, d.addOthers(o)...)
	for _, f := range o.fixes(c) {
		v := d.add("security_Vulnerability", f.cve, map[string]any{"name": f.cve, "externalIdentifier": []map[string]any{{
			"type": "ExternalIdentifier", "externalIdentifierType": "cve", "identifier": f.cve}}})
		var to []string
		for _, p := range f.paths {
			to = append(to, ids[p.Path])
		}
		d.relate(v, "fixedIn", to, map[string]any{"security_statusNotes": f.note()})
	}
	elements := d.elements
	sbom := d.add("software_Sbom", "SBOM", map[string]any{"rootElement": roots, "element": elements, "software_sbomType": []string{"deployed"}})
	about := ""
	if o.System != "" {
		about = "Nix closure for " + o.System
	}
	d.add("SpdxDocument", "Document", map[string]any{
		"name": strings.Trim(name.Name+"-"+name.Version, "-"), "comment": about, "rootElement": []string{sbom},
		"element": append(append([]string{}, elements...), sbom), "profileConformance": spdx3Profiles(o),
		"dataLicense": d.dataLicense(),
	})
	info := map[string]any{"type": "CreationInfo", "@id": spdx3Info, "specVersion": spdx3Version, "created": o.created(),
		"createdBy": []string{agent}, "createdUsing": []string{tool}}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(map[string]any{"@context": spdx3Context, "@graph": append([]map[string]any{info}, d.graph...)})
}

// dataLicense adds the licence of the document itself, which SPDX prescribes, and returns its
// identifier.
func (d *spdx3) dataLicense() string {
	return d.add("simplelicensing_LicenseExpression", "DataLicense", map[string]any{"simplelicensing_licenseExpression": "CC0-1.0"})
}

// spdx3Profiles lists the SPDX profiles to which the document conforms.
func spdx3Profiles(o SBOMOptions) []string {
	profiles := []string{"core", "software", "simpleLicensing"}
	if o.Meta != nil {
		profiles = append(profiles, "security")
	}
	return profiles
}

func (o *SBOMOptions) spdx3Package(p *closure.Info) map[string]any {
	pkg := PackageOf(p.Path)
	fields := map[string]any{
		"name":                    pkg.Name,
		"software_packageVersion": pkg.Version,
		"software_packageUrl":     o.purl(p),
		"software_sourceInfo":     spdxSource(p),
		"comment":                 fmt.Sprintf("The hash is of the path's NAR, %d bytes.", p.NarSize),
		"verifiedUsing":           spdx3Hash(p.NarHash.Hex()),
	}
	if p.Path.NamedAsSystem() {
		fields["software_primaryPurpose"] = "operatingSystem"
	}
	if m := o.meta(p.Path); m != nil {
		fields["description"], fields["software_homePage"] = m.Description, homepage(m)
		if c := cpe(m); c != "" {
			fields["externalIdentifier"] = []map[string]any{{"type": "ExternalIdentifier", "externalIdentifierType": "cpe23", "identifier": c}}
		}
	}
	return fields
}

// addOthers adds nixoci-init and the base image, and returns their identifiers.
func (d *spdx3) addOthers(o SBOMOptions) (roots []string) {
	if o.Init != "" {
		url, program := initPackage(o)
		init := d.add("software_Package", "Package-"+initName, map[string]any{"name": initName, "software_packageVersion": program.Version,
			"software_packageUrl": url, "verifiedUsing": spdx3Hash(o.Init), "comment": "The hash is of the file /sbin/init."})
		if program.Go != "" {
			version, url := goLibrary(program)
			library := d.add("software_Package", "Package-go-stdlib", map[string]any{"name": "stdlib", "software_packageVersion": version, "software_packageUrl": url})
			d.relate(init, "dependsOn", []string{library}, map[string]any{"completeness": "complete"})
		}
		roots = append(roots, init)
	}
	if o.Base != nil {
		name, url := basePackage(o.Base)
		roots = append(roots, d.add("software_Package", "Package-base-image", map[string]any{"name": name, "software_packageVersion": o.Base.Digest.String(),
			"software_packageUrl": url, "verifiedUsing": spdx3Hash(o.Base.Digest.Encoded()), "comment": baseDescription, "software_primaryPurpose": "container"}))
	}
	return roots
}
