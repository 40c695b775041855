package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A sampleKind describes one kind of system in testdata/. Each kind has a system for both
// platforms, before and after an update.
type sampleKind struct {
	name        string                        // beginning of the systems' names, and name of the Nix file
	libraries   []string                      // Debian packages that only other packages need
	packages    []string                      // Debian packages of the system
	updated     string                        // the package that is newer after the update
	keep        []string                      // the files to unpack: programs, libraries, /etc and licences
	key         string                        // name of the key that signs the binary cache
	compression func(storePath string) string // the compression of each path in the binary cache
}

var sampleKinds = map[string]sampleKind{
	"sample": {
		name:        "sample",
		libraries:   []string{"libc6", "libgcc-s1", "libbz2-1.0"},
		packages:    []string{"busybox-static", "hostname", "dash", "bzip2", "netbase", "media-types"},
		updated:     "hostname",
		keep:        []string{"./bin/*", "./sbin/*", "./lib/*", "./etc/*", "./usr/bin/*", "./usr/lib/*", "./usr/share/doc/*/copyright"},
		key:         keyName,
		compression: sampleCompression,
	},
	"small": {
		name:        "small",
		packages:    []string{"mksh", "netbase", "media-types"},
		updated:     "netbase",
		keep:        []string{"./usr/lib/*-linux-musl/bin/mksh", "./etc/*", "./usr/share/doc/*/copyright"},
		key:         "nixoci-testdata-small-1",
		compression: func(string) string { return "none" },
	},
}

// libcParts lists the files of libc6 and libgcc-s1 that the sample keeps. The few programs of
// the sample need no others.
var libcParts = []string{"./lib/*/libc.so.6", "./lib/*/ld-linux-*", "./lib/*/libgcc_s.so.1", "./usr/share/doc/libc6/copyright"}

func sample(ctx context.Context, opts options) error { return sampleKinds["sample"].make(ctx, opts) }

func small(ctx context.Context, opts options) error { return sampleKinds["small"].make(ctx, opts) }

// make writes the graphs, the binary cache, its public key, and systems.json.
func (k sampleKind) make(ctx context.Context, opts options) error {
	systems, err := k.systems(ctx, opts)
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
	secret, public, err := n.key(ctx, k.key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(opts.out, "public-key"), []byte(public+"\n"), 0o644); err != nil {
		return err
	}
	return n.binaryCache(ctx, filepath.Join(opts.out, "cache"), secret, k.compression, roots...)
}

// systems returns the systems of a kind. Each exists before and after an update.
func (k sampleKind) systems(ctx context.Context, opts options) ([]system, error) {
	var systems []system
	for _, arch := range []string{"amd64", "arm64"} {
		bookworm, err := newApt(ctx, opts.root, opts.debs, "bookworm", arch)
		if err != nil {
			return nil, err
		}
		var debs []deb
		for _, name := range slices.Concat(k.libraries, k.packages) {
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
		newer, err := trixie.download(ctx, k.updated)
		if err != nil {
			return nil, err
		}
		for _, update := range []bool{false, true} {
			if update {
				i := slices.IndexFunc(debs, func(d deb) bool { return d.name == k.updated })
				debs[i] = newer
			}
			pkgs, err := derivations(opts.debs, debs, k.packages)
			if err != nil {
				return nil, err
			}
			for i := range pkgs {
				pkgs[i].Keep = k.keep
				if slices.Contains(pkgs[i].aliases, "libc6") {
					pkgs[i].Keep = libcParts
				}
			}
			name := fmt.Sprintf("%s-%s", k.name, nixSystem(arch))
			if update {
				name += "-update"
			}
			systems = append(systems, system{name: name, expr: k.name + ".nix", arch: arch, pkgs: pkgs, args: map[string]string{"update": fmt.Sprint(update)}})
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
