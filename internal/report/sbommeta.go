package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// meta returns the metadata of a store path in nixpkgs, or nil if it is unknown.
func (o *SBOMOptions) meta(p closure.StorePath) *nixbuild.Meta { return o.Meta[p] }

// hashMeta writes all metadata of the paths of c to w, for [contentID].
func (o *SBOMOptions) hashMeta(w io.Writer, c *closure.Closure) {
	for i := range c.Paths {
		if m := o.meta(c.Paths[i].Path); m != nil {
			data, _ := json.Marshal(m) // encoding cannot fail for a struct of strings
			fmt.Fprintf(w, "meta %s %s\n", c.Paths[i].Path, data)
		}
	}
}

// spdxLicense returns the licences of a package as an SPDX expression. If nixpkgs lists
// several licences, each of them applies to a part of the package. ok is false if one of them
// has no SPDX identifier.
func spdxLicense(m *nixbuild.Meta) (expression string, ok bool) {
	if m == nil || len(m.Licenses) == 0 {
		return "", false
	}
	var ids []string
	for _, l := range m.Licenses {
		if !spdxLicenseID(l.SPDX) {
			return "", false
		}
		if !slices.Contains(ids, l.SPDX) {
			ids = append(ids, l.SPDX)
		}
	}
	return strings.Join(ids, " AND "), true
}

// spdxLicenseID reports whether s can be an identifier in an SPDX expression (SPDX 2.3, annex
// D: letters, digits, dots and dashes).
func spdxLicenseID(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '+')
	})
}

// licenseName names a licence for people.
func licenseName(l nixbuild.License) string {
	if l.SPDX != "" {
		return l.SPDX
	}
	return l.FullName
}

// licenseNames lists the licences of a package for people.
func licenseNames(m *nixbuild.Meta) string {
	if m == nil {
		return ""
	}
	var all []string
	for _, l := range m.Licenses {
		if n := licenseName(l); n != "" && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return strings.Join(all, ", ")
}

// homepage returns the first homepage that is a web URL. A document must not contain other
// URIs in this place, and the metadata of a flake can contain any text.
func homepage(m *nixbuild.Meta) string {
	for _, h := range m.Homepages {
		if u, err := url.Parse(h); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
			return h
		}
	}
	return ""
}

// cpe returns the CPE of a package if it has the form of CPE 2.3.
func cpe(m *nixbuild.Meta) string {
	if strings.HasPrefix(m.CPE, "cpe:2.3:") && strings.Count(m.CPE, ":") >= 12 && !strings.ContainsFunc(m.CPE, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return m.CPE
	}
	return ""
}

// maintainer formats a maintainer as "Name (email)".
func maintainer(m nixbuild.Maintainer) string {
	if m.Email == "" {
		return m.Name
	}
	return strings.TrimSpace(m.Name + " (" + m.Email + ")")
}

// addSPDXMeta adds metadata from nixpkgs to a package of SPDX 2.3.
func (o *SBOMOptions) addSPDXMeta(pkg *v2_3.Package, p *closure.Info) {
	m := o.meta(p.Path)
	if m == nil {
		return
	}
	if expression, ok := spdxLicense(m); ok {
		pkg.PackageLicenseDeclared = expression
	} else if names := licenseNames(m); names != "" {
		pkg.PackageLicenseComments = "nixpkgs: " + names
	}
	pkg.PackageHomePage = homepage(m)
	pkg.PackageDescription = m.Description
	if c := cpe(m); c != "" {
		pkg.PackageExternalReferences = append(pkg.PackageExternalReferences, &v2_3.PackageExternalReference{
			Category: common.CategorySecurity, RefType: common.TypeSecurityCPE23Type, Locator: c})
	}
	note := func(text string) {
		pkg.Annotations = append(pkg.Annotations, v2_3.Annotation{
			Annotator:         common.Annotator{AnnotatorType: "Tool", Annotator: sbomTool + "-" + sbomVersion},
			AnnotationDate:    o.created(),
			AnnotationType:    "OTHER",
			AnnotationComment: text,
		})
	}
	for _, who := range m.Maintainers {
		note("nixpkgs maintainer " + maintainer(who))
	}
	for _, f := range m.Fixes() {
		note("nixpkgs applies the patch " + f.Patch + " for " + f.CVE)
	}
}

// addCDXMeta adds metadata from nixpkgs to a component of CycloneDX.
func (o *SBOMOptions) addCDXMeta(c *cdx.Component, p *closure.Info) {
	m := o.meta(p.Path)
	if m == nil {
		return
	}
	if expression, ok := spdxLicense(m); ok {
		c.Licenses = &cdx.Licenses{{Expression: expression}}
	} else if len(m.Licenses) > 0 {
		var all cdx.Licenses
		for _, l := range m.Licenses {
			if n := licenseName(l); n != "" {
				all = append(all, cdx.LicenseChoice{License: &cdx.License{Name: n}})
			}
		}
		if all != nil {
			c.Licenses = &all
		}
	}
	c.Description, c.CPE = m.Description, cpe(m)
	if h := homepage(m); h != "" {
		c.ExternalReferences = &[]cdx.ExternalReference{{Type: cdx.ERTypeWebsite, URL: h}}
	}
	for _, who := range m.Maintainers {
		*c.Properties = append(*c.Properties, cdx.Property{Name: "nix:meta:maintainer", Value: maintainer(who)})
	}
}

// cdxVulnerabilities lists the CVEs that patches of c's packages fix.
func (o *SBOMOptions) cdxVulnerabilities(c *closure.Closure) *[]cdx.Vulnerability {
	var all []cdx.Vulnerability
	for _, f := range o.fixes(c) {
		v := cdx.Vulnerability{
			BOMRef:   f.cve,
			ID:       f.cve,
			Source:   &cdx.Source{Name: "NVD", URL: "https://nvd.nist.gov/vuln/detail/" + f.cve},
			Analysis: &cdx.VulnerabilityAnalysis{State: cdx.IASResolved, Detail: f.note()},
		}
		var affects []cdx.Affects
		for _, p := range f.paths {
			affects = append(affects, cdx.Affects{Ref: string(p.Path)})
		}
		v.Affects = &affects
		all = append(all, v)
	}
	if all == nil {
		return nil
	}
	return &all
}

// fixed holds a CVE and the paths whose packages contain a patch for it.
type fixed struct {
	cve     string
	patches []string
	paths   []*closure.Info
}

func (f *fixed) note() string {
	return "nixpkgs applies a patch that is named after it: " + strings.Join(f.patches, ", ")
}

// fixes finds the CVEs in the names of patches, and returns them sorted.
func (o *SBOMOptions) fixes(c *closure.Closure) (all []fixed) {
	index := map[string]int{}
	for i := range c.Paths {
		p := &c.Paths[i]
		m := o.meta(p.Path)
		if m == nil {
			continue
		}
		for _, fix := range m.Fixes() {
			k, ok := index[fix.CVE]
			if !ok {
				k = len(all)
				index[fix.CVE] = k
				all = append(all, fixed{cve: fix.CVE})
			}
			all[k].paths = append(all[k].paths, p)
			if !slices.Contains(all[k].patches, fix.Patch) {
				all[k].patches = append(all[k].patches, fix.Patch)
			}
		}
	}
	slices.SortFunc(all, func(a, b fixed) int { return strings.Compare(a.cve, b.cve) })
	return all
}

// FormatOpenVEX is a separate document that lists fixed vulnerabilities.
const FormatOpenVEX = "openvex"

// openVEX is an OpenVEX document of version 0.2.0 (github.com/openvex/spec).
type openVEX struct {
	Context    string             `json:"@context"`
	ID         string             `json:"@id"`
	Author     string             `json:"author"`
	Timestamp  string             `json:"timestamp"`
	Version    int                `json:"version"`
	Tooling    string             `json:"tooling"`
	Statements []openVEXStatement `json:"statements"`
}

type openVEXStatement struct {
	Vulnerability struct {
		ID   string `json:"@id"`
		Name string `json:"name"`
	} `json:"vulnerability"`
	Products    []openVEXProduct `json:"products"`
	Status      string           `json:"status"`
	StatusNotes string           `json:"status_notes"`
}

type openVEXProduct struct {
	ID          string            `json:"@id"`
	Identifiers map[string]string `json:"identifiers"`
}

// writeOpenVEX lists the CVEs that are fixed in packages of c, according to the names of the
// packages' patches. The document states nothing about other vulnerabilities.
func writeOpenVEX(w io.Writer, c *closure.Closure, o SBOMOptions) error {
	doc := openVEX{
		Context:    "https://openvex.dev/ns/v0.2.0",
		ID:         "https://github.com/nixoci/nixoci/vex/" + contentID(c, FormatOpenVEX, o),
		Author:     "nixoci, from the names of patches in nixpkgs",
		Timestamp:  o.created(),
		Version:    1,
		Tooling:    sbomTool + "-" + sbomVersion,
		Statements: []openVEXStatement{},
	}
	for _, f := range o.fixes(c) {
		s := openVEXStatement{Status: "fixed", StatusNotes: f.note()}
		s.Vulnerability.ID, s.Vulnerability.Name = "https://nvd.nist.gov/vuln/detail/"+f.cve, f.cve
		for _, p := range f.paths {
			product := openVEXProduct{ID: o.purl(p), Identifiers: map[string]string{"purl": o.purl(p)}}
			if !slices.ContainsFunc(s.Products, func(o openVEXProduct) bool { return o.ID == product.ID }) {
				s.Products = append(s.Products, product)
			}
		}
		doc.Statements = append(doc.Statements, s)
	}
	if len(doc.Statements) == 0 {
		return errors.New("no patch of these packages is named after a CVE")
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}
