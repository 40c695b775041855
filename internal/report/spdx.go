package report

import (
	"fmt"
	"io"
	"strings"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// spdxNamespace is the prefix of document namespaces. SPDX does not require these URLs to
// exist.
const spdxNamespace = "https://github.com/nixoci/nixoci/spdx/"

const noAssertion = "NOASSERTION" // noAssertion stands for an unknown licence. A closure has no record of licences.

// writeSPDX writes c as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/). The document
// "describes", in the sense of SPDX, the roots of the closure.
func writeSPDX(w io.Writer, c *closure.Closure, o SBOMOptions) error {
	name := subject(c)
	doc := &v2_3.Document{
		SPDXVersion:       v2_3.Version,
		DataLicense:       v2_3.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      strings.Trim(name.Name+"-"+name.Version, "-"),
		DocumentNamespace: spdxNamespace + contentID(c, FormatSPDX, o),
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: sbomTool + "-" + sbomVersion}},
			Created:  o.created(),
		},
	}
	if o.System != "" {
		doc.DocumentComment = "Nix closure for " + o.System
	}
	ids := make(map[closure.StorePath]common.DocElementID, len(c.Paths))
	taken := make(map[string]closure.StorePath, len(c.Paths))
	for i := range c.Paths {
		p := &c.Paths[i]
		id := spdxID(p.Path)
		if other, ok := taken[id]; ok {
			return fmt.Errorf("%s and %s have the same hash", other, p.Path)
		}
		taken[id] = p.Path
		ids[p.Path] = common.MakeDocElementID("", id)
		doc.Packages = append(doc.Packages, spdxPackage(p, id, o))
	}
	relate := func(a common.DocElementID, kind string, b common.DocElementID) {
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{RefA: a, RefB: b, Relationship: kind})
	}
	if o.Init != "" {
		init, library := spdxInit(o)
		doc.Packages = append(doc.Packages, init)
		id := common.MakeDocElementID("", string(init.PackageSPDXIdentifier))
		relate(common.MakeDocElementID("", "DOCUMENT"), common.TypeRelationshipDescribe, id)
		if library != nil {
			doc.Packages = append(doc.Packages, library)
			relate(id, common.TypeRelationshipDependsOn, common.MakeDocElementID("", string(library.PackageSPDXIdentifier)))
		}
	}
	if o.Base != nil {
		base := spdxBase(o.Base)
		doc.Packages = append(doc.Packages, base)
		relate(common.MakeDocElementID("", "DOCUMENT"), common.TypeRelationshipDescribe, common.MakeDocElementID("", string(base.PackageSPDXIdentifier)))
	}
	for _, r := range c.Roots {
		relate(common.MakeDocElementID("", "DOCUMENT"), common.TypeRelationshipDescribe, ids[r])
	}
	for i := range c.Paths {
		for _, r := range others(&c.Paths[i]) {
			relate(ids[c.Paths[i].Path], common.TypeRelationshipDependsOn, ids[r])
		}
	}
	return spdxjson.Write(doc, w, spdxjson.Indent("  "), spdxjson.EscapeHTML(false))
}

// spdxID makes the ID of a path's package. The ID is unique because it contains the hash of
// the store path. SPDX allows letters, digits, dots and dashes in an ID.
func spdxID(p closure.StorePath) string {
	return "Package-" + p.Hash() + "-" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, p.Name())
}

func spdxPackage(p *closure.Info, id string, o SBOMOptions) *v2_3.Package {
	pkg := PackageOf(p.Path)
	out := &v2_3.Package{
		PackageName:               pkg.Name,
		PackageSPDXIdentifier:     common.ElementID(id),
		PackageVersion:            pkg.Version,
		PackageFileName:           string(p.Path),
		PackageSupplier:           &common.Supplier{Supplier: noAssertion},
		PackageDownloadLocation:   noAssertion,
		FilesAnalyzed:             false,
		IsFilesAnalyzedTagPresent: true,
		PackageChecksums: []common.Checksum{
			{Algorithm: common.SHA256, Value: strings.TrimPrefix(p.NarHash.Hex(), "sha256:")}},
		PackageSourceInfo:       spdxSource(p),
		PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared:  noAssertion,
		PackageCopyrightText:    noAssertion,
		PackageComment:          fmt.Sprintf("The checksum is of the path's NAR, %d bytes.", p.NarSize),
		PackageExternalReferences: []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager,
			RefType:  common.TypePackageManagerPURL,
			Locator:  o.purl(p),
		}},
	}
	if p.Path.NamedAsSystem() {
		out.PrimaryPackagePurpose = "OPERATING_SYSTEM"
	}
	for _, s := range sortedSignatures(p) {
		out.Annotations = append(out.Annotations, v2_3.Annotation{
			Annotator:         common.Annotator{AnnotatorType: "Tool", Annotator: sbomTool + "-" + sbomVersion},
			AnnotationDate:    o.created(),
			AnnotationType:    "OTHER",
			AnnotationComment: "nix signature " + s,
		})
	}
	o.addSPDXMeta(out, p)
	return out
}

// spdxInit returns one package for nixoci-init and one for Go's standard library. library is
// nil if the compiler of nixoci-init is unknown.
func spdxInit(o SBOMOptions) (init, library *v2_3.Package) {
	url, program := initPackage(o)
	init = spdxDescribed("Package-"+initName, initName, program.Version, url)
	init.PackageFileName = "/sbin/init"
	init.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: strings.TrimPrefix(o.Init, "sha256:")}}
	init.PackageComment = "The checksum is of the file /sbin/init."
	if program.Go != "" {
		version, url := goLibrary(program)
		library = spdxDescribed("Package-go-stdlib", "stdlib", version, url)
	}
	return init, library
}

// spdxBase returns one package that stands for the whole base image.
func spdxBase(b *manifest.BaseInfo) *v2_3.Package {
	name, url := basePackage(b)
	base := spdxDescribed("Package-base-image", name, b.Digest.String(), url)
	base.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: b.Digest.Encoded()}}
	base.PackageComment = baseDescription
	return base
}

// spdxDescribed returns a package for software that is not a store path.
func spdxDescribed(id, name, version, purl string) *v2_3.Package {
	return &v2_3.Package{
		PackageName:               name,
		PackageSPDXIdentifier:     common.ElementID(id),
		PackageVersion:            version,
		PackageSupplier:           &common.Supplier{Supplier: noAssertion},
		PackageDownloadLocation:   noAssertion,
		IsFilesAnalyzedTagPresent: true,
		PackageLicenseConcluded:   noAssertion,
		PackageLicenseDeclared:    noAssertion,
		PackageCopyrightText:      noAssertion,
		PackageExternalReferences: []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
		}},
	}
}

// spdxSource returns a sentence about the origin of a store path.
func spdxSource(p *closure.Info) string {
	s := "store path " + string(p.Path)
	if p.Deriver != "" {
		s += ", built by " + closure.StoreDir + "/" + p.Deriver
	}
	if p.CA != "" {
		s += ", content address " + p.CA
	}
	return s
}
