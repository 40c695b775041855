//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// emulateArm64 lets this machine run arm64 programs until the test ends. It registers qemu
// with binfmt_misc without the flag P, so argv[0] is the path of the program.
func emulateArm64(t *testing.T) {
	t.Helper()
	dir := scratchDir(t)
	command(t, "mount", "-t", "binfmt_misc", "none", dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	const entry = "nixoci-e2e-arm64"
	if err := os.WriteFile(filepath.Join(dir, "register"), []byte(":"+entry+
		`:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`+
		`:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(dir, entry), []byte("-1"), 0o644); err != nil {
			t.Error(err)
		}
	})
}

// TestGuestArm64Boots checks that the arm64 guest boots, applies a configuration and stops
// when all of its programs are emulated. qemu-user causes three differences from a real arm64
// machine:
//
//   - A fork into a new mount namespace fails, so every unit with credentials
//     (LoadCredential=) fails. systemd itself has two such units; in this test they get none.
//   - glibc keeps the first two real-time signals for itself, and moves the others. To send
//     the signal that systemd reads as SIGRTMIN+3 (37), the test must send 39.
//   - The name of a process is the name with which qemu was started. So systemd also kills
//     the process for the console at the end, and the last lines of the log are missing.
func TestGuestArm64Boots(t *testing.T) {
	emulateArm64(t)
	image := guestImageFor(t, "", "x86_64", "aarch64")
	command(t, todayDocker(t, "pull", "-q", "--platform", "linux/arm64", image)...)
	plain := filepath.Join(scratchDir(t), "plain.conf")
	put(t, plain, "[Service]\nLoadCredential=\n")
	config, _ := site(t, "configuration.nix", `{ environment.etc.applied.text = "on arm64\n"; }`)
	flags := args(docker28.machine, todayFlags, "--platform", "linux/arm64", "-v", config+":/config")
	for _, unit := range []string{"systemd-tmpfiles-setup", "systemd-tmpfiles-setup-dev"} {
		flags = append(flags, "-v", plain+":/run/systemd/system/"+unit+".service.d/plain.conf")
	}
	b := startBox(t, todayDocker, image, flags)
	report(t, "running after %.2f s", b.runs(t).Seconds())
	b.says(t, "Startup finished")
	if arch, err := b.exec(t, "/run/current-system/sw/bin/uname", "-m"); arch != "aarch64" {
		t.Errorf("the machine is %q: %v", arch, err)
	}
	// Emulation is slow, so the test waits for each step.
	for _, text := range []string{"building /config/configuration.nix", ": built /nix/store/", "switching to /nix/store/", "/config/configuration.nix is applied"} {
		b.says(t, text)
	}
	if text, err := b.exec(t, "/run/current-system/sw/bin/cat", "/etc/applied"); text != "on arm64" {
		t.Errorf("/etc/applied: %q, %v", text, err)
	}
	start := time.Now()
	b.do(t, "stop", "-t", "30", "--signal", "39", b.id) // if the container does not stop within 30 s, docker kills it, and the exit code differs
	report(t, "stopped in %.2f s", time.Since(start).Seconds())
	if code := b.exitCode(t); code != "0" {
		t.Errorf("exit code %s", code)
	}
	b.says(t, "Shutting down.")
}
