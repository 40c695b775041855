//go:build e2e && e2e_new

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// What applies configurations, with the Nix of other releases: /etc leads into
// the store, which newer ones follow, and they say otherwise what has failed.
func TestGuestOtherNix(t *testing.T) {
	for _, release := range []string{"trixie", "sid"} {
		t.Run(release, func(t *testing.T) {
			image := guestImage(t, "-nix-"+release)
			config, web := site(t, "configuration.nix", nginxNix("/web"))
			b := dockerRun(t, image, mounts(config, web)...)
			report(t, "built and serving after %.2f s", b.serves(t, "the first page").Seconds())
			b.says(t, "/config/configuration.nix is applied")
			version, err := b.exec(t, "/run/current-system/sw/bin/nix", "--version")
			if err != nil {
				t.Error(err)
			}
			report(t, "%s", version)
			b.runs(t)
			// What the base leaves out does not come back with a configuration.
			if _, err := b.exec(t, "/run/current-system/sw/bin/test", "!", "-e", "/etc/static/fonts/fonts.conf"); err != nil {
				t.Errorf("the configuration brings fontconfig, which the base has not: %v", err)
			}

			builds := strings.Count(b.log(t), "building '/nix/store/")
			b.do(t, "restart", "-t", "30", b.id)
			b.serves(t, "the first page")
			b.says(t, "is unchanged and running")
			if again := strings.Count(b.log(t), "building '/nix/store/"); again != builds {
				t.Errorf("%d derivations were built for an unchanged configuration", again-builds)
			}

			// Where a mistake is, and which derivation failed.
			put(t, filepath.Join(config, "configuration.nix"), "{ lib, ... }:\n{\n  services.nginx.enable = true\n}\n")
			b.do(t, "restart", "-t", "30", b.id)
			b.says(t, "FAILED: build /config/configuration.nix: syntax error, unexpected '}', expecting ';' at /config/configuration.nix:4:1")
			put(t, filepath.Join(config, "configuration.nix"), `{ pkgs, ... }: { environment.etc.never.source = pkgs.runCommand "never" { } "echo no luck today; exit 3"; }`)
			b.do(t, "restart", "-t", "30", b.id)
			b.says(t, "FAILED: building never.drv: failed with exit code 3: no luck today")
			b.serves(t, "the first page")
			b.stops(t)

			// A flake, whose nixpkgs is the image's.
			config, web = site(t, "flake.nix", `{
  outputs = { self, nixpkgs }: {
    nixosConfigurations.default = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
  };
}
`)
			put(t, filepath.Join(config, "nginx.nix"), nginxNix("/web"))
			b = dockerRun(t, image, mounts(config, web)...)
			b.serves(t, "the first page")
			b.says(t, "/config/flake.nix is applied")
		})
	}
}
