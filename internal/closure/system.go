package closure

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
)

// platforms are the systems that NixOS is built for and the OCI platforms of
// the same machines (image-spec, "Platform Variants"; Go's names otherwise).
// arm64 has no variant: v8 is what all of it is, and tools drop it. The table
// belongs to the image format.
var platforms = map[string]ocispec.Platform{
	"aarch64-linux":     {OS: "linux", Architecture: "arm64"},
	"armv5tel-linux":    {OS: "linux", Architecture: "arm", Variant: "v5"},
	"armv6l-linux":      {OS: "linux", Architecture: "arm", Variant: "v6"},
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

// systemAliases are other names for the same machine.
var systemAliases = map[string]string{"armv7a-linux": "armv7l-linux"}

// Systems are the names that [ParseSystem] knows, sorted.
func Systems() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(platforms)), maps.Keys(systemAliases))
	slices.Sort(names)
	return names
}

// ParseSystem returns the OCI platform of one of Nix's systems,
// "x86_64-linux".
func ParseSystem(system string) (ocispec.Platform, error) {
	name := system
	if other, ok := systemAliases[system]; ok {
		name = other
	}
	if p, ok := platforms[name]; ok {
		return p, nil
	}
	err := fmt.Errorf("platform of system %q: unknown", system)
	if linux, ok := strings.CutSuffix(system, "-darwin"); ok {
		return ocispec.Platform{}, hint.Add(err, "an image holds a Linux system; build the configuration for "+linux+"-linux")
	}
	return ocispec.Platform{}, hint.Add(err, "systems that are known: "+strings.Join(Systems(), ", "))
}

// System is Nix's name of a platform, and whether it has one. Only OS,
// Architecture and Variant count; arm64's v8 is no variant.
func System(p ocispec.Platform) (string, bool) {
	if p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	for system, q := range platforms {
		if p.OS == q.OS && p.Architecture == q.Architecture && p.Variant == q.Variant {
			return system, true
		}
	}
	return "", false
}
