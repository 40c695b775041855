//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestUmociUnpack unpacks the image with umoci, a program that has no support for Nix. After
// that, it checks with Nix that every store path is unchanged.
func TestUmociUnpack(t *testing.T) {
	t.Parallel()
	ref, _ := large(t)
	for _, p := range platforms {
		t.Run(p.arch, func(t *testing.T) {
			dir := scratchDir(t)
			layout, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
			command(t, "skopeo", "--override-arch", p.arch, "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+layout+":v1")
			command(t, "umoci", "unpack", "--image", layout+":v1", bundle)
			root := filepath.Join(bundle, "rootfs")
			graph := loadGraph(t, "large-"+p.nix)

			var want []string
			for _, info := range graph {
				want = append(want, filepath.Base(info.Path))
			}
			if got := storeNames(t, root); !slices.Equal(got, want) {
				t.Errorf("store paths in the image and in the closure differ: %s", difference(got, want))
			}
			checkNarHashes(t, root, graph)
			checkDatabase(t, root, lab.systems["large-"+p.nix], graph)
			if p.arch == "arm64" {
				runArm64(t, root, lab.systems["large-"+p.nix])
			}
			report(t, "umoci unpack: %d store paths have the narHash of Nix's database; the image's database says the same", len(graph))
		})
	}
}

// runArm64 starts a program of the unpacked image in an emulator. The program uses the
// dynamic linker and the libraries of the image.
func runArm64(t *testing.T, root, toplevel string) {
	t.Helper()
	out := command(t, "unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount --bind "$1/nix" /nix
		exec qemu-aarch64-static "$(readlink -f "$2/sw/bin/bash")" -c 'echo "$MACHTYPE $(< "$0/system")"' "$2"`, "sh", root, toplevel)
	if want := "aarch64-unknown-linux-gnu aarch64-linux\n"; out != want {
		t.Errorf("the arm64 image's bash prints %q, want %q", out, want)
	}
}

// storeNames returns the names in the store below root, sorted.
func storeNames(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "nix/store"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != ".links" {
			names = append(names, e.Name())
		}
	}
	return names
}

func difference(got, want []string) string {
	var lines []string
	for _, n := range got {
		if !slices.Contains(want, n) {
			lines = append(lines, "+"+n)
		}
	}
	for _, n := range want {
		if !slices.Contains(got, n) {
			lines = append(lines, "-"+n)
		}
	}
	return strings.Join(lines[:min(len(lines), 10)], " ")
}

// checkNarHashes checks the narHash of each store path below root with
// nix-store. It runs two checks at a time.
func checkNarHashes(t *testing.T, root string, graph []storePath) {
	t.Helper()
	var wg sync.WaitGroup
	queue := make(chan storePath)
	for range 2 {
		wg.Go(func() {
			for info := range queue {
				got, size, err := narHash(filepath.Join(root, info.Path))
				if err != nil {
					t.Error(err)
				} else if want := hexHash(t, info.NarHash); got != want || size != info.NarSize {
					t.Errorf("%s: narHash %s, %d bytes; Nix's database has %s, %d bytes", info.Path, got, size, want, info.NarSize)
				}
			}
		})
	}
	for _, info := range graph {
		queue <- info
	}
	close(queue)
	wg.Wait()
}

// narHash returns the digest and the size of the output of nix-store --dump.
func narHash(path string) (digest string, size int64, err error) {
	cmd := exec.Command("nix-store", "--dump", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, err
	}
	h := sha256.New()
	size, err = io.Copy(h, out)
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = waitErr
	}
	if err != nil {
		return "", 0, fmt.Errorf("nix-store --dump %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// checkDatabase compares Nix's records in the image's database with the closure. It also
// checks with SQLite that the database is undamaged and contains nothing else.
func checkDatabase(t *testing.T, root, toplevel string, want []storePath) {
	t.Helper()
	cmd := exec.Command("nix", "--extra-experimental-features", "nix-command", "--option", "build-users-group", "",
		"path-info", "--store", root, "--json", "-r", toplevel)
	cmd.Env = append(os.Environ(), "USER=root", "HOME="+root+"/root", "NIX_CONF_DIR=/var/empty")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nix path-info --store %s: %v\n%s", root, err, errs.String())
	}
	got := parseGraph(t, out)
	if len(got) != len(want) {
		t.Errorf("the image's database has a closure of %d paths, not %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g.Path != w.Path || g.NarHash != w.NarHash || g.NarSize != w.NarSize || !slices.Equal(g.References, w.References) {
			t.Errorf("the image's database says %+v, Nix's own %+v", g, w)
		}
	}
	db := filepath.Join(root, "nix/var/nix/db/db.sqlite")
	for query, answer := range map[string]string{
		"pragma integrity_check":                                  "ok",
		"select count(*) from ValidPaths":                         fmt.Sprint(len(want)),
		"select count(*) from DerivationOutputs":                  "0",
		"select count(deriver) from ValidPaths":                   "0",
		"select count(sigs) from ValidPaths":                      "0",
		"pragma foreign_key_check":                                "",
		"select count(distinct registrationTime) from ValidPaths": "1",
	} {
		if got := strings.TrimSpace(command(t, "sqlite3", db, query)); got != answer {
			t.Errorf("%s: %q, not %q", query, got, answer)
		}
	}
}
