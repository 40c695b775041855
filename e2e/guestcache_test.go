//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var buildLine = regexp.MustCompile(`building '(/nix/store/[^']+\.drv)'`)

// built returns the derivations that a container has built.
func (b box) built(t *testing.T) []string {
	t.Helper()
	var drvs []string
	for _, m := range buildLine.FindAllStringSubmatch(b.log(t), -1) {
		drvs = append(drvs, m[1])
	}
	return drvs
}

// twice returns the derivations that are in both lists.
func twice(a, b []string) []string {
	var both []string
	for _, drv := range a {
		if slices.Contains(b, drv) {
			both = append(both, drv)
		}
	}
	return both
}

// size returns the total size of the files below dir.
func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestGuestOutlivesUpdates checks that nothing is built twice when another container replaces
// the first: a new container of the same image, then of a newer image, and then of the older
// image again.
func TestGuestOutlivesUpdates(t *testing.T) {
	first, second := guestImage(t, ""), guestImage(t, "-update")
	config, web := site(t, "configuration.nix", nginxNix("/web"))
	cache := filepath.Join(filepath.Dir(config), "cache")
	flags := append([]string{"-v", cache + ":/var/cache/nixoci"}, mounts(config, web)...)
	start := func(image, page string) box {
		b := dockerRun(t, image, flags...)
		b.serves(t, page)
		b.says(t, "is applied")
		return b
	}
	figures := func(what string, b box) {
		t.Helper()
		line := func(re string) string { return regexp.MustCompile(re).FindString(b.log(t)) }
		report(t, "%s: %d built; %s; %s", what, len(b.built(t)), line(`built .* evaluation|restored .* s`), line(`kept .* MB`))
	}
	end := func(b box) {
		t.Helper()
		b.stops(t)
		b.do(t, "rm", b.id)
	}

	b := start(first, "the first page")
	b.says(t, "kept ")
	figures("first apply", b)
	report(t, "the cache takes %.2f MB", float64(size(t, cache))/1e6)
	builtFirst := b.built(t)
	if len(builtFirst) == 0 {
		t.Fatal("nothing was built")
	}
	end(b)

	b = start(first, "the first page")
	figures("new container", b)
	if log := b.log(t); len(b.built(t)) > 0 || strings.Contains(log, "building /config") {
		t.Error("a new container of the same image builds")
	}
	end(b)

	b = start(second, "the first page")
	b.says(t, "kept ")
	figures("new image", b)
	builtSecond := b.built(t)
	if both := twice(builtFirst, builtSecond); len(both) > 0 {
		t.Errorf("built twice: %v", both)
	}
	if len(builtSecond) == 0 {
		t.Error("the new image is the old one")
	}
	end(b)

	put(t, filepath.Join(config, "configuration.nix"), nginxNix("/web/two"))
	b = start(second, "the second page")
	b.says(t, "kept ")
	figures("new configuration", b)
	if both := twice(b.built(t), slices.Concat(builtFirst, builtSecond)); len(both) > 0 || len(b.built(t)) == 0 {
		t.Errorf("%d built, twice: %v", len(b.built(t)), both)
	}
	end(b)

	put(t, filepath.Join(config, "configuration.nix"), nginxNix("/web"))
	b = start(first, "the first page")
	figures("back to the old image", b)
	if len(b.built(t)) > 0 {
		t.Errorf("going back builds %v", b.built(t))
	}
	end(b)

	// The test damages the contents of the cache. Nix must notice it.
	nars, err := filepath.Glob(filepath.Join(cache, "nix/nar/*"))
	if err != nil || len(nars) == 0 {
		t.Fatal(nars, err)
	}
	for _, nar := range nars {
		data, err := os.ReadFile(nar)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 0xff
		put(t, nar, string(data))
	}
	b = start(first, "the first page")
	b.says(t, "cannot be used, building instead")
	b.says(t, "kept ")
	figures("damaged cache", b)
	if len(b.built(t)) == 0 {
		t.Error("damaged paths were used")
	}
	end(b)

	b = start(first, "the first page")
	figures("mended cache", b)
	if len(b.built(t)) > 0 {
		t.Errorf("the cache was not mended: %v", b.built(t))
	}
}

// TestGuestOutlivesGarbageCollection checks that the garbage collector keeps three things:
// the system of the image, the applied system, and the inputs from which the applied system
// was built.
func TestGuestOutlivesGarbageCollection(t *testing.T) {
	image := guestImage(t, "")
	for _, boot := range []string{"profile", "base"} {
		t.Run(boot, func(t *testing.T) {
			config, web := site(t, "configuration.nix", nginxNix("/web"))
			b := dockerRun(t, image, append([]string{"-e", "NIXOCI_BOOT=" + boot}, mounts(config, web)...)...)
			b.serves(t, "the first page")
			b.says(t, "is applied")
			b.runs(t)
			// This command deletes old generations. The system of the image is one of them.
			if out, err := b.exec(t, "nix-collect-garbage", "-d"); err != nil {
				t.Fatal(out, err)
			}
			if _, err := b.exec(t, "test", "-e", guestSystem(t, "x86_64", "")+"/init"); err != nil {
				t.Error("the image's own system was deleted")
			}
			built := len(b.built(t))
			b.do(t, "restart", "-t", "30", b.id)
			b.serves(t, "the first page")
			b.runs(t)
			if got := len(b.built(t)); got != built {
				t.Errorf("%d derivations were built again", got-built)
			}
			if starts := strings.Count(b.log(t), "starting NixOS"); starts != 2 {
				t.Errorf("%d starts", starts)
			}
			// After this, it must still be possible to build another configuration.
			put(t, filepath.Join(config, "configuration.nix"), nginxNix("/web/two"))
			b.do(t, "restart", "-t", "30", b.id)
			b.serves(t, "the second page")
		})
	}
}

// TestGuestSaysWhatFailed checks that the message about a failed build names the derivation
// and contains the end of its log.
func TestGuestSaysWhatFailed(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", `{ pkgs, ... }:
{
  environment.etc.broken.source = derivation {
    name = "broken.conf";
    system = pkgs.stdenv.hostPlatform.system;
    builder = "/bin/sh";
    args = [ "-c" "echo reading it; echo unknown directive on line 7; exit 3" ];
  };
}
`)
	b := dockerRun(t, image, mounts(config, web)...)
	const reason = "building broken.conf.drv: failed with exit code 3: unknown directive on line 7"
	b.says(t, "FAILED: "+reason)
	eventually(t, "the health check says why", func() bool {
		return strings.Contains(b.do(t, "inspect", "-f", "{{json .State.Health.Log}}", b.id), reason)
	})
}

// TestGuestWatchesASingleFile mounts one file instead of a directory. If an editor replaces
// the file on the host, the container does not see the new file.
func TestGuestWatchesASingleFile(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "nginx.nix", nginxNix("/web"))
	file := filepath.Join(config, "nginx.nix")
	b := dockerRun(t, image, append([]string{"-e", "NIXOCI_WATCH=1", "-v", file + ":/config/configuration.nix", "-v", web + ":/web"}, bootFlags...)...)
	b.serves(t, "the first page")
	b.says(t, "/config/configuration.nix is mounted as a single file")
	// The container sees a change that is written into the same file.
	put(t, file, nginxNix("/web/two"))
	b.serves(t, "the second page")
	put(t, file+".new", nginxNix("/web"))
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	b.says(t, "was replaced outside the container")
	b.do(t, "restart", "-t", "30", b.id)
	b.serves(t, "the first page")
}

// TestGuestSaysWhatItLookedFor mounts a directory in which no file has a name that the guest
// looks for.
func TestGuestSaysWhatItLookedFor(t *testing.T) {
	config, web := site(t, "nginx.nix", nginxNix("/web"))
	b := dockerRun(t, guestImage(t, ""), mounts(config, web)...)
	b.says(t, fmt.Sprintf("looked for %[1]s/flake.nix and %[1]s/configuration.nix, found nginx.nix; mount nginx.nix as %[1]s/configuration.nix", "/config"))
	b.runs(t)
}
