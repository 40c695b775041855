package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libcParts lists the files of libc6 and libgcc-s1 that the sample keeps. The few programs of
// the sample need no others.
var libcParts = []string{"./lib/*/libc.so.6", "./lib/*/ld-linux-*", "./lib/*/libgcc_s.so.1", "./usr/share/doc/libc6/copyright"}

// samplePackages lists the packages of the sample. The sample also contains libc6, libgcc-s1
// and libbz2.
var samplePackages = []string{"busybox-static", "hostname", "dash", "bzip2", "netbase", "media-types"}

// sampleNoDocs lists the files to unpack. The sample stays small, because it contains only
// programs, libraries, /etc and licences.
var sampleNoDocs = []string{"./bin/*", "./sbin/*", "./lib/*", "./etc/*", "./usr/bin/*", "./usr/lib/*", "./usr/share/doc/*/copyright"}

func sample(ctx context.Context, opts options) error {
	systems, err := sampleSystems(ctx, opts)
	if err != nil {
		return err
	}
	n := &nix{root: opts.root}
	for i := range systems {
		if err := n.build(ctx, &systems[i]); err != nil {
			return err
		}
	}
	toplevels := map[string]string{}
	var roots []string
	for _, s := range systems {
		if err := n.graph(ctx, s, filepath.Join(opts.out, s.name+".json")); err != nil {
			return err
		}
		toplevels[s.name] = s.path
		roots = append(roots, s.path)
	}
	if err := writeJSON(filepath.Join(opts.out, "systems.json"), toplevels); err != nil {
		return err
	}
	secret, public, err := n.key(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(opts.out, "public-key"), []byte(public+"\n"), 0o644); err != nil {
		return err
	}
	return n.binaryCache(ctx, filepath.Join(opts.out, "cache"), secret, sampleCompression, roots...)
}

// sampleSystems returns the systems of the sample. Each exists before and after an update.
func sampleSystems(ctx context.Context, opts options) ([]system, error) {
	var systems []system
	for _, arch := range []string{"amd64", "arm64"} {
		bookworm, err := newApt(ctx, opts.root, opts.debs, "bookworm", arch)
		if err != nil {
			return nil, err
		}
		var debs []deb
		for _, name := range append([]string{"libc6", "libgcc-s1", "libbz2-1.0"}, samplePackages...) {
			d, err := bookworm.download(ctx, name)
			if err != nil {
				return nil, err
			}
			debs = append(debs, d)
		}
		trixie, err := newApt(ctx, opts.root, opts.debs, "trixie", arch)
		if err != nil {
			return nil, err
		}
		newer, err := trixie.download(ctx, "hostname")
		if err != nil {
			return nil, err
		}
		for _, update := range []bool{false, true} {
			if update {
				i := slices.IndexFunc(debs, func(d deb) bool { return d.name == "hostname" })
				debs[i] = newer
			}
			pkgs, err := derivations(opts.debs, debs, samplePackages)
			if err != nil {
				return nil, err
			}
			for i := range pkgs {
				pkgs[i].Keep = sampleNoDocs
				if slices.Contains(pkgs[i].aliases, "libc6") {
					pkgs[i].Keep = libcParts
				}
			}
			name := fmt.Sprintf("sample-%s", nixSystem(arch))
			if update {
				name += "-update"
			}
			systems = append(systems, system{name: name, expr: "sample.nix", arch: arch, pkgs: pkgs, args: map[string]string{"update": fmt.Sprint(update)}})
		}
	}
	return systems, nil
}

// sampleCompression chooses the compression of a path, so that every compression of binary
// caches occurs in the sample. Large paths get xz, which makes the smallest files.
func sampleCompression(storePath string) string {
	_, name, _ := strings.Cut(filepath.Base(storePath), "-")
	for _, m := range []struct{ prefix, compression string }{
		{"dash", "zstd"}, {"media-types", "zstd"}, {"etc-", "zstd"}, {"system-path", "zstd"},
		{"hostname", "bzip2"}, {"netbase", "gzip"}, {"web-root", "br"}, {"passwd", "none"},
	} {
		if strings.HasPrefix(name, m.prefix) {
			return m.compression
		}
	}
	return "xz"
}
