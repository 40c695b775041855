//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuestOfToday checks that a guest with the systemd and Nix of newer Debian releases
// boots, applies a configuration and stops. Newer versions of Nix follow symlinks in /etc
// into the store, and report failures in other words.
func TestGuestOfToday(t *testing.T) {
	for _, kind := range []string{"-trixie", "-forky"} {
		t.Run(kind[1:], func(t *testing.T) {
			image := guestImage(t, kind)
			config, web := site(t, "configuration.nix", nginxNix("/web"))
			b := docker28.run(t, image, args(todayFlags, "-v", config+":/config", "-v", web+":/web")...)
			restart := func(says string) {
				t.Helper()
				b.do(t, "restart", "-t", "30", b.id)
				b.says(t, says)
			}
			report(t, "built and serving after %.2f s", b.serves(t, "the first page").Seconds())
			b.says(t, "/config/configuration.nix is applied")
			versions, err := b.exec(t, "sh", "-c", "nix --version; systemctl --version | head -n 1")
			if err != nil {
				t.Error(err)
			}
			report(t, "%s", strings.ReplaceAll(versions, "\n", ", "))
			b.runs(t)
			// A configuration must not bring back software that the base system leaves out.
			if _, err := b.exec(t, "test", "!", "-e", "/etc/static/fonts/fonts.conf"); err != nil {
				t.Errorf("the configuration brings fontconfig, which the base has not: %v", err)
			}

			builds := len(b.built(t))
			restart("is unchanged and running")
			b.serves(t, "the first page")
			if again := len(b.built(t)); again != builds {
				t.Errorf("%d derivations were built for an unchanged configuration", again-builds)
			}

			// The messages must name the place of an error in the file, and the derivation
			// that failed.
			file := filepath.Join(config, "configuration.nix")
			put(t, file, "{ lib, ... }:\n{\n  services.nginx.enable = true\n}\n")
			restart("FAILED: build /config/configuration.nix: syntax error, unexpected '}', expecting ';' at /config/configuration.nix:4:1")
			put(t, file, `{ pkgs, ... }: { environment.etc.never.source = pkgs.runCommand "never" { } "echo no luck today; exit 3"; }`)
			restart("FAILED: building never.drv: failed with exit code 3: no luck today")
			b.serves(t, "the first page")

			// The test applies a flake. The flake uses the nixpkgs of the image.
			if err := os.Rename(file, filepath.Join(config, "nginx.nix")); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(config, "nginx.nix"), nginxNix("/web/two"))
			put(t, filepath.Join(config, "flake.nix"), `{
  outputs = { self, nixpkgs }: {
    nixosConfigurations.default = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
  };
}
`)
			restart("/config/flake.nix is applied")
			b.serves(t, "the second page")
			b.runs(t)
			b.stops(t)
		})
	}
}
