package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixoci/nixoci"
)

// nixpkgs has the same shape as the real one, as far as the container module
// and an nginx.nix use it.
//
//go:embed nixpkgs
var nixpkgs embed.FS

// guestPackages are for systemd and a web server, nixPackages are for Nix. Only the images of
// examples/postgresql use postgresPackages.
var (
	guestPackages = strings.Fields(`
		systemd bash coreutils findutils grep sed gzip tar util-linux mount procps nginx curl nftables sudo`)
	nixPackages      = []string{"nix-bin"}
	postgresPackages = strings.Fields("postgresql-15 postgresql-client-15")
)

// A guestKind is a nixpkgs for guest systems. Its packages come from one
// release of Debian.
type guestKind struct {
	suffix   string // suffix in the names of the systems of this kind
	release  string
	archs    []string
	packages []string // packages in addition to guestPackages
	variants []string // variants in addition to "", the base system
}

// guestKinds chooses the releases. In November 2026, bookworm has systemd 252 and Nix 2.8,
// trixie has 257 and 2.26, and forky has 262 and 2.34.
var guestKinds = []guestKind{
	{"", "bookworm", []string{"amd64", "arm64"}, postgresPackages, []string{"-nginx", "-update", "-postgresql", "-postgresql-update"}},
	{"-trixie", "trixie", []string{"amd64"}, nil, nil},
	{"-forky", "forky", []string{"amd64"}, nil, []string{"-foreign"}},
}

// guestVariants maps each variant to arguments of nixpkgs/guest.nix, as Nix expressions. The
// base system is not in the map. A variant with a name that ends in -update is the next
// version: its nixpkgs and its nixoci-init are different, but most packages are unchanged.
var guestVariants = map[string]map[string]string{
	"-nginx":             {}, // this variant contains nginx.nix, see build
	"-update":            {},
	"-postgresql":        {"cached": `[ "postgresql" ]`},
	"-postgresql-update": {"cached": `[ "postgresql" ]`},
	"-foreign":           {"foreign": "true"},
}

// guestConfiguration is the nginx.nix of docker-nixos. It is built into the image.
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

// A guestSystem describes a toplevel to make.
type guestSystem struct {
	kind          guestKind
	name          string // the name is guest-SYSTEM + kind.suffix + variant
	arch, variant string
}

// guestSystems returns all guest systems.
func guestSystems() (all []guestSystem) {
	for _, k := range guestKinds {
		for _, arch := range k.archs {
			for _, variant := range append([]string{""}, k.variants...) {
				all = append(all, guestSystem{k, "guest-" + nixSystem(arch) + k.suffix + variant, arch, variant})
			}
		}
	}
	return all
}

// guest makes the systems in opts.names, or all systems, and writes their paths to
// systems.json. Most of them are the base system of nix/, which contains Nix and nixpkgs.
func guest(ctx context.Context, opts options) error {
	toplevels := map[string]string{}
	prepared := map[string]bool{}
	for _, s := range guestSystems() {
		if len(opts.names) > 0 && !slices.Contains(opts.names, s.name) {
			continue
		}
		if !prepared[s.kind.suffix] {
			if err := s.kind.prepare(ctx, opts); err != nil {
				return fmt.Errorf("nixpkgs of %s: %w", s.name, err)
			}
			prepared[s.kind.suffix] = true
		}
		path, err := s.build(ctx, opts)
		if err != nil {
			return fmt.Errorf("build %s: %w", s.name, err)
		}
		toplevels[s.name] = path
	}
	for _, name := range opts.names {
		if toplevels[name] == "" {
			return fmt.Errorf("no guest system is called %s", name)
		}
	}
	return writeJSON(filepath.Join(opts.out, "systems.json"), toplevels)
}

// dir returns the directory with the nixpkgs and the flake of the kind.
func (k guestKind) dir(opts options) string { return filepath.Join(opts.root, "guest"+k.suffix) }

// prepare makes the nixpkgs of the kind, with the packages of all its systems, and the flake
// of the kind.
func (k guestKind) prepare(ctx context.Context, opts options) error {
	dir := k.dir(opts)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for from, to := range map[fs.FS]string{subtree(nixpkgs, "nixpkgs"): "nixpkgs", nixoci.Flake: "flake", subtree(expressions, "nix"): "nixpkgs/debian"} {
		if err := os.CopyFS(filepath.Join(dir, to), from); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.nix"), []byte(guestConfiguration), 0o644); err != nil {
		return err
	}
	// nixpkgs/default.nix reads the release of its packages from this file.
	if err := writeJSON(filepath.Join(dir, "nixpkgs", "release.json"), k.release); err != nil {
		return err
	}
	for _, arch := range k.archs {
		names := slices.Concat(guestPackages, nixPackages, k.packages)
		if err := packageList(ctx, opts, k.release, arch, names, filepath.Join(dir, "nixpkgs", "packages-"+nixSystem(arch)+".json")); err != nil {
			return err
		}
		if err := goBuild(ctx, arch, filepath.Join(dir, "nixpkgs", "nixoci-init", nixSystem(arch), "bin", "nixoci-init")); err != nil {
			return err
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "nixpkgs-update"), os.DirFS(filepath.Join(dir, "nixpkgs"))); err != nil {
		return err
	}
	for _, file := range []string{"UPDATE", "nixoci-init/x86_64-linux/UPDATE"} {
		if err := os.WriteFile(filepath.Join(dir, "nixpkgs-update", file), []byte("2\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// build makes the toplevel and its graph. It also makes a link to the toplevel, so that the
// garbage collector does not delete it.
func (s guestSystem) build(ctx context.Context, opts options) (string, error) {
	dir := s.kind.dir(opts)
	source := filepath.Join(dir, "nixpkgs")
	if strings.HasSuffix(s.variant, "-update") {
		source += "-update"
	}
	args := []string{filepath.Join(dir, "nixpkgs/guest.nix"), "-o", filepath.Join(opts.root, s.name),
		"--argstr", "system", nixSystem(s.arch), "--arg", "nixpkgs", source, "--arg", "flake", filepath.Join(dir, "flake")}
	for name, value := range guestVariants[s.variant] {
		args = append(args, "--arg", name, value)
	}
	if s.variant == "-nginx" {
		args = append(args, "--arg", "configuration", filepath.Join(dir, "nginx.nix"))
	}
	n := &nix{root: opts.root}
	out, err := n.run(ctx, "nix-build", args...)
	if err != nil {
		return "", err
	}
	path := strings.TrimSpace(string(out))
	return path, n.graph(ctx, system{path: path}, filepath.Join(opts.out, s.name+".json"))
}

// packageList writes to file the list of packages for packages.nix: the named packages of a
// release, and everything that they need. If all packages in the list of the last run still
// exist, it uses that list.
func packageList(ctx context.Context, opts options, release, arch string, names []string, file string) error {
	sum := sha256.Sum256([]byte(strings.Join(names, " ")))
	known := filepath.Join(opts.root, fmt.Sprintf("packages-%s-%s-%x.json", release, arch, sum[:4]))
	if pkgs, ok := knownPackages(opts.debs, known); ok {
		return writeJSON(file, pkgs)
	}
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
	if err := writeJSON(known, pkgs); err != nil {
		return err
	}
	return writeJSON(file, pkgs)
}

// knownPackages reads a list of packages. ok is false if one of the packages is missing in
// debs.
func knownPackages(debs, file string) (pkgs []pkg, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &pkgs) != nil {
		return nil, false
	}
	for _, p := range pkgs {
		for _, d := range p.Debs {
			if _, err := os.Stat(filepath.Join(debs, d.File)); err != nil {
				return nil, false
			}
		}
	}
	return pkgs, len(pkgs) > 0
}

func subtree(f fs.FS, dir string) fs.FS {
	sub, err := fs.Sub(f, dir)
	if err != nil {
		panic(err) // cannot happen, because the name is a constant
	}
	return sub
}

// goBuild compiles nixoci-init in the same way as nix/nixoci-init.nix.
func goBuild(ctx context.Context, arch, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out,
		"github.com/nixoci/nixoci/cmd/nixoci-init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build nixoci-init for %s: %w\n%s", arch, err, output)
	}
	return nil
}
