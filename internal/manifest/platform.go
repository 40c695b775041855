package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// ParsePlatform parses a platform in one of two forms: a Nix system ("aarch64-linux") or
// os/architecture[/variant] ("linux/arm64").
func ParsePlatform(s string) (ocispec.Platform, error) {
	if !strings.Contains(s, "/") {
		return closure.ParseSystem(s)
	}
	parts := strings.Split(s, "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return ocispec.Platform{}, fmt.Errorf("platform %q: not os/architecture or os/architecture/variant", s)
	}
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	p = normal(p)
	if _, ok := closure.NixSystem(p); ok {
		return p, nil
	}
	return ocispec.Platform{}, hint.Add(fmt.Errorf("platform %q: unknown", s), "systems that are known: "+strings.Join(closure.Systems(), ", "))
}

// FormatPlatform returns a platform as text, for instance "linux/amd64" or "linux/arm/v7".
func FormatPlatform(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// SamePlatform reports whether images for a and images for b are for the same platform.
func SamePlatform(a, b ocispec.Platform) bool { return comparePlatforms(a, b) == 0 }

// normal removes the variant if it is the default, as containerd does (platforms.Normalize).
func normal(p ocispec.Platform) ocispec.Platform {
	switch {
	case p.Architecture == "arm64" && (p.Variant == "v8" || p.Variant == "8"),
		p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// comparePlatforms defines the order of platforms in an index. It compares architectures as
// text, so amd64 comes before arm64.
func comparePlatforms(a, b ocispec.Platform) int {
	a, b = normal(a), normal(b)
	return cmp.Or(
		cmp.Compare(a.OS, b.OS),
		cmp.Compare(a.Architecture, b.Architecture),
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(a.OSVersion, b.OSVersion),
		slices.Compare(a.OSFeatures, b.OSFeatures),
	)
}
