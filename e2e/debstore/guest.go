package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixoci/nixoci"
)

// nixpkgs is shaped as the real one, as far as the container module and an
// nginx.nix look at it.
//
//go:embed nixpkgs
var nixpkgs embed.FS

// guestPackages run systemd and a web server, nixPackages Nix.
var (
	guestPackages = strings.Fields(`
		systemd bash coreutils findutils grep sed gzip tar util-linux mount procps nginx curl nftables`)
	nixPackages = []string{"nix-bin"}
)

// A guestKind is a nixpkgs for guest systems: the releases of Debian that its
// packages are of.
type guestKind struct {
	suffix        string // of its systems' names
	packages, nix string // releases: of guestPackages, and of Nix with libraries of its own
	archs         []string
	variants      bool // also with an nginx.nix baked in, and an update of the base
}

// guestKinds is where a release is chosen: bookworm has systemd 252 and Nix
// 2.8, trixie 257 and 2.26, sid 262 and 2.34 (as of November 2026).
var guestKinds = []guestKind{
	{"", "bookworm", "bookworm", []string{"amd64", "arm64"}, true},
	{"-nix-trixie", "bookworm", "trixie", []string{"amd64"}, false},
	{"-nix-sid", "bookworm", "sid", []string{"amd64"}, false},
}

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

// guest makes the base system of nix/ with its own Nix and nixpkgs in it, of
// every kind, and of some the variants.
func guest(ctx context.Context, opts options) error {
	toplevels := map[string]string{}
	for _, kind := range guestKinds {
		if err := kind.build(ctx, opts, toplevels); err != nil {
			return fmt.Errorf("guest systems %q: %w", kind.suffix, err)
		}
	}
	return writeJSON(filepath.Join(opts.out, "systems.json"), toplevels)
}

// build makes the kind's nixpkgs and flake in root/guestSUFFIX, then its systems.
func (k guestKind) build(ctx context.Context, opts options, toplevels map[string]string) error {
	dir := filepath.Join(opts.root, "guest"+k.suffix)
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
	// nixpkgs/default.nix reads which packages are which release's.
	if err := writeJSON(filepath.Join(dir, "nixpkgs", "releases.json"), map[string]string{"packages": k.packages, "nix": k.nix}); err != nil {
		return err
	}
	type build struct {
		system
		configuration string
		nixpkgs       string
	}
	var builds []build
	for _, arch := range k.archs {
		wanted := map[string][]string{k.packages: guestPackages}
		wanted[k.nix] = append(slices.Clone(wanted[k.nix]), nixPackages...)
		for release, names := range wanted {
			if err := packageList(ctx, opts, release, arch, names, filepath.Join(dir, "nixpkgs", "packages-"+release+"-"+nixSystem(arch)+".json")); err != nil {
				return err
			}
		}
		if err := goBuild(ctx, arch, filepath.Join(dir, "nixpkgs", "nixoci-init", nixSystem(arch), "bin", "nixoci-init")); err != nil {
			return err
		}
		builds = append(builds, build{system{name: "guest-" + nixSystem(arch) + k.suffix, arch: arch}, "null", "nixpkgs"})
		if k.variants {
			builds = append(builds, build{system{name: "guest-" + nixSystem(arch) + k.suffix + "-nginx", arch: arch}, configuration, "nixpkgs"})
		}
	}
	if k.variants {
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
		builds = append(builds, build{system{name: "guest-x86_64-linux" + k.suffix + "-update", arch: "amd64"}, "null", "nixpkgs-update"})
	}
	// All packages are known by now: nixpkgs is complete, and the same for all.
	n := &nix{root: opts.root}
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
	return nil
}

// packageList writes, for packages.nix, what installing names from a release takes.
func packageList(ctx context.Context, opts options, release, arch string, names []string, file string) error {
	a, err := newApt(ctx, opts.root, opts.debs, release, arch)
	if err != nil {
		return err
	}
	debs, err := a.install(ctx, names)
	if err != nil {
		return err
	}
	pkgs, err := derivations(opts.debs, debs, names)
	if err != nil {
		return err
	}
	return writeJSON(file, pkgs)
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
