//go:build e2e && nixpkgs

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNixpkgs makes systems from a real nixpkgs. The NixOS modules are unchanged, but the
// packages are Debian's: see nixpkgs/README.md. Run this test with make e2e-nixpkgs
// NIXPKGS=DIR.
func TestNixpkgs(t *testing.T) {
	dir := os.Getenv("NIXPKGS")
	if dir == "" {
		t.Fatal("NIXPKGS is not set: make e2e-nixpkgs NIXPKGS=DIR")
	}
	r := newRealNixpkgs(t, dir)
	report(t, "nixpkgs %s, Nix %s", r.release, r.nixVersion)
	r.replaced(t)
	for _, s := range []struct{ name, configuration string }{{"base", ""}, {"nginx", nginxNix("/web")}} {
		t.Run(s.name, func(t *testing.T) {
			image := r.push(t, s.name, s.configuration)
			for _, e := range []struct {
				name   string
				engine func(*testing.T, ...string) []string
				flags  []string
			}{
				{"docker", dockerLine, append([]string{"--network", "none"}, bootFlags...)},
				{"podman", podmanLine, podmanLimits},
			} {
				t.Run(e.name, func(t *testing.T) { r.boot(t, image, s.configuration, e.engine, e.flags) })
			}
			if s.configuration != "" {
				t.Run("startup", func(t *testing.T) { bakedStartup(t, image) })
			}
		})
	}
}

// realNixpkgs describes a nixpkgs with Debian's packages, and the directory in which it is
// built.
type realNixpkgs struct {
	root, tree          string
	run                 run
	release, nixVersion string
}

func newRealNixpkgs(t *testing.T, dir string) *realNixpkgs {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &realNixpkgs{root: filepath.Join(lab.cache, "nixpkgs")}
	r.tree = filepath.Join(r.root, "tree")
	names, err := os.ReadFile("nixpkgs/packages")
	if err != nil {
		t.Fatal(err)
	}
	debs := filepath.Join(lab.cache, "debs")
	command(t, append([]string{tool("debstore"), "release", "-root", r.root, "-debs", debs,
		"-out", filepath.Join(r.tree, "debian"), "-release", "sid"}, strings.Fields(string(names))...)...)
	command(t, "sh", "nixpkgs/prepare.sh", dir, r.tree)
	command(t, "sh", "-c", `CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -buildid=' -o "$1" ../cmd/nixoci-init`, "sh", filepath.Join(r.tree, "debian", "nixoci-init"))

	work := scratchDir(t)
	r.run = run{dir: work, cache: scratchDir(t), timeout: time.Hour,
		prefix: []string{"unshare", "-m", "sh", "-ec", `mount --bind "$0/nix" /nix; mount --bind "$1" /nix/debs; shift; exec "$@"`, r.root, debs},
		env:    []string{nixConfig, "NIX_CONF_DIR=/var/empty", "NIX_REMOTE=local", "USER=root", "TMPDIR=" + work}}
	// The test uses the Nix that is one of the packages of the tree.
	nix := r.outside(t, "nix-build", filepath.Join(r.tree, "debian", "packages.nix"), "--argstr", "system", "x86_64-linux",
		"--arg", "json", filepath.Join(r.tree, "debian", "packages.json"), "-A", "nix-bin", "-o", filepath.Join(r.root, "nix-bin"))
	r.run.env = append(r.run.env, "PATH="+nix+"/usr/bin:"+os.Getenv("PATH"))
	r.nixVersion = r.outside(t, "nix", "eval", "--extra-experimental-features", "nix-command", "--raw", "--expr", "builtins.nixVersion")
	r.release = r.outside(t, "nix", "eval", "--extra-experimental-features", "nix-command", "--impure", "--raw", "--expr",
		fmt.Sprintf("(import %s/lib).version", r.tree))
	return r
}

// bakedStartup measures how long a system that needs no /config takes to start.
func bakedStartup(t *testing.T, image string) {
	_, web := site(t, "configuration.nix", "")
	for range 3 {
		b, took := measureStartup(t, image, "the first page", append([]string{"-v", web + ":/web"}, bootFlags...)...)
		report(t, "serving: %v", took)
		b.runs(t)
		b.slowUnits(t, 25)
	}
}

// outside runs a program other than nixoci, in the same mount namespace as nixoci.
func (r *realNixpkgs) outside(t *testing.T, args ...string) string {
	t.Helper()
	line := append(append([]string{"env"}, r.run.env...), r.run.prefix...)
	return strings.TrimSpace(command(t, append(line, args...)...))
}

// replaced reports which packages of the nixpkgs tree were replaced by Debian's packages.
func (r *realNixpkgs) replaced(t *testing.T) {
	t.Helper()
	out := r.outside(t, "nix", "eval", "--extra-experimental-features", "nix-command", "--impure", "--json", "--expr",
		fmt.Sprintf(`(import %s/debian { lib = import %[1]s/lib; system = "x86_64-linux"; }).replaced`, r.tree))
	var list map[string][]string
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	report(t, "Debian's packages in place of the tree's: %s", strings.Join(list["debian"], " "))
	report(t, "scripts of e2e/nixpkgs in place of programs: %s; security.wrappers without their bits", strings.Join(list["scripts"], " "))
	report(t, "empty, in place of: %s", strings.Join(list["leftOut"], " "))
}

// push evaluates, builds and pushes a configuration with nixoci, as a user does, and reports
// the result.
func (r *realNixpkgs) push(t *testing.T, name, configuration string) string {
	t.Helper()
	ref := registry(t) + "/nixpkgs-" + name + ":latest"
	line := []string{"push", ref, "--nixpkgs", r.tree}
	if configuration != "" {
		put(t, filepath.Join(r.run.dir, name+".nix"), configuration)
		line = append(line, "./"+name+".nix")
	}
	o := r.run.nixoci(t, line...)
	switch {
	case o.code == 0:
		report(t, "evaluated, built (%d derivations) and pushed in %.1f s", strings.Count(o.stderr, "building '/nix/store/"), o.wall.Seconds())
	case strings.Contains(o.stderr, "evaluate: "):
		t.Fatalf("not evaluated:\n%s", o.stderr)
	default:
		t.Fatalf("evaluated, not built or not pushed:\n%s", o.stderr)
	}
	if strings.Contains(o.stderr, "evaluation warning: ") {
		t.Errorf("warnings:\n%s", o.stderr)
	}
	return ref
}

// applies waits until the log reports this many applied configurations. It waits as long as
// the log grows, because a real system needs a hundred derivations. On a busy machine, this
// takes minutes. applies returns the number of derivations that were built.
func (b box) applies(t *testing.T, times int) (builds int) {
	t.Helper()
	const line = "/config/configuration.nix is applied"
	for before := ""; ; {
		var now string
		eventually(t, "the log goes on", func() bool {
			now = b.log(t)
			return now != before
		})
		switch {
		case strings.Count(now, line) == times:
			return strings.Count(now, "building '/nix/store/")
		case strings.Contains(now, "FAILED: "):
			t.Fatalf("it does not say %q", line)
		}
		before = now
	}
}

// boot starts an image and lets the container apply a configuration. The container must not
// build what is already in the image.
func (r *realNixpkgs) boot(t *testing.T, image, baked string, engine func(*testing.T, ...string) []string, flags []string) {
	if strings.Contains(strings.Join(engine(t), " "), "podman") {
		command(t, podmanLine(t, "pull", "-q", "--tls-verify=false", "--signature-policy", filepath.Join(lab.scratch, "podman", "policy.json"), image)...)
	}
	same, nginx := baked, nginxNix("/web")
	if baked == "" {
		same = "{ }\n"
	}
	config, web := site(t, "configuration.nix", same)
	b := startBox(t, engine, image, append([]string{"-v", web + ":/web", "-v", config + ":/config"}, flags...))
	report(t, "booted: running after %.1f s", b.runs(t).Seconds())
	version, err := b.exec(t, "/run/current-system/sw/bin/cat", "/run/current-system/nixos-version")
	if err != nil || version == "" {
		t.Errorf("the running system says no version: %q, %v", version, err)
	}
	builds := b.applies(t, 1)
	report(t, "applied what is in the image: %d derivations were built in the container", builds)
	if builds != 0 || strings.Contains(b.log(t), "switching to ") {
		t.Errorf("%d derivations were built of a configuration that the image is made of", builds)
	}
	if baked == "" {
		put(t, filepath.Join(config, "configuration.nix"), nginx)
		b.do(t, "restart", "-t", "30", b.id)
		start := time.Now()
		builds = b.applies(t, 2)
		report(t, "applied nginx.nix %.1f s after a restart: %d derivations were built in the container", time.Since(start).Seconds(), builds)
		if now, err := b.exec(t, "/run/current-system/sw/bin/cat", "/run/current-system/nixos-version"); err != nil || now != version {
			t.Errorf("NixOS was %s, and is %s (%v)", version, now, err)
		}
	}
	report(t, "served %.1f s later", b.serves(t, "the first page").Seconds())
	b.runs(t) // the boot did not wait for some units; they must run, too
	b.do(t, "restart", "-t", "30", b.id)
	report(t, "restarted: served after %.1f s", b.serves(t, "the first page").Seconds())
	b.says(t, "is unchanged and running")
	if again := strings.Count(b.log(t), "building '/nix/store/"); again != builds {
		t.Errorf("%d derivations were built for an unchanged configuration", again-builds)
	}
	b.runs(t)
	b.stops(t)
}
