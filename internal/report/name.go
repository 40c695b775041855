package report

import (
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/nixoci/nixoci/internal/closure"
)

// Package is what the name of a store path tells about its software. Nix stores no other
// record of it beside the path.
type Package struct {
	Name    string
	Version string // "" if the name has no version
	Output  string // "dev", "man", …; "" for the default output, or if the name has no version
}

// outputs are the names of derivation outputs in nixpkgs. Nix appends the output to the
// version ("1.2-bin"), and a version can look the same ("1.2-rc"). Only this list tells
// them apart.
var outputs = []string{
	"bin", "check", "data", "debug", "dev", "devdoc", "dist", "doc", "docs", "drivers", "examples", "firmware", "getent", "info",
	"lib", "lib32", "lib64", "libgcc", "libs", "man", "modules", "out", "plugins", "python", "py", "scripts", "share", "static", "terminfo", "test", "tests", "tools", "xz",
}

// PackageOf splits the name of p as Nix does (see [closure.SplitName]). Then it removes the
// output from the version, as `nix store diff-closures` does.
func PackageOf(p closure.StorePath) Package {
	name, version := closure.SplitName(p.Name())
	pkg := Package{Name: name, Version: version}
	if i := strings.LastIndexByte(version, '-'); i > 0 && slices.Contains(outputs, version[i+1:]) {
		pkg.Version, pkg.Output = version[:i], version[i+1:]
	}
	return pkg
}

// purl returns the package URL of a store path. The type nix is proposed but not yet in the
// specification (package-url/purl-spec#877). Qualifiers that the proposal does not have are
// those of syft. There outputhash is what the Nix database has as the hash of the path: the
// narHash in hexadecimal.
//
// The proposal's namespace is the origin of a package. It is known only for a package that
// nixpkgs was asked about.
func (o *SBOMOptions) purl(info *closure.Info) string {
	pkg := PackageOf(info.Path)
	namespace := ""
	if o.meta(info.Path) != nil {
		namespace = "nixpkgs"
	}
	q := packageurl.Qualifiers{{Key: "outputhash", Value: info.NarHash.Hex()}}
	if pkg.Output != "" {
		q = append(q, packageurl.Qualifier{Key: "output", Value: pkg.Output})
	}
	if info.Deriver != "" {
		q = append(q, packageurl.Qualifier{Key: "drvpath", Value: info.Deriver})
	}
	return packageurl.NewPackageURL("nix", namespace, pkg.Name, pkg.Version, q, "").ToString()
}

// compareVersions works as builtins.compareVersions. Components of digits compare as
// numbers. "pre" comes before everything else, and letters come before numbers.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a = nextComponent(a)
		y, b = nextComponent(b)
		if c := compareComponents(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// nextComponent splits the first component off a version: a run of digits or of other
// characters. It skips the separators, which are dots and dashes.
func nextComponent(v string) (component, rest string) {
	v = strings.TrimLeft(v, ".-")
	if v == "" {
		return "", ""
	}
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	end := 1
	for end < len(v) && digit(v[end]) == digit(v[0]) && (digit(v[0]) || v[end] != '.' && v[end] != '-') {
		end++
	}
	return v[:end], v[end:]
}

func compareComponents(a, b string) int {
	number := func(s string) bool { return s != "" && '0' <= s[0] && s[0] <= '9' }
	less := func(a, b string) bool {
		switch {
		case number(a) && number(b):
			a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
			return len(a) < len(b) || len(a) == len(b) && a < b
		case a == "" && number(b):
			return true
		case a == "pre" && b != "pre":
			return true
		case b == "pre":
			return false
		case number(b): // letters before numbers: 2.3a < 2.3.1
			return true
		case number(a):
			return false
		}
		return a < b
	}
	switch {
	case less(a, b):
		return -1
	case less(b, a):
		return 1
	}
	return 0
}
