package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// largePackages lists the packages of the large system. apt adds their dependencies.
var largePackages = strings.Fields(`
	systemd systemd-sysv dbus udev bash perl-base python3-minimal postgresql-client-15 php8.2-cli coreutils util-linux findutils grep sed gawk gzip bzip2 xz-utils zstd tar
	less vim openssh-server openssh-client openssl ca-certificates curl wget git rsync nginx postgresql redis-server
	python3 python3-numpy python3-requests python3-cryptography python3-psycopg2 perl libdbd-pg-perl ruby nodejs
	php-cli php-fpm php-pgsql imagemagick ffmpeg gdb strace tmux jq iproute2 iptables nftables dnsutils haproxy
	memcached sqlite3 gcc tzdata locales nix-bin busybox-static procps psmisc sudo logrotate cron chrony
	prometheus-node-exporter`)

// largeKeep maps packages that must not be unpacked completely to the files to unpack. The
// drivers of Mesa are hard links to one file. A NAR has no hard links, so it would contain
// this file fifteen times.
var largeKeep = map[string][]string{
	"libgl1-mesa-dri": {"./usr/lib/*/dri/swrast_dri.so", "./usr/share/*"},
}

// These packages change in the update of the large system. A library low in the graph and ten
// other packages are rebuilt, with the suffix of Debian's binary rebuilds. Three packages are
// new.
var (
	lowLibrary    = "libzstd1"
	tenOthers     = []string{"nginx", "tzdata", "vim", "git", "redis-tools", "sudo", "strace", "haproxy", "jq", "prometheus-node-exporter"}
	threeNew      = []string{"htop", "nano", "lsof"}
	oneLeaf       = []string{"prometheus-node-exporter"}
	rebuildSuffix = "+b1"
)

// large makes the large system and three updates of it, for both architectures. The update v2
// contains the changes above. The update config changes the message of the day and the answer
// of nginx. The update leaf changes one package to which only the system itself refers.
func large(ctx context.Context, opts options) error {
	stamp, stampFile := largeStamp(), filepath.Join(opts.out, "stamp")
	if made, err := os.ReadFile(stampFile); err == nil && string(made) == stamp {
		return nil
	}
	n := &nix{root: opts.root}
	var roots []string
	toplevels := map[string]string{}
	for _, arch := range []string{"amd64", "arm64"} {
		bookworm, err := newApt(ctx, opts.root, opts.debs, "bookworm", arch)
		if err != nil {
			return err
		}
		base, err := largeList(ctx, bookworm, opts.debs, largePackages)
		if err != nil {
			return err
		}
		more, err := largeList(ctx, bookworm, opts.debs, append(slices.Clone(largePackages), threeNew...))
		if err != nil {
			return err
		}
		v2, err := rebuilt(more, append([]string{lowLibrary}, tenOthers...))
		if err != nil {
			return err
		}
		leaf, err := rebuilt(base, oneLeaf)
		if err != nil {
			return err
		}
		for _, v := range []struct {
			suffix  string
			pkgs    []pkg
			names   []string
			message string
		}{
			{"", base, largePackages, "welcome"},
			{"-config", base, largePackages, "welcome back"},
			{"-leaf", leaf, largePackages, "welcome"},
			{"-v2", v2, append(slices.Clone(largePackages), threeNew...), "welcome to v2"},
		} {
			s := system{
				name: "large-" + nixSystem(arch) + v.suffix, expr: "large.nix", arch: arch, pkgs: v.pkgs,
				args: map[string]string{"message": nixString(v.message), "installed": nixList(keysOf(v.pkgs, v.names))},
			}
			if err := n.build(ctx, &s); err != nil {
				return err
			}
			if err := n.graph(ctx, s, filepath.Join(opts.out, s.name+".json")); err != nil {
				return err
			}
			toplevels[s.name] = s.path
			roots = append(roots, s.path)
			fmt.Println(s.name, s.path)
		}
	}
	if err := writeJSON(filepath.Join(opts.out, "systems.json"), toplevels); err != nil {
		return err
	}
	secret, public, err := n.key(ctx, keyName)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(opts.out, "public-key"), []byte(public+"\n"), 0o644); err != nil {
		return err
	}
	if err := n.binaryCache(ctx, filepath.Join(opts.out, "cache"), secret, largeCompression, roots...); err != nil {
		return err
	}
	return os.WriteFile(stampFile, []byte(stamp), 0o644)
}

// largeCompression chooses the compression of a path in the cache. Most paths get zstd, as in
// caches today. Some get xz, as older paths in a cache have.
func largeCompression(storePath string) string {
	_, name, _ := strings.Cut(filepath.Base(storePath), "-")
	for _, prefix := range []string{"bash-", "curl-", "etc-", "glib", "iproute2-", "libsqlite3", "openssl-", "postgresql-client-15", "vim-runtime"} {
		if strings.HasPrefix(name, prefix) {
			return "xz"
		}
	}
	return "zstd"
}

// largeStamp returns a hash of all inputs of large, except the versions of Debian's packages.
func largeStamp() string {
	h := sha256.New()
	for _, name := range []string{"large.nix", "lib.nix", "packages.nix", "toplevel.nix", "unpack.sh"} {
		content, err := expressions.ReadFile("nix/" + name)
		if err != nil {
			panic(err) // cannot happen, because the file is embedded
		}
		fmt.Fprintf(h, "%q %q\n", name, content)
	}
	fmt.Fprintf(h, "%q\n", [][]string{largePackages, {lowLibrary, rebuildSuffix}, tenOthers, threeNew, oneLeaf})
	return hex.EncodeToString(h.Sum(nil))
}

// largeList returns the derivations for the named packages and their dependencies.
func largeList(ctx context.Context, a *apt, debsDir string, names []string) ([]pkg, error) {
	debs, err := a.install(ctx, names)
	if err != nil {
		return nil, err
	}
	pkgs, err := derivations(debsDir, debs, names)
	for i := range pkgs {
		if keep, ok := largeKeep[pkgs[i].Key]; ok {
			pkgs[i].Keep = keep
		}
	}
	return pkgs, err
}

// rebuilt returns a copy of pkgs in which the named packages are marked as rebuilt.
func rebuilt(pkgs []pkg, names []string) ([]pkg, error) {
	pkgs = slices.Clone(pkgs)
	for _, name := range names {
		i := slices.IndexFunc(pkgs, func(p pkg) bool { return slices.Contains(p.aliases, name) })
		if i < 0 {
			return nil, fmt.Errorf("rebuild %s: no such package", name)
		}
		pkgs[i].Rebuild = rebuildSuffix
	}
	return pkgs, nil
}

// keysOf returns the keys of the derivations that contain the named packages.
func keysOf(pkgs []pkg, names []string) []string {
	var keys []string
	for _, p := range pkgs {
		if slices.ContainsFunc(p.aliases, func(a string) bool { return slices.Contains(names, a) }) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

func nixString(s string) string { return `"` + s + `"` }

func nixList(elements []string) string {
	var b strings.Builder
	for _, e := range elements {
		b.WriteString(nixString(e) + " ")
	}
	return "[ " + b.String() + "]"
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
