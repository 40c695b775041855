package verify

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/manifest"
)

// TestAllowed checks images and policies. If an image records something that the policy does not
// allow, there must be a finding. All other images must pass.
func TestAllowed(t *testing.T) {
	plain := small.layoutOf(t, "zstd:3", manifest.Settings{}, "sample-x86_64-linux")
	known := ownInit.layoutOf(t, "zstd:3", manifest.Settings{}, "sample-x86_64-linux")
	changed := small.layoutOf(t, "zstd:3", manifest.Settings{Env: []string{"A=b"}, Labels: map[string]string{"c": "d"}}, "sample-x86_64-linux")
	for _, tt := range []struct {
		name, image string
		allowed     Allowed
		want        string // "" if the policy must allow the image
	}{
		{"no setting, and there is none", plain, Allowed{Settings: &[]string{}}, ""},
		{"no setting, and there are two", changed, Allowed{Settings: &[]string{}}, "config: Env is"},
		{"one of the settings", changed, Allowed{Settings: &[]string{"Env"}}, "config: Labels is"},
		{"both settings", changed, Allowed{Settings: &[]string{"Env", "Labels"}}, ""},
		{"the compression", plain, Allowed{Compression: []string{"zstd"}}, ""},
		{"the compression with its level", plain, Allowed{Compression: []string{"gzip", "zstd:3"}}, ""},
		{"another level", plain, Allowed{Compression: []string{"zstd:19"}}, "its compression is zstd:3, the policy allows zstd:19"},
		{"another compression", plain, Allowed{Compression: []string{"none", "gzip"}}, "its compression is zstd:3, the policy allows none, gzip"},
		{"no base image", plain, Allowed{BaseImages: &[]string{}}, ""},
		{"a known program at /sbin/init", known, Allowed{KnownInit: true}, ""},
	} {
		r := verified(t, "oci:"+tt.image, Options{Allowed: tt.allowed})
		switch {
		case tt.want == "" && (!r.OK || r.Platforms[0].verdict(CheckPolicy) != Holds):
			t.Errorf("%s: %v, %s", tt.name, r.Findings, r.Platforms[0].verdict(CheckPolicy))
		case tt.want != "" && (r.OK || r.Findings[0].Check != CheckPolicy || !strings.Contains(r.Findings[0].String(), tt.want) || r.Platforms[0].verdict(CheckPolicy) != Fails):
			t.Errorf("%s: %v, want %s", tt.name, r.Findings, tt.want)
		}
	}
}

// TestAllowsBase checks the forms in which a policy can name base images.
func TestAllowsBase(t *testing.T) {
	d, other := digest.FromString("a base image"), digest.FromString("another")
	for _, tt := range []struct {
		name, allowed string
		want          bool
	}{
		{"docker.io/library/debian:12", "docker.io/library/debian", true},
		{"docker.io/library/debian:12", "docker.io/library/debian@" + d.String(), true},
		{"docker.io/library/debian:12", "docker.io/library/debian@" + other.String(), false},
		{"docker.io/library/debian:12", "docker.io/library", false},
		{"docker.io/library/debian:12", "debian", false},
		{"docker.io/library/debian:12", d.String(), true},
		{"docker.io/library/debian:12", other.String(), false},
		{"localhost:5000/base", "localhost:5000/base", true},
		{"localhost:5000/base@" + d.String(), "localhost:5000/base", true},
		{"", d.String(), true},
		{"", "", false},
	} {
		if got := allowsBase([]string{tt.allowed}, &manifest.BaseInfo{Name: tt.name, Digest: d}); got != tt.want {
			t.Errorf("%q allows %q: %t", tt.allowed, tt.name, got)
		}
	}
}
