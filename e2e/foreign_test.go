//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// added are the flags that the advice in a log has for docker run: Docker 28's
// first, then what older ones know.
var added = regexp.MustCompile(`(?mi)add to docker run[^\n]*:\n\n +(.+)$`)

// A system that has never heard of nixoci, with a systemd as new as NixOS's:
// boot.isContainer and nothing more. It boots with every engine, its log is
// whole, and where a flag is missing the log says which.
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
