package report

import (
	"regexp"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/nixoci/nixoci/internal/closure"
)

// Package holds what can be read from the name of a store path about its software. Apart from
// the name, Nix stores no record of the software.
type Package struct {
	Name    string
	Version string // "" if the name has no version
	Output  string // output such as "dev" or "man"; "" for the default output, or if the name has no version
}

// outputs lists the names of derivation outputs in nixpkgs. Nix appends the output to the
// version ("1.2-bin"), but a version itself can have the same form ("1.2-rc"). Only this list
// distinguishes the two.
var outputs = []string{
	"bin", "check", "data", "debug", "dev", "devdoc", "dist", "doc", "docs", "drivers", "examples", "firmware", "getent", "info",
	"lib", "lib32", "lib64", "libgcc", "libs", "man", "modules", "out", "plugins", "python", "py", "scripts", "share", "static", "terminfo", "test", "tests", "tools", "xz",
}

// PackageOf splits the name of p as Nix does (see [closure.SplitName]). After that, it
// removes the output from the version, as `nix store diff-closures` does.
func PackageOf(p closure.StorePath) Package {
	name, version := closure.SplitName(p.Name())
	pkg := Package{Name: name, Version: version}
	if i := strings.LastIndexByte(version, '-'); i > 0 && slices.Contains(outputs, version[i+1:]) {
		pkg.Version, pkg.Output = version[:i], version[i+1:]
	}
	return pkg
}

// gitRevision matches a git revision in the metadata of a flake, which can contain any text.
var gitRevision = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// purl returns the package URL of a store path. The type nix is proposed but not yet in the
// specification (package-url/purl-spec#877). purl adds some qualifiers that the proposal does
// not define; they are the qualifiers of syft. The qualifier outputhash is the hash that the
// Nix database records for the path: the narHash in hexadecimal.
//
// The namespace in the proposal is the origin of a package. purl sets the namespace only if
// the metadata of the package was read from nixpkgs. If the git revision of this nixpkgs is
// known, purl adds the qualifier commit of the proposal. The name in the proposal is the
// attribute path. purl uses the name in the store path, because a store path does not record
// the attribute path, and because syft uses this name.
func (o *SBOMOptions) purl(info *closure.Info) string {
	pkg := PackageOf(info.Path)
	namespace, commit := "", ""
	if m := o.meta(info.Path); m != nil && !m.Foreign {
		namespace, commit = "nixpkgs", m.Commit
	}
	q := packageurl.Qualifiers{{Key: "outputhash", Value: info.NarHash.Hex()}}
	if pkg.Output != "" {
		q = append(q, packageurl.Qualifier{Key: "output", Value: pkg.Output})
	}
	if info.Deriver != "" {
		q = append(q, packageurl.Qualifier{Key: "drvpath", Value: info.Deriver})
	}
	if gitRevision.MatchString(commit) {
		q = append(q, packageurl.Qualifier{Key: "commit", Value: commit})
	}
	return packageurl.NewPackageURL("nix", namespace, pkg.Name, pkg.Version, q, "").ToString()
}

// compareVersions compares versions as builtins.compareVersions does. Components of digits
// are compared as numbers. "pre" comes before everything else, and letters come before
// numbers.
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

// nextComponent splits off the first component of a version: a run of digits, or a run of
// other characters. It skips the separators, which are dots and dashes.
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
		case number(b): // letters come before numbers: 2.3a < 2.3.1
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
