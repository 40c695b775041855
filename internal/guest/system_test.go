//go:build linux

package guest

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// toplevel makes a directory that systemAt accepts as a NixOS system.
func toplevel(t *testing.T, dir, init string) string {
	t.Helper()
	write(t, dir+"/init", init)
	write(t, dir+"/activate", "#!/bin/sh\n")
	write(t, dir+"/etc/os-release", "ID=nixos\n")
	return dir
}

func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/configuration.nix", "{ }")
	write(t, dir+"/modules/web.nix", "{ }")
	base := []byte(`{"version":1}`)
	print := func() string {
		t.Helper()
		p, err := Fingerprint(base, "default", dir)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := print()
	if again := print(); again != first {
		t.Fatal("the same files have two fingerprints")
	}
	if err := os.Chtimes(dir+"/configuration.nix", t0, t0); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/.git/HEAD", "ref: refs/heads/main")
	link(t, "/nix/store/aaa-nixos-system", dir+"/result")
	if again := print(); again != first {
		t.Error("times, .git or result changed the fingerprint")
	}
	seen := map[string]string{first: "first"}
	changes := []struct {
		name string
		make func()
	}{
		{"content", func() { write(t, dir+"/modules/web.nix", "{ a = 1; }") }},
		{"new file", func() { write(t, dir+"/modules/db.nix", "") }},
		{"renamed file", func() { os.Rename(dir+"/modules/db.nix", dir+"/modules/dc.nix") }},
		{"mode", func() { os.Chmod(dir+"/modules/web.nix", 0o644) }},
		{"dangling link", func() { link(t, "/nowhere", dir+"/secret.nix") }},
		{"base", func() { base = []byte(`{"version":2}`) }},
	}
	for _, c := range changes {
		c.make()
		p := print()
		if other, ok := seen[p]; ok {
			t.Errorf("%s has the fingerprint of %s", c.name, other)
		}
		seen[p] = c.name
	}
	if p, err := Fingerprint(base, "web", dir); err != nil || seen[p] != "" {
		t.Errorf("the configuration's name does not count: %v", err)
	}
}

// Kubernetes links files into a directory that it replaces as a whole. The fingerprint
// must change with it.
func TestFingerprintThroughLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/..2026_1/configuration.nix", "{ }")
	write(t, dir+"/..2026_2/configuration.nix", "{ a = 1; }")
	link(t, "..2026_1", dir+"/..data")
	link(t, "..data/configuration.nix", dir+"/configuration.nix")
	one, err := Fingerprint(nil, "", dir)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(dir + "/..data")
	link(t, "..2026_2", dir+"/..data")
	two, err := Fingerprint(nil, "", dir)
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("a new version has the fingerprint of the old one")
	}
}
