//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onPath makes a directory for the PATH of nixoci. The directory contains the program of the
// engine.
func (e engine) onPath(t *testing.T) (dir, program, scheme string) {
	t.Helper()
	dir, program, scheme = scratchDir(t), "docker", "docker-daemon"
	if strings.HasPrefix(e.name, "podman") {
		program, scheme = "podman", "containers-storage"
	}
	script := "#!/bin/sh\n"
	if e.name == podman43.name {
		podmanLine(t) // this call writes the policy
		script += fmt.Sprintf("case $1 in pull | load) c=$1; shift; set -- $c --signature-policy %s \"$@\" ;; esac\n", filepath.Join(lab.scratch, "podman", "policy.json"))
	}
	line := e.line(t)
	real, err := exec.LookPath(line[0]) // the script in the directory has the same name as the engine's program
	if err != nil {
		t.Fatal(err)
	}
	line[0] = real
	machine := e.machine
	if program == "docker" {
		machine = []string{"--network", "none"}
	}
	script += fmt.Sprintf("case $1 in run) shift; set -- run %s \"$@\" ;; esac\nexec %s \"$@\"\n", strings.Join(machine, " "), strings.Join(line, " "))
	if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, program, scheme
}

// services is a store that contains versions of a service. Each version differs from the one
// before only in the store path of the service itself. This path refers to most of the large
// system.
type services struct {
	*imageStore
	large, small []string // references of a service: large has 1 GB, small has 0.1 GB
}

// newServices makes a store as an overlay on the large system's store, which does not change.
func newServices(t *testing.T) *services {
	s := &services{imageStore: newImageStore(t)}
	upper, work, nix := filepath.Join(s.dir, "upper"), filepath.Join(s.dir, "work"), filepath.Join(s.dir, "nix")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower := filepath.Join(lab.large, "nix")
	if err := syscall.Mount("overlay", nix, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)); err != nil {
		t.Fatalf("mount the store: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(nix, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var size int64
	s.large = []string{packagePath(t, "x86_64-linux", "busybox-static-")} // the interpreter of the service
	for _, p := range loadGraph(t, "large-x86_64-linux") {
		if strings.Contains(p.Path, "nixos-system-") || p.Path == s.large[0] || size > 1_000_000_000 {
			continue
		}
		if s.large = append(s.large, p.Path); size < 100_000_000 {
			s.small = s.large
		}
		size += p.NarSize
	}
	if size < 1_000_000_000 {
		t.Fatalf("only %d bytes", size)
	}
	return s
}

// version builds version n of the service.
func (s *services) version(t *testing.T, n int, deps []string) string {
	t.Helper()
	busybox := packagePath(t, "x86_64-linux", "busybox-static-")
	file := filepath.Join(s.dir, "service.nix")
	text := fmt.Sprintf(`derivation {
  name = "service-1.%d"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
  deps = map builtins.storePath [ %s ];
  args = [ "-c" ''mkdir -p $out/bin; echo $deps >$out/deps; head -c 1000000 /dev/urandom >$out/data
    printf '#!%s/bin/busybox sh\necho version %d\n' >$out/bin/service; chmod +x $out/bin/service; :'' ];
}
`, n, strings.Join(deps, " "), busybox, n)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return s.run("nix-build", file, "--no-out-link")
}

// loaded matches the summary of a build: the number of layers, how many of them were made and
// how many the engine pulled, and how long the engine needed.
var loaded = regexp.MustCompile(` in (\d+) layers?,.* (\d+) made, .* took .* of (\d+) layers? in (.*); all in `)

// TestInnerLoop checks the inner loop of issue 13: a developer changes one line and loads the
// image into an engine. The engine must get only the changed layers. For Docker 20.10 the
// image has 1 GB.
func TestInnerLoop(t *testing.T) {
	s := newServices(t)
	var large, small []string
	for n := range 4 {
		large, small = append(large, s.version(t, n, s.large)), append(small, s.version(t, n, s.small))
	}
	for _, e := range []engine{docker20, docker28, podman43, podman5} {
		t.Run(e.name, func(t *testing.T) {
			path, program, scheme := e.onPath(t)
			versions := small
			if e.name == docker20.name {
				versions = large
			}
			if scheme == "containers-storage" {
				// Images of other tests share layers with this one, and podman pulls no layer twice.
				// No other test runs now, and each test pulls the images that it needs.
				command(t, e.line(t, "rmi", "--all", "--force")...)
			}
			r := run{cache: scratchDir(t), env: []string{"PATH=" + path + ":" + os.Getenv("PATH")}, dir: s.dir}
			name := "localhost/service:" + strings.ReplaceAll(e.name, " ", "-")
			var ours, all []time.Duration
			load := func(n int) outcome {
				o := r.ok(t, "build", "-o", scheme+":"+name, "--from", s.dir, versions[n], "--entrypoint", "bin/service")
				flags := e.machine
				if e.name == docker20.name || e.name == docker28.name {
					flags = []string{"--network", "none"}
				}
				if out := command(t, e.line(t, args("run", "--rm", flags, name)...)...); out != fmt.Sprintf("version %d\n", n) {
					t.Fatalf("after the load of version %d the container says %q", n, out)
				}
				return o
			}
			first := load(0)
			took := loaded.FindStringSubmatch(first.stderr)
			if took == nil || took[1] != took[3] {
				t.Fatalf("an engine that has nothing: %s", first.stderr)
			}
			for n := 1; n < len(versions); n++ {
				o := load(n)
				took := loaded.FindStringSubmatch(o.stderr)
				if took == nil || took[2] != "2" || took[3] != "2" { // only the layer of the service and the root layer are new
					t.Fatalf("one changed path: %s", o.stderr)
				}
				engines, err := time.ParseDuration(strings.ReplaceAll(took[4], " ", ""))
				if err != nil {
					t.Fatal(err)
				}
				ours, all = append(ours, o.wall-engines), append(all, o.wall)
			}
			again := load(len(versions) - 1)
			if took := loaded.FindStringSubmatch(again.stderr); took == nil || took[2] != "0" || took[3] != "0" {
				t.Errorf("the same image again: %s", again.stderr)
			}
			archive := run{cache: r.cache, env: r.env, dir: s.dir, program: "/bin/sh"}.ok(t, "-c",
				fmt.Sprintf("%s build -o - --tag %s --compression none --from %s %s --entrypoint bin/service | %s load", lab.nixoci, name, s.dir, versions[1], program))
			slices.Sort(ours)
			slices.Sort(all)
			report(t, "first load %.1f s; one changed path: %.2f s, of it nixoci %.2f s (median of %d); unchanged %.2f s; an archive: %.1f s",
				first.wall.Seconds(), all[len(all)/2].Seconds(), ours[len(ours)/2].Seconds(), len(ours), again.wall.Seconds(), archive.wall.Seconds())
			command(t, e.line(t, "rmi", "-f", name)...)
		})
	}
}
