package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
)

// systems maps the Nix systems that NixOS is built for to OCI platforms. The
// architectures are Go's, as the image spec demands. arm64 carries no variant:
// containerd and Docker take "v8" for the same as none.
var systems = map[string]ocispec.Platform{
	"aarch64-linux":     {OS: "linux", Architecture: "arm64"},
	"armv5tel-linux":    {OS: "linux", Architecture: "arm", Variant: "v5"},
	"armv6l-linux":      {OS: "linux", Architecture: "arm", Variant: "v6"},
	"armv7a-linux":      {OS: "linux", Architecture: "arm", Variant: "v7"},
	"armv7l-linux":      {OS: "linux", Architecture: "arm", Variant: "v7"},
	"i686-linux":        {OS: "linux", Architecture: "386"},
	"loongarch64-linux": {OS: "linux", Architecture: "loong64"},
	"mips64el-linux":    {OS: "linux", Architecture: "mips64le"},
	"powerpc64-linux":   {OS: "linux", Architecture: "ppc64"},
	"powerpc64le-linux": {OS: "linux", Architecture: "ppc64le"},
	"riscv64-linux":     {OS: "linux", Architecture: "riscv64"},
	"s390x-linux":       {OS: "linux", Architecture: "s390x"},
	"x86_64-linux":      {OS: "linux", Architecture: "amd64"},
}

// PlatformOf is the OCI platform of a Nix system, "x86_64-linux".
func PlatformOf(system string) (ocispec.Platform, error) {
	if p, ok := systems[system]; ok {
		return p, nil
	}
	err := fmt.Errorf("platform of system %q: unknown", system)
	if strings.HasSuffix(system, "-darwin") {
		return ocispec.Platform{}, hint.Add(err, "an image holds a Linux system; build the configuration for "+strings.TrimSuffix(system, "-darwin")+"-linux")
	}
	return ocispec.Platform{}, hint.Add(err, "systems that are known: "+strings.Join(knownSystems(), ", "))
}

func knownSystems() []string {
	var names []string
	for name := range systems {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ParsePlatform reads either way to name a platform: a Nix system
// ("aarch64-linux") or os/architecture[/variant] ("linux/arm64").
func ParsePlatform(s string) (ocispec.Platform, error) {
	if !strings.Contains(s, "/") {
		return PlatformOf(s)
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
	for _, known := range systems {
		if comparePlatforms(p, known) == 0 {
			return p, nil
		}
	}
	return ocispec.Platform{}, hint.Add(fmt.Errorf("platform %q: unknown", s), "systems that are known: "+strings.Join(knownSystems(), ", "))
}

// FormatPlatform is "linux/amd64", "linux/arm/v7".
func FormatPlatform(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// SamePlatform reports whether a and b run the same images.
func SamePlatform(a, b ocispec.Platform) bool { return comparePlatforms(a, b) == 0 }

// normal takes away the variants that say nothing, as containerd does
// (platforms.Normalize).
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

// comparePlatforms is the total order that an index has. Architectures come as
// text, so amd64 is before arm64.
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
