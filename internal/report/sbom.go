package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/package-url/packageurl-go"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/initbin"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/oci"
)

// sbomTool and sbomVersion name the tool in each document. Raise sbomVersion with every
// change to the bytes for a given closure. sbomVersion is independent of the version of
// nixoci: two versions of nixoci that write the same content write the same document.
const (
	sbomTool    = "nixoci"
	sbomVersion = "sbom-2"
)

// sbomTime is the default creation time. Both formats have a field for this time, and SPDX
// requires it. Nix gives the same time to files in the store.
var sbomTime = time.Unix(1, 0).UTC()

// These are the formats of a software bill of materials, as the flag --format names them.
const (
	FormatSPDX      = "spdx"      // SPDX 2.3, JSON
	FormatCycloneDX = "cyclonedx" // CycloneDX 1.6, JSON
)

// SBOMOptions holds the inputs of a document apart from the closure.
type SBOMOptions struct {
	Meta    nixbuild.PackageMeta // metadata of packages in nixpkgs; nil if it was not requested
	Created *time.Time           // creation time; nil: [sbomTime]
	Init    string               // digest of the nixoci-init in the image; "" for a closure without an image
	Base    *manifest.BaseInfo   // base image of the image; nil if there is none
	System  string               // platform of the closure, such as "x86_64-linux" or "linux/amd64"; "" if unknown
}

func (o SBOMOptions) created() string {
	t := sbomTime
	if o.Created != nil {
		t = o.Created.UTC().Truncate(time.Second)
	}
	return t.Format(time.RFC3339)
}

// SBOMMediaType returns the media type of documents in this format.
func SBOMMediaType(format string) (string, error) {
	switch format {
	case FormatSPDX, FormatSPDX3:
		return attest.SPDXType, nil
	case FormatCycloneDX:
		return attest.CycloneDXType, nil
	case FormatOpenVEX:
		return attest.OpenVEXType, nil
	}
	return "", errFormat(format)
}

func errFormat(format string) error {
	return hint.Add(fmt.Errorf("SBOM format %q: unknown", format), "formats: "+strings.Join([]string{FormatSPDX, FormatSPDX3, FormatCycloneDX, FormatOpenVEX, FormatTable}, ", "))
}

// SBOMs makes the bills of materials of a system, one in each format, ready to be attached to
// the image. It takes the creation time and the metadata from nixpkgs from o, and everything
// else from sys.
func SBOMs(sys *manifest.System, formats []string, o SBOMOptions) ([]oci.Artifact, error) {
	o.System, _ = closure.NixSystem(sys.Platform)
	if sys.Init != nil {
		o.Init = sys.Init.Digest.String()
	}
	if sys.Base != nil {
		o.Base = &sys.Base.BaseInfo
	}
	var all []oci.Artifact
	for _, format := range formats {
		if format == FormatOpenVEX && len(o.fixes(sys.Closure)) == 0 {
			continue // an OpenVEX document must have at least one statement
		}
		doc, err := SBOM(sys.Closure, format, o)
		if err != nil {
			return nil, err
		}
		all = append(all, doc)
	}
	return all, nil
}

// SBOM makes a bill of materials of c, ready to be attached to an image.
func SBOM(c *closure.Closure, format string, o SBOMOptions) (oci.Artifact, error) {
	mediaType, err := SBOMMediaType(format)
	if err != nil {
		return oci.Artifact{}, err
	}
	var b bytes.Buffer
	err = WriteSBOM(&b, c, format, o)
	return oci.Artifact{Type: mediaType, MediaType: mediaType, Data: b.Bytes()}, err
}

// WriteSBOM writes c as a software bill of materials. The document has one package or
// component for each store path, with the narHash as checksum and the references as
// dependencies. It also lists nixoci-init and the base image, if o names them. The bytes
// depend only on c, format and o.
func WriteSBOM(w io.Writer, c *closure.Closure, format string, o SBOMOptions) error {
	if len(c.Paths) == 0 {
		return fmt.Errorf("write SBOM: the closure is empty")
	}
	var err error
	switch format {
	case FormatSPDX:
		err = writeSPDX(w, c, o)
	case FormatSPDX3:
		err = writeSPDX3(w, c, o)
	case FormatCycloneDX:
		err = writeCycloneDX(w, c, o)
	case FormatOpenVEX:
		err = writeOpenVEX(w, c, o)
	default:
		err = errFormat(format)
	}
	if err != nil {
		return fmt.Errorf("write SBOM: %w", err)
	}
	return nil
}

// subject returns the name and version of the whole closure.
func subject(c *closure.Closure) Package {
	if len(c.Roots) == 1 {
		return PackageOf(c.Roots[0])
	}
	return Package{Name: fmt.Sprintf("closure of %d store paths", len(c.Roots))}
}

// contentID returns a sha256, in hexadecimal, of all inputs of a document. Both formats
// require a unique identifier.
func contentID(c *closure.Closure, format string, o SBOMOptions) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %q\n", format, sbomVersion, o.created(), o.System)
	if o.Init != "" {
		fmt.Fprintf(h, "init %q\n", o.Init)
	}
	if o.Base != nil {
		fmt.Fprintf(h, "base %q %s %s\n", o.Base.Name, o.Base.Digest, o.Base.Manifest)
	}
	o.hashMeta(h, c)
	for _, r := range c.Roots {
		fmt.Fprintln(h, r)
	}
	for i := range c.Paths {
		p := &c.Paths[i]
		fmt.Fprintf(h, "%s %s %d %q %q\n", p.Path, p.NarHash.Hex(), p.NarSize, p.Deriver, p.CA)
		for _, s := range sortedSignatures(p) {
			fmt.Fprintf(h, " %q\n", s)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sortedSignatures returns the signatures of p, sorted. Sources list signatures in any order.
func sortedSignatures(p *closure.Info) []string {
	s := slices.Clone(p.Signatures)
	slices.Sort(s)
	return slices.Compact(s)
}

// initName is the name of the program at /sbin/init of an image.
const initName = "nixoci-init"

// initPackage describes the nixoci-init that o names, and returns its package URL. If this
// nixoci contains the program, initPackage also returns p, with the program's version and
// toolchain.
func initPackage(o SBOMOptions) (url string, p initbin.Program) {
	p, _ = initbin.Lookup(o.Init)
	q := packageurl.Qualifiers{{Key: "checksum", Value: o.Init}}
	return packageurl.NewPackageURL("generic", "", initName, p.Version, q, "").ToString(), p
}

// baseDescription is the text that describes a base image in bills of materials of every format.
const baseDescription = "The base image. Its layers are the lowest layers of this image, and this document does not list their contents."

// basePackage returns the name and the package URL of a base image. The URL has the type
// "oci", which package-url defines for OCI images.
func basePackage(b *manifest.BaseInfo) (name, url string) {
	name, repository := "base-image", ""
	if b.Name != "" {
		repository, _, _ = strings.Cut(b.Name, "@")
		if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
			repository = repository[:i]
		}
		name = repository
	}
	var q packageurl.Qualifiers
	if repository != "" {
		q = packageurl.Qualifiers{{Key: "repository_url", Value: repository}}
	}
	return name, packageurl.NewPackageURL("oci", "", path.Base(name), b.Digest.String(), q, "").ToString()
}

// goLibrary returns the version and the package URL of Go's standard library.
// nixoci-init uses no other library. Scanners recognize the library by version and URL.
func goLibrary(p initbin.Program) (version, url string) {
	version = strings.TrimPrefix(p.Go, "go")
	return version, packageurl.NewPackageURL("golang", "", "stdlib", version, nil, "").ToString()
}

// others returns the references of p without p itself.
func others(p *closure.Info) []closure.StorePath {
	return slices.DeleteFunc(slices.Clone(p.References), func(r closure.StorePath) bool { return r == p.Path })
}
