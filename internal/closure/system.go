package closure

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
)

// platforms maps the systems that NixOS supports to their OCI platforms. The
// variants come from the image-spec ("Platform Variants"), and all other names from
// Go. arm64 has no variant here, because every arm64 is v8, and other tools leave the
// variant out. The table is part of the image format.
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

// systemAliases maps other names of systems to their names in platforms.
var systemAliases = map[string]string{"armv7a-linux": "armv7l-linux"}

// Systems returns the names that [ParseSystem] accepts, sorted.
func Systems() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(platforms)), maps.Keys(systemAliases))
	slices.Sort(names)
	return names
}

// ParseSystem returns the OCI platform of a Nix system such as "x86_64-linux".
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

// NixSystem returns the Nix system of a platform, or false if there is none. It
// compares only OS, Architecture and Variant. It treats arm64 with the variant v8
// like arm64 without a variant.
func NixSystem(p ocispec.Platform) (string, bool) {
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
