package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci"
)

// nixpkgs is shaped as the real one, as far as the container module and an
// nginx.nix look at it.
//
//go:embed nixpkgs
var nixpkgs embed.FS

// guestPackages run systemd, Nix and a web server.
var guestPackages = strings.Fields(`
	systemd bash coreutils findutils grep sed gzip tar util-linux mount procps nginx nix-bin curl nftables`)

// guestConfiguration is docker-nixos's nginx.nix, to be baked in.
const guestConfiguration = `{ lib, ... }:

{
  services.nginx.enable = true;
  services.nginx.virtualHosts."127.0.0.1" = {
    root = "/web";
  };

  networking = {
    # Use systemd-resolved inside the container
    # Workaround for bug https://github.com/NixOS/nixpkgs/issues/162686
    useHostResolvConf = lib.mkForce false;
  };
}
`

// guest makes, for both architectures, the base system of nix/ with its own
// Nix and nixpkgs in it, and the same with an nginx.nix baked in.
func guest(ctx context.Context, opts options) error {
	dir := filepath.Join(opts.root, "guest")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for from, to := range map[fs.FS]string{subtree(nixpkgs, "nixpkgs"): "nixpkgs", nixoci.Flake: "flake", subtree(expressions, "nix"): "nixpkgs/debian"} {
		if err := os.CopyFS(filepath.Join(dir, to), from); err != nil {
			return err
		}
	}
	configuration := filepath.Join(dir, "nginx.nix")
	if err := os.WriteFile(configuration, []byte(guestConfiguration), 0o644); err != nil {
		return err
	}
	type build struct {
		system
		configuration string
		nixpkgs       string
	}
	var builds []build
	for _, arch := range []string{"amd64", "arm64"} {
		bookworm, err := newApt(ctx, opts.root, opts.debs, "bookworm", arch)
		if err != nil {
			return err
		}
		debs, err := bookworm.install(ctx, guestPackages)
		if err != nil {
			return err
		}
		pkgs, err := derivations(opts.debs, debs, guestPackages)
		if err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(dir, "nixpkgs", "packages-"+nixSystem(arch)+".json"), pkgs); err != nil {
			return err
		}
		if err := goBuild(ctx, arch, filepath.Join(dir, "nixpkgs", "nixoci-init", nixSystem(arch), "bin", "nixoci-init")); err != nil {
			return err
		}
		builds = append(builds,
			build{system{name: "guest-" + nixSystem(arch), arch: arch}, "null", "nixpkgs"},
			build{system{name: "guest-" + nixSystem(arch) + "-nginx", arch: arch}, configuration, "nixpkgs"})
	}
	// The next version of the base: another nixpkgs and another nixoci-init, in
	// which all packages are what they were.
	if err := os.CopyFS(filepath.Join(dir, "nixpkgs-update"), os.DirFS(filepath.Join(dir, "nixpkgs"))); err != nil {
		return err
	}
	for _, file := range []string{"UPDATE", "nixoci-init/x86_64-linux/UPDATE"} {
		if err := os.WriteFile(filepath.Join(dir, "nixpkgs-update", file), []byte("2\n"), 0o644); err != nil {
			return err
		}
	}
	builds = append(builds, build{system{name: "guest-x86_64-linux-update", arch: "amd64"}, "null", "nixpkgs-update"})
	// All packages are known by now: nixpkgs is complete, and the same for all.
	n := &nix{root: opts.root}
	toplevels := map[string]string{}
	for _, b := range builds {
		out, err := n.run(ctx, "nix-build", filepath.Join(dir, "nixpkgs/guest.nix"), "-o", filepath.Join(opts.root, b.name),
			"--argstr", "system", nixSystem(b.arch), "--arg", "nixpkgs", filepath.Join(dir, b.nixpkgs),
			"--arg", "flake", filepath.Join(dir, "flake"), "--arg", "configuration", b.configuration)
		if err != nil {
			return fmt.Errorf("build %s: %w", b.name, err)
		}
		b.path = strings.TrimSpace(string(out))
		toplevels[b.name] = b.path
		if err := n.graph(ctx, b.system, filepath.Join(opts.out, b.name+".json")); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(opts.out, "systems.json"), toplevels)
}

func subtree(f fs.FS, dir string) fs.FS {
	sub, err := fs.Sub(f, dir)
	if err != nil {
		panic(err) // a name in the source
	}
	return sub
}

// goBuild compiles nixoci-init as nix/nixoci-init.nix does.
func goBuild(ctx context.Context, arch, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out,
		"github.com/nixoci/nixoci/cmd/nixoci-init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build nixoci-init for %s: %w\n%s", arch, err, output)
	}
	return nil
}
