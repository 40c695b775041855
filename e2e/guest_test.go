//go:build e2e

package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/guest"
)

// bootFlags holds the flags from the documentation, and a tmpfs on /run/lock, which Debian's
// systemd needs.
var bootFlags = strings.Fields(guest.FlagRun + " --tmpfs /run/lock " + guest.FlagHostCgroup)

var guests struct {
	sync.Mutex
	toplevels map[string]string // key: guest-SYSTEM + variant; value: toplevel
	images    map[string]string // key: variant; value: reference of the image
}

// guestRoot returns the root of the guest systems' store.
func guestRoot() string { return filepath.Join(lab.cache, "guest") }

// guestSystem returns the toplevel of the base system or of a variant. The first call makes
// the system with debstore.
func guestSystem(t *testing.T, arch, variant string) string {
	t.Helper()
	guests.Lock()
	defer guests.Unlock()
	return madeGuest(t, arch, variant)
}

func madeGuest(t *testing.T, arch, variant string) string {
	t.Helper()
	name := "guest-" + arch + "-linux" + variant
	if path := guests.toplevels[name]; path != "" {
		return path
	}
	root := guestRoot()
	command(t, tool("debstore"), "guest", "-root", root, "-debs", filepath.Join(lab.cache, "debs"), "-out", root, name)
	list, err := os.ReadFile(filepath.Join(root, "systems.json"))
	if err != nil {
		t.Fatal(err)
	}
	var made map[string]string
	if err := json.Unmarshal(list, &made); err != nil {
		t.Fatal(err)
	}
	if guests.toplevels == nil {
		guests.toplevels = map[string]string{}
	}
	guests.toplevels[name] = made[name]
	return made[name]
}

// guestImage returns the reference of an image for amd64, of the base system or of a variant.
// The first call pushes the image.
func guestImage(t *testing.T, variant string) string { return guestImageFor(t, variant, "x86_64") }

// guestImageFor does the same as guestImage, for several platforms.
func guestImageFor(t *testing.T, variant string, archs ...string) string {
	t.Helper()
	guests.Lock()
	defer guests.Unlock()
	name := "guest" + variant
	if len(archs) > 1 {
		name += "-" + strings.Join(archs, "-")
	}
	ref := registry(t) + "/" + strings.ReplaceAll(name, "_", "-") + ":latest"
	if guests.images[name] != "" {
		return ref
	}
	line := []string{"push", "--from", guestRoot(), ref}
	for _, arch := range archs {
		line = append(line, madeGuest(t, arch, variant))
	}
	run{}.ok(t, line...)
	if guests.images == nil {
		guests.images = map[string]string{}
	}
	guests.images[name] = ref
	return ref
}

// A box is a running container.
type box struct {
	engine func(*testing.T, ...string) []string // the function dockerLine or podmanLine
	id     string
	cri    bool // true: the engine is crictl
}

// dockerRun starts a container, and removes it at the end of the test.
func dockerRun(t *testing.T, image string, flags ...string) box {
	t.Helper()
	return startBox(t, dockerLine, image, append([]string{"--network", "none"}, flags...))
}

func startBox(t *testing.T, engine func(*testing.T, ...string) []string, image string, flags []string, arguments ...string) box {
	t.Helper()
	b := box{engine: engine}
	b.id = strings.TrimSpace(command(t, engine(t, args("run", "-d", flags, image, arguments)...)...))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", b.id, b.log(t))
		}
		try(engine(t, "rm", "-f", b.id)...)
	})
	return b
}

func (b box) do(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, b.engine(t, args...)...)
}

func (b box) exec(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := try(b.engine(t, append([]string{"exec", b.id}, args...)...)...)
	return strings.TrimSpace(out), err
}

// log returns standard output of the container, and then its standard error. The two are
// not mixed as they arrive: an engine reads them from two pipes. If a program writes a line
// in two parts to one pipe, a line of the other pipe can come between them.
func (b box) log(t *testing.T) string {
	t.Helper()
	line := b.engine(t, "logs", b.id)
	cmd := exec.Command(line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v: %s", line, err, stderr.String())
	}
	return stdout.String() + stderr.String()
}

func (b box) exitCode(t *testing.T) string {
	t.Helper()
	if b.cri {
		return strings.TrimSpace(b.do(t, "inspect", "-o", "go-template", "--template", "{{.status.exitCode}}", b.id))
	}
	return strings.TrimSpace(b.do(t, "inspect", "-f", "{{.State.ExitCode}}", b.id))
}

// ends waits until the container ends without a command from outside.
func (b box) ends(t *testing.T) {
	t.Helper()
	if !b.cri {
		b.do(t, "wait", b.id)
		return
	}
	eventually(t, "the container ends", func() bool {
		state := b.do(t, "inspect", "-o", "go-template", "--template", "{{.status.state}}", b.id)
		return strings.TrimSpace(state) == "CONTAINER_EXITED"
	})
}

// patience is the time after which a wait fails. It is long enough for a busy machine. The
// tests report how long things take, but slow things do not fail.
const patience = 2 * time.Minute

// eventually waits until a condition is true.
func eventually(t *testing.T, what string, is func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !is() {
		if time.Since(start) > patience {
			t.Fatalf("%s: not after %v", what, patience)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start)
}

func (b box) serves(t *testing.T, page string) time.Duration {
	t.Helper()
	return eventually(t, "serve "+page, func() bool {
		out, _ := b.exec(t, "/run/current-system/sw/bin/curl", "-s", "http://127.0.0.1/")
		return strings.Contains(out, page)
	})
}

func (b box) state(t *testing.T) string {
	t.Helper()
	out, _ := b.exec(t, "/run/current-system/sw/bin/systemctl", "is-system-running")
	return out
}

func (b box) runs(t *testing.T) time.Duration {
	t.Helper()
	return eventually(t, "systemd runs", func() bool {
		s := b.state(t)
		if s == "degraded" {
			failed, _ := b.exec(t, "/run/current-system/sw/bin/systemctl", "list-units", "--failed", "--no-pager")
			t.Fatalf("degraded:\n%s", failed)
		}
		return s == "running"
	})
}

func (b box) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the log says %q", text), func() bool { return strings.Contains(b.log(t), text) })
}

// stops stops the container, and checks its exit code and its last line.
func (b box) stops(t *testing.T) {
	t.Helper()
	start := time.Now()
	b.do(t, "stop", "-t", "30", b.id) // if the container does not stop within 30 s, docker kills it, and the exit code differs
	took := time.Since(start)
	if code := b.exitCode(t); code != "0" {
		t.Errorf("exit code %s", code)
	}
	b.says(t, "Exiting container.") // this is the last line of systemd-shutdown
	report(t, "stopped in %.2f s", took.Seconds())
}

// site makes a directory with web pages, and a directory for the container's /config.
func site(t *testing.T, file, content string) (config, web string) {
	t.Helper()
	dir := scratchDir(t)
	config, web = filepath.Join(dir, "config"), filepath.Join(dir, "web")
	put(t, filepath.Join(config, file), content)
	put(t, filepath.Join(web, "index.html"), "the first page\n")
	put(t, filepath.Join(web, "two", "index.html"), "the second page\n")
	return config, web
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// nginxNix returns a configuration that serves the directory root, like the example of
// docker-nixos.
func nginxNix(root string) string {
	return fmt.Sprintf(`{ lib, ... }:

{
  services.nginx.enable = true;
  services.nginx.virtualHosts."127.0.0.1" = {
    root = %q;
  };

  networking = {
    useHostResolvConf = lib.mkForce false;
  };
}
`, root)
}

func mounts(config, web string) []string {
	return append([]string{"-v", config + ":/config", "-v", web + ":/web"}, bootFlags...)
}

func TestGuestBoots(t *testing.T) {
	image := guestImage(t, "")
	for _, tc := range []struct {
		name  string
		flags []string
	}{
		{"without a terminal", bootFlags},
		{"with a terminal", append([]string{"-t"}, bootFlags...)},
		{"with a terminal and input", append([]string{"-t", "-i"}, bootFlags...)},
		{"mounting it itself", []string{"--cap-add", "SYS_ADMIN"}},
		{"read-only", append(strings.Fields("--read-only --tmpfs /tmp --tmpfs /etc --tmpfs /var --tmpfs /bin --tmpfs /usr --tmpfs /root --tmpfs /lib"), bootFlags...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := dockerRun(t, image, tc.flags...)
			report(t, "running after %.2f s", b.runs(t).Seconds())
			for _, text := range []string{"running activation script", "systemd 252", "NixOS 24.05", "multi-user.target"} {
				b.says(t, text)
			}
			b.says(t, "Startup finished") // only the journal contains this line, so systemd has forwarded it to the log
			b.stops(t)
			if strings.Contains(tc.name, "without") && strings.ContainsAny(b.log(t), "\r\x1b") {
				t.Error("the log of a container without a terminal has carriage returns or colours")
			}
		})
	}
}

// TestGuestSaysEachThingOnce checks that the log shows each message of systemd once, unless
// the user changes this setting.
func TestGuestSaysEachThingOnce(t *testing.T) {
	image := guestImage(t, "")
	unit := filepath.Join(scratchDir(t), "broken.service")
	put(t, unit, "[Unit]\nDescription=Broken\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo said by the unit; exit 3'\n")
	events := []string{"Failed to start broken.service", "Reached target multi-user.target", "Stopped target multi-user.target", "Reached target shutdown.target"}
	for _, tc := range []struct {
		name  string
		args  []string
		times int
		units int // expected number of lines that the unit prints
		not   string
	}{
		{name: "by default", times: 1, units: 1, not: "[  OK  ]"},
		{name: "with the status", args: []string{"systemd.show_status=1"}, times: 2, units: 1},
		{name: "without the journal", args: []string{"systemd.journald.forward_to_console=0"}, times: 1, not: "systemd[1]:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flags := append([]string{"--network", "none", "-v", unit + ":/run/systemd/system/broken.service"}, bootFlags...)
			b := startBox(t, dockerLine, image, flags, append([]string{"systemd.wants=broken.service"}, tc.args...)...)
			eventually(t, "booted", func() bool { return b.state(t) == "degraded" })
			b.stops(t)
			log := b.log(t)
			for _, event := range events {
				if got := strings.Count(log, event); got != tc.times {
					t.Errorf("%q is in the log %d times, not %d", event, got, tc.times)
				}
			}
			if got := strings.Count(log, "said by the unit"); got != tc.units {
				t.Errorf("the unit's output is in the log %d times, not %d", got, tc.units)
			}
			if tc.not != "" && strings.Contains(log, tc.not) {
				t.Errorf("the log has %q", tc.not)
			}
		})
	}
}

// TestGuestStopsWithItsLastLine checks that the last line reaches the log in every run.
func TestGuestStopsWithItsLastLine(t *testing.T) {
	image := guestImage(t, "")
	for range 5 {
		b := dockerRun(t, image, bootFlags...)
		b.runs(t)
		b.stops(t)
	}
}

// TestGuestExplains checks that a user who follows the advice in the message solves the
// problem.
func TestGuestExplains(t *testing.T) {
	image := guestImage(t, "")
	for _, tc := range []struct {
		name  string
		flags []string
	}{
		{"no flag", nil},
		{"no control groups", []string{"--tmpfs", "/run", "--tmpfs", "/run/lock"}},
		{"no /run", []string{"--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"}},
		{"host's control groups in an own namespace", strings.Fields("--tmpfs /run --tmpfs /run/lock --cgroupns private --volume /sys/fs/cgroup:/sys/fs/cgroup:rw")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := dockerRun(t, image, tc.flags...)
			b.do(t, "wait", b.id)
			if code := b.exitCode(t); code != "78" {
				t.Errorf("exit code %s, want 78", code)
			}
			_, rest, ok := strings.Cut(b.log(t), "Add to docker run:\n\n")
			if !ok {
				t.Fatalf("the message says nothing to add")
			}
			added, _, _ := strings.Cut(rest, "\n")
			flags := append(append([]string{}, tc.flags...), strings.Fields(added)...)
			if !slices.Contains(flags, "/run/lock") {
				flags = append(flags, "--tmpfs", "/run/lock") // Debian's systemd needs this flag
			}
			dockerRun(t, image, flags...).runs(t)
		})
	}
}

func TestGuestBakedIn(t *testing.T) {
	image := guestImage(t, "-nginx")
	docker(t, "pull", "-q", image)
	_, web := site(t, "configuration.nix", "")
	b, took := measureStartup(t, image, "the first page", append([]string{"-v", web + ":/web"}, bootFlags...)...)
	report(t, "serving: %v", took)
	b.runs(t)
	b.slowUnits(t, 15)
	if log := b.log(t); strings.Contains(log, "building '") {
		t.Errorf("it built something at the start:\n%s", log)
	}
}

// TestGuestConsoleFlood checks that every line of a flood of output reaches the log. If
// nobody reads the log, the flood must not block the system.
func TestGuestConsoleFlood(t *testing.T) {
	b := dockerRun(t, guestImage(t, ""), bootFlags...)
	b.runs(t)
	const lines = 5000
	if _, err := b.exec(t, "sh", "-c", fmt.Sprintf("systemd-run -q -p LogRateLimitIntervalSec=0 /run/current-system/sw/bin/seq -f 'flood %%.0f' 1 %d", lines)); err != nil {
		t.Fatal(err)
	}
	b.says(t, fmt.Sprintf("flood %d\n", lines))
	if got := strings.Count(b.log(t), ": flood "); got != lines {
		t.Errorf("%d of %d lines arrived", got, lines)
	}
}

func TestGuestPodman(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", nginxNix("/web"))
	command(t, podmanLine(t, "pull", "-q", "--tls-verify=false", "--signature-policy", filepath.Join(lab.scratch, "podman", "policy.json"), image)...)
	// podman recognises /sbin/init, so no flag for systemd is needed.
	b := startBox(t, podmanLine, image, append([]string{"-v", config + ":/config", "-v", web + ":/web"}, podmanLimits...))
	b.serves(t, "the first page")
	b.runs(t)
	b.says(t, "/config/configuration.nix is applied")
	b.stops(t)

	plain := startBox(t, podmanLine, image, append([]string{"--systemd=false"}, podmanLimits...))
	b.do(t, "wait", plain.id)
	if code := plain.exitCode(t); code != "78" {
		t.Errorf("exit code %s, want 78", code)
	}
}

// TestGuestArm64 checks the arm64 image. The nixoci-init in it must be a program for aarch64
// that runs. arm64 clients must get the arm64 manifest from the index.
func TestGuestArm64(t *testing.T) {
	image := guestImageFor(t, "", "x86_64", "aarch64")
	var conf struct{ Architecture string }
	out := command(t, "skopeo", "inspect", "--config", "--tls-verify=false", "--override-arch", "arm64", "docker://"+image)
	if err := json.Unmarshal([]byte(out), &conf); err != nil || conf.Architecture != "arm64" {
		t.Errorf("an arm64 client gets %q (%v)", conf.Architecture, err)
	}
	link, err := os.Readlink(filepath.Join(guestRoot(), guestSystem(t, "aarch64", ""), "nixoci-init"))
	if err != nil {
		t.Fatal(err)
	}
	pkg := filepath.Join(guestRoot(), filepath.Dir(filepath.Dir(link)))
	found := 0
	err = filepath.WalkDir(pkg, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := elf.Open(path)
		if err != nil {
			return nil // this file is not a program
		}
		defer f.Close()
		found++
		if f.Machine != elf.EM_AARCH64 {
			t.Errorf("%s is for %v", path, f.Machine)
		}
		if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
			t.Errorf("%s wants %v", path, libs)
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("%d programs in %s: %v", found, pkg, err)
	}
	// Here nixoci-init is not PID 1. nixoci-init must report this, also in an emulator.
	cmd := exec.Command("qemu-aarch64-static", filepath.Join(guestRoot(), link))
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 78 || !strings.Contains(string(said), "first process") {
		t.Errorf("%v: %s", err, said)
	}
}
