//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// TestNixDatabase checks with Nix the database that nixoci writes. It unpacks the layers of
// the image, mounts them at /nix in a separate mount namespace, and uses them as a store.
func TestNixDatabase(t *testing.T) {
	testdata, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadFile(filepath.Join(testdata, "systems.json"))
	if err != nil {
		t.Fatal(err)
	}
	var systems map[string]closure.StorePath
	if err := json.Unmarshal(names, &systems); err != nil {
		t.Fatal(err)
	}
	top := systems["sample-x86_64-linux"]
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("USER", "root") // Nix 2.8 needs either this variable or a passwd entry
	t.Setenv("NIX_REMOTE", "")
	t.Setenv("NIX_CONF_DIR", dir)
	conf := "build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command\n"
	if err := os.WriteFile(filepath.Join(dir, "nix.conf"), []byte(conf), 0o666); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	store := filepath.Join(dir, "store")
	run("nix", "copy", "--no-check-sigs", "--from", "file://"+filepath.Join(testdata, "cache"), "--to", store, string(top))

	ctx := context.Background()
	src, err := closure.OpenLocal(store)
	if err != nil {
		t.Fatal(err)
	}
	c, err := src.Closure(ctx, []closure.StorePath{top})
	if err != nil {
		t.Fatal(err)
	}
	sys, err := manifest.ReadSystem(ctx, src, c, top, "x86_64-linux")
	if err != nil {
		t.Fatal(err)
	}
	none := layers.Compression{Algorithm: layers.None}
	var paths []closure.StorePath
	for _, p := range c.Paths {
		paths = append(paths, p.Path)
	}
	storeLayer, err := layers.Store(c, src, paths, none)
	if err != nil {
		t.Fatal(err)
	}
	systemLayer, err := manifest.SystemLayer(sys, none)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*layers.Layer{storeLayer, systemLayer} {
		var packed, out bytes.Buffer
		if _, err := layers.NewPacker(2).Pack(ctx, l, &packed); err != nil {
			t.Fatal(err)
		}
		tar := exec.Command("tar", "-x", "-C", root)
		tar.Stdin, tar.Stderr = &packed, &out
		if err := tar.Run(); err != nil {
			t.Fatalf("unpack: %v\n%s", err, &out)
		}
	}
	t.Cleanup(func() { run("chmod", "-R", "u+w", store, root) })

	db := filepath.Join(root, "nix/var/nix/db/db.sqlite")
	if got := run("sqlite3", db, "pragma integrity_check; pragma foreign_key_check"); got != "ok\n" {
		t.Errorf("sqlite3: %s", got)
	}
	if err := os.MkdirAll("/nix", 0o755); err != nil { // this is the mount point; Nix's own package creates it, too
		t.Fatal(err)
	}
	script := `set -eu
		mount --make-rprivate /
		mount --bind "$1/nix" /nix
		echo "size $(nix path-info -S /nix/var/nix/profiles/system | tr '\t' ' ' | tr -s ' ' | cut -d' ' -f2)"
		echo "paths $(nix path-info -r /nix/var/nix/profiles/system | wc -l)"
		nix-store --verify --check-contents
		nix store verify --no-trust --all
		echo "generation $(nix-env -p /nix/var/nix/profiles/system --list-generations)"
		echo "root $(nix-store -q --roots /nix/var/nix/profiles/system | head -n 1)"
		echo "dead $(nix-store --gc --print-dead 2>/dev/null | wc -l)"
		b=$(ls -d /nix/store/*-busybox-static-*)
		new=$(nix-build --no-out-link -E "derivation { name = \"new\"; system = \"x86_64-linux\"; builder = \"\${builtins.storePath $b}/bin/busybox\"; args = [ \"sh\" \"-c\" \"echo $b > \$out\" ]; }")
		echo "built $(nix-store -q --references $new)"
		nix-store --gc
		test ! -e $new
		nix-store --verify --check-contents
		echo "paths after $(nix path-info --all | wc -l)"
	`
	out := run("unshare", "--mount", "sh", "-c", script, "sh", root)
	for _, want := range []string{
		"size 4858880\n", "paths 22\n", "root /nix/var/nix/profiles/system-1-link -> " + string(top), "generation    1 ",
		"dead 0\n", "built /nix/store/x60nb9hd2x1kaj0c5fzgprz55j4vb4pm-busybox-static", "paths after 22\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("Nix does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "error") || strings.Contains(out, "warning: path") {
		t.Errorf("Nix complains:\n%s", out)
	}
}
