//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// nobody returns the prefix of a command that runs a program with the given umask, as a user
// without files.
func nobody(umask string) []string {
	return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "umask " + umask + `; exec "$@"`, "sh"}
}

// TestSameDigestEverywhere checks that the digest does not depend on who makes the image, and
// how. Each run combines several changes that cannot cancel each other out. The name of a run
// lists its differences from the first push.
func TestSameDigestEverywhere(t *testing.T) {
	_, want := large(t)

	// The test builds the program and its nixoci-init again, in another directory.
	again := filepath.Join(scratchDir(t), "src")
	command(t, "cp", "-R", "..", again)
	rebuilt := filepath.Join(lab.scratch, "nixoci-again")
	for _, line := range [][]string{
		{"run", "./internal/initbin/renew", "-overlay", again + "-init"},
		{"build", "-trimpath", "-overlay", again + "-init/overlay.json", "-o", rebuilt, "./cmd/nixoci"},
	} {
		build := exec.Command("go", line...)
		build.Dir = again
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("second build: %v\n%s", err, out)
		}
	}

	for _, c := range []struct {
		name string
		run  run
		args []string
	}{
		{"one worker, GOMAXPROCS=1, TZ=Asia/Tokyo", run{env: []string{"GOMAXPROCS=1", "TZ=Asia/Tokyo"}}, []string{"--jobs", "1"}},
		{"eight workers, unprivileged user, umask 077, LC_ALL=C, second build of nixoci",
			run{program: rebuilt, prefix: nobody("077"), env: []string{"LC_ALL=C", "TZ=America/St_Johns"}}, []string{"--jobs", "8"}},
	} {
		o := c.run.ok(t, args("push", registry(t)+"/same:v1", fromStore(), "--compression", "gzip", "--reuse", "none", c.args, toplevels(""))...)
		if got := o.digest(t); got != want {
			t.Errorf("%s: %s, not %s", c.name, got, want)
		}
		report(t, "%s: same digest, %.1f s, peak %d MiB", c.name, o.wall.Seconds(), o.peak>>20)
	}
}

// TestSameDigestOfOptimisedStore checks that hard links in the store do not change the
// digest. nix-store --optimise replaces equal files with hard links.
func TestSameDigestOfOptimisedStore(t *testing.T) {
	_, want := large(t)
	root := scratchDir(t)
	command(t, "mkdir", filepath.Join(root, "nix"))
	command(t, "cp", "-a", filepath.Join(lab.large, "nix/store"), filepath.Join(lab.large, "nix/var"), filepath.Join(root, "nix"))
	out := command(t, "unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount --bind "$1/nix" /nix; export USER=root HOME="$1" NIX_REMOTE=local NIX_CONF_DIR=/var/empty
		nix-store --option build-users-group "" --optimise 2>&1`, "sh", root)
	links, err := os.ReadDir(filepath.Join(root, "nix/store/.links"))
	if err != nil || len(links) < 1000 {
		t.Fatalf("nix-store --optimise linked nothing (%d files, %v): %s", len(links), err, out)
	}
	o := run{}.ok(t, args("push", registry(t)+"/optimised:v1", "--from", root, "--compression", "gzip", "--reuse", "none", toplevels(""))...)
	if got := o.digest(t); got != want {
		t.Errorf("optimised store: %s, not %s", got, want)
	}
	report(t, "nix-store --optimise (%d files linked): same digest", len(links))
}

// TestBusyStore reads a store while Nix writes to it. The database of the store is in WAL
// mode. Both root and a user who cannot write to the database must be able to read the
// closure.
func TestBusyStore(t *testing.T) {
	_, want := large(t)
	root := overlaid(t)
	ctx, stop := context.WithCancel(t.Context())
	writer := exec.CommandContext(ctx, "unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount --bind "$1/nix" /nix
		export USER=root HOME="$2" NIX_REMOTE=local NIX_CONF_DIR=/var/empty
		n=0; while :; do n=$((n + 1)); echo $n >"$2/added"; nix-store --option build-users-group "" --add "$2/added" >"$2/last"; done`, "sh", root, scratchDir(t))
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	added := func() int {
		entries, err := filepath.Glob(filepath.Join(root, "nix/store/*-added"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	defer func() { stop(); writer.Wait() }()
	for begin := time.Now(); added() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatal("nix-store --add has added nothing")
		}
	}
	cache := scratchDir(t)
	command(t, "cp", "-R", largeCache()+"/.", cache)
	command(t, "chmod", "-R", "a+rwX", cache)
	before := added()
	for _, prefix := range [][]string{nil, nobody("022"), nil, nobody("022")} {
		o := run{cache: cache, prefix: prefix}.ok(t, args("push", registry(t)+"/large:busy", "--from", root, "--compression", "gzip", toplevels(""))...)
		if got := o.digest(t); got != want {
			t.Errorf("busy store: %s, not %s", got, want)
		}
	}
	report(t, "four pushes while nix-store --add wrote %d paths: same digest", added()-before)
}
