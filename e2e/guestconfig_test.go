//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestGuestAppliesConfiguration(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", nginxNix("/web"))
	b := dockerRun(t, image, mounts(config, web)...)
	report(t, "built and serving after %.2f s", b.serves(t, "the first page").Seconds())
	b.says(t, "-nginx.conf.drv'...") // the log contains one line for each derivation
	b.says(t, "/config/configuration.nix is applied")
	if strings.Contains(b.log(t), "-disabled.drv'") {
		t.Error("units that the image masks are built again")
	}
	eventually(t, "healthy", func() bool {
		return strings.TrimSpace(b.do(t, "inspect", "-f", "{{.State.Health.Status}}", b.id)) == "healthy"
	})
	b.stops(t)

	// A restart with the same configuration must build nothing.
	builds := strings.Count(b.log(t), "building '/nix/store/")
	b.do(t, "start", b.id)
	report(t, "unchanged: serving %.2f s after a restart", b.serves(t, "the first page").Seconds())
	b.says(t, "is unchanged and running")
	if again := strings.Count(b.log(t), "building '/nix/store/"); again != builds {
		t.Errorf("%d derivations were built for an unchanged configuration", again-builds)
	}
	b.runs(t)

	// After a restart, a changed configuration must be built and applied.
	put(t, filepath.Join(config, "configuration.nix"), nginxNix("/web/two"))
	b.do(t, "restart", "-t", "30", b.id)
	report(t, "changed: serving %.2f s after a restart", b.serves(t, "the second page").Seconds())

	// A configuration with an error must change nothing.
	put(t, filepath.Join(config, "configuration.nix"), "{ lib, ... }:\n{\n  services.nginx.enable = true\n}\n")
	b.do(t, "restart", "-t", "30", b.id)
	b.says(t, "FAILED: build /config/configuration.nix: syntax error, unexpected '}', expecting ';' at /config/configuration.nix:4:1")
	b.serves(t, "the second page")
	eventually(t, "unhealthy", func() bool {
		return strings.TrimSpace(b.do(t, "inspect", "-f", "{{.State.Health.Status}}", b.id)) == "unhealthy"
	})
	if health := b.do(t, "inspect", "-f", "{{json .State.Health.Log}}", b.id); !strings.Contains(health, "configuration.nix:4:1") {
		t.Errorf("the health check does not say why: %s", health)
	}
}

// TestGuestKeepsBaseOnSyntaxError starts a container with a configuration that has a syntax
// error. The base system must keep running.
func TestGuestKeepsBaseOnSyntaxError(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", "{ ... }:\n{\n  a = ;\n}\n")
	b := dockerRun(t, image, mounts(config, web)...)
	b.says(t, "at /config/configuration.nix:3:7")
	b.says(t, "the container keeps running "+guestSystem(t, "x86_64", ""))
	if s := b.state(t); s != "degraded" { // the unit that applies the configuration has failed
		t.Errorf("systemd is %s", s)
	}
}

// TestGuestGoesBack checks that the switch to a configuration fails if a unit does not start.
func TestGuestGoesBack(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", `{ systemd.services.broken = { wantedBy = [ "multi-user.target" ]; serviceConfig = { Type = "oneshot"; ExecStart = "/bin/sh -c 'exit 3'"; }; }; }`)
	b := dockerRun(t, image, mounts(config, web)...)
	b.says(t, "going back to "+guestSystem(t, "x86_64", ""))
	b.says(t, "FAILED: switch to")
	if now, _ := b.exec(t, "readlink", "/run/current-system"); now != guestSystem(t, "x86_64", "") {
		t.Errorf("running %s", now)
	}
}

func TestGuestEndsOnFailure(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", "{ no.such.option = 1; }")
	b := dockerRun(t, image, append([]string{"-e", "NIXOCI_ON_FAILURE=exit"}, mounts(config, web)...)...)
	if code := strings.TrimSpace(b.do(t, "wait", b.id)); code == "0" {
		t.Error("exit code 0")
	}
	b.says(t, "The option `no' does not exist")
}

func TestGuestWatches(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", nginxNix("/web"))
	b := dockerRun(t, image, append([]string{"-e", "NIXOCI_WATCH=1"}, mounts(config, web)...)...)
	b.serves(t, "the first page")
	put(t, filepath.Join(config, "configuration.nix"), nginxNix("/web/two"))
	report(t, "a change is served after %.2f s", b.serves(t, "the second page").Seconds())
}

// TestGuestVolume checks that a new container with the same /nix builds
// nothing.
func TestGuestVolume(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", nginxNix("/web"))
	volume := strings.TrimSpace(docker(t, "volume", "create"))
	t.Cleanup(func() { try(dockerLine(t, "volume", "rm", "-f", volume)...) })
	flags := append([]string{"-v", volume + ":/nix"}, mounts(config, web)...)
	first := dockerRun(t, image, flags...)
	first.serves(t, "the first page")
	first.says(t, "is applied")
	first.do(t, "rm", "-f", first.id)
	second := startBox(t, dockerLine, image, append([]string{"--network", "none"}, flags...))
	report(t, "second container serving after %.2f s", second.serves(t, "the first page").Seconds())
	second.says(t, "is unchanged and running")
	if strings.Contains(second.log(t), "building") {
		t.Error("the second container built")
	}
}

// TestGuestFlake mounts a flake that names one system. Its nixpkgs comes from
// the image.
func TestGuestFlake(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "flake.nix", `{
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem {
      system = "aarch64-linux";
      modules = [ ./nginx.nix ];
    };
  };
}
`)
	put(t, filepath.Join(config, "nginx.nix"), nginxNix("/web"))
	b := dockerRun(t, image, append([]string{"-e", "NIXOCI_CONFIGURATION=web"}, mounts(config, web)...)...)
	b.serves(t, "the first page")
	b.says(t, "/config/flake.nix is applied")

	other := dockerRun(t, image, mounts(config, web)...)
	other.says(t, "has no nixosConfigurations.default, but: web")
}

// nixConfig lets Debian's Nix build the packages of the guest, see debstore.
const nixConfig = `NIX_CONFIG=build-users-group =
sandbox = false
filter-syscalls = false
substituters =
flake-registry = /dev/null
`

// TestGuestFromConfiguration lets nixoci build a configuration and a flake
// output, for both platforms.
func TestGuestFromConfiguration(t *testing.T) {
	guestSystem(t, "x86_64", "")
	guestSystem(t, "aarch64", "")
	dir := scratchDir(t)
	nixpkgs := "path:" + filepath.Join(guestRoot(), "guest", "nixpkgs")
	put(t, filepath.Join(dir, "nginx.nix"), nginxNix("/web"))
	put(t, filepath.Join(dir, "broken.nix"), "{ ... }:\n{ services.nginx.enable = true\n}\n")
	put(t, filepath.Join(dir, "new.nix"), nginxNix("/nobody/built/this"))
	put(t, filepath.Join(dir, "flake.nix"), fmt.Sprintf(`{
  inputs.nixpkgs.url = %q;
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
  };
}
`, nixpkgs))
	nix := func(more string) run {
		return run{dir: dir, cache: scratchDir(t), env: []string{nixConfig + more, "USER=root"},
			prefix: []string{"unshare", "-m", "sh", "-ec", `mkdir -p /nix; mount --bind "$0" /nix; exec "$@"`, filepath.Join(guestRoot(), "nix")}}
	}
	both := nix("extra-platforms = x86_64-linux aarch64-linux\n")
	ref := registry(t) + "/evaluated"
	platforms := "linux/amd64,linux/arm64"
	both.ok(t, "push", "--nixpkgs", nixpkgs, "--platform", platforms, ref+":configuration", "nginx.nix")
	both.ok(t, "push", "--platform", platforms, ref+":flake", ".#nixosConfigurations.web")
	both.ok(t, "push", "--nixpkgs", nixpkgs, ref+":base")

	_, web := site(t, "configuration.nix", "")
	for _, tag := range []string{":configuration", ":flake"} {
		b := dockerRun(t, ref+tag, append([]string{"-v", web + ":/web"}, bootFlags...)...)
		b.serves(t, "the first page")
	}

	nix("").nixoci(t, "push", "--nixpkgs", nixpkgs, "--platform", "linux/arm64", ref+":x", "new.nix").
		fails(t, 1, "no builder for aarch64-linux", "--join")
	nix("").nixoci(t, "push", "--nixpkgs", nixpkgs, ref+":x", "broken.nix").fails(t, 1, "syntax error", "broken.nix:3:1")
	nix("").nixoci(t, "push", ref+":x", ".#nixosConfigurations.db").fails(t, 1, "nixosConfigurations.db")
}
