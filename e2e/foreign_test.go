//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// added matches the advice in a log to add flags to docker run. The flags for Docker 28 come
// first, followed by the flags for older versions.
var added = regexp.MustCompile(`(?mi)add to docker run[^\n]*:\n\n +(.+)$`)

// TestForeignSystem boots a system that does not use nixoci's module. The system sets only
// boot.isContainer, and its systemd is as new as the systemd of NixOS. It must boot with
// every engine, and its log must be complete. If a flag is missing, the log must name this
// flag.
func TestForeignSystem(t *testing.T) {
	toplevel := guestSystem(t, "x86_64", "-forky-foreign")
	if _, err := os.Lstat(filepath.Join(guestRoot(), toplevel, "nixoci-init")); !os.IsNotExist(err) {
		t.Fatalf("the system is one of nixoci's: %v", err)
	}
	image := guestImage(t, "-forky-foreign")
	_, web := site(t, "configuration.nix", "")
	mount := []string{"-v", web + ":/web"}
	works := func(t *testing.T, b box) {
		t.Helper()
		report(t, "running after %.2f s", b.runs(t).Seconds())
		for _, text := range []string{"nixoci: starting ", toplevel, "running activation script", "Reached target multi-user.target", "Startup finished"} {
			b.says(t, text)
		}
		b.serves(t, "the first page")
		eventually(t, "healthy", func() bool { _, err := b.exec(t, "/sbin/init", "health"); return err == nil })
		b.stops(t)
	}
	for _, e := range []engine{docker20, docker28} {
		t.Run(e.name, func(t *testing.T) {
			b := e.run(t, image, mount...)
			b.ends(t)
			if code := b.exitCode(t); code != "78" {
				t.Errorf("without flags: exit code %s, want 78", code)
			}
			advice := added.FindStringSubmatch(b.log(t))
			if advice == nil {
				t.Fatal("the log does not say what to add")
			}
			b = e.run(t, image, args(mount, strings.Fields(advice[1]))...)
			eventually(t, "the engine says healthy", func() bool {
				return strings.TrimSpace(b.do(t, "inspect", "-f", "{{.State.Health.Status}}", b.id)) == "healthy"
			})
			works(t, b)
		})
	}
	t.Run(podman5.name, func(t *testing.T) { works(t, podman5.run(t, image, mount...)) })
	t.Run("containerd 2", func(t *testing.T) {
		pod := criPod{name: "foreign", image: image, mounts: map[string]string{"/web": web}}
		b := pod.run(t)
		b.ends(t)
		if code := b.exitCode(t); code != "78" {
			t.Errorf("without a capability: exit code %s, want 78", code)
		}
		b.says(t, "SYS_ADMIN")
		pod.sysAdmin = true
		works(t, pod.run(t))
	})
}

// foreignLines lists the lines that a system without the module may print, each with its
// reason. NixOS causes these lines. The module prevents them.
var foreignLines = []quietLine{
	{`mount: /nix/store: (permission denied|mount point not mounted or bad option)\.`, "stage 2 makes the store read-only, and may not mount", ""},
	{`(mount\[\d+\]: )?\s*dmesg\(1\) may have more information after failed mount system call\.`, "the second line of such an error", ""},
	{`ln: failed to create symbolic link '/etc/(hosts|hostname)': Device or resource busy`, "activation links its own file over the one that the engine has mounted", ""},
	{`cannot set /etc/(hosts|hostname)`, "the same", ""},
	{`Activation script snippet '(specialfs|etc)' failed`, "specialfs may not mount; etc as above", ""},
	{`mount\[\d+\]: mount: /run/initramfs: permission denied\.`, "NixOS wants a ramfs for its shutdown", ""},
	{`systemd\[1\]: run-initramfs\.mount: (Mount process exited, code=exited, status=32/n/a|Failed with result 'exit-code'\.)`, "the same", ""},
	{`systemd\[1\]: Failed to mount run-initramfs\.mount - /run/initramfs\.`, "the same", ""},
	{`systemd\[1\]: (Dependency failed for )?generate-shutdown-ramfs\.service( - Generate shutdown ramfs\.|: Job .* failed with result 'dependency'\.)`, "the same", ""},
	{`nginx\[\d+\]: nginx: (the )?configuration file \S+ (syntax is ok|test is successful)`, "the system's own service says so before it starts", ""},
}

// TestForeignLogIsQuiet checks that a system without the module prints only the messages of
// its own units. nixoci must cause no other line.
func TestForeignLogIsQuiet(t *testing.T) {
	image := guestImage(t, "-forky-foreign")
	for _, tc := range []struct {
		name   string
		engine engine
		flags  []string
	}{
		{"docker 20", docker20, bootFlags},
		{"docker 20 with SYS_ADMIN", docker20, strings.Fields("--cap-add SYS_ADMIN")},
		{"docker 28", docker28, todayFlags},
		{"podman 4", podman43, strings.Fields("--tmpfs /run:exec,suid")},
		{"podman 5", podman5, strings.Fields("--tmpfs /run:exec,suid")},
		{"podman 5 without a flag", podman5, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := tc.engine.run(t, image, tc.flags...)
			b.runs(t)
			foreignLogIsQuiet(t, tc.engine.name, b)
		})
	}
	t.Run("containerd 2", func(t *testing.T) {
		b := criPod{name: "quiet", image: image, handler: "systemd", mounts: map[string]string{"/run": memory(t), "/run/lock": memory(t)}}.run(t)
		b.runs(t)
		foreignLogIsQuiet(t, "containerd", b)
	})
	t.Run("containerd 2 with a capability", func(t *testing.T) {
		b := criPod{name: "quiet", image: image, sysAdmin: true}.run(t)
		b.runs(t)
		foreignLogIsQuiet(t, "containerd", b)
	})
}

// foreignLogIsQuiet stops a container and checks its whole log.
func foreignLogIsQuiet(t *testing.T, engine string, b box) {
	t.Helper()
	b.stops(t)
	log := b.log(t)
	report(t, "%d lines of log", strings.Count(log, "\n"))
	for _, line := range noise(t, engine, log, foreignLines...) {
		t.Errorf("noise: %q", line)
	}
}
