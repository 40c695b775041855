//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuestSettings checks that settings of the container reach the system: variables,
// secrets and the host name.
func TestGuestSettings(t *testing.T) {
	image := guestImage(t, "")
	dir := scratchDir(t)
	unit, script, secret := filepath.Join(dir, "settings.service"), filepath.Join(dir, "settings.sh"), filepath.Join(dir, "db-password")
	put(t, unit, `[Unit]
Description=Settings
[Service]
Type=oneshot
User=systemd-network
EnvironmentFile=/run/nixoci/environment
LoadCredential=db-password
ExecStart=/bin/sh /settings.sh
`)
	put(t, script, `read -r secret <"$CREDENTIALS_DIRECTORY/db-password"
printf '<%s>' "$secret" "$LINES_OF_TEXT" "$QUOTED" "$NIXOCI_X" "$PATH"
echo
`)
	put(t, secret, "the secret of the database\n")
	// As with a secret of compose, the file belongs to another user, and only that user can
	// read it.
	if err := os.Chmod(secret, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(secret, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	for _, capability := range []string{"without capability", "SYS_ADMIN"} {
		t.Run(capability, func(t *testing.T) {
			flags := append([]string{
				"--network", "none", "--hostname", "webserver", "-v", unit + ":/run/systemd/system/settings.service",
				"-v", script + ":/settings.sh", "-v", secret + ":/run/secrets/db-password:ro",
				"-e", "LINES_OF_TEXT=one\ntwo", "-e", `QUOTED=a "b" $c \d 'e' ` + "`f`", "-e", "NIXOCI_X=y", "-e", "not.for.units=1",
			}, bootFlags...)
			if capability == "SYS_ADMIN" {
				flags = append(flags, "--cap-add", capability)
			}
			b := startBox(t, dockerLine, image, flags, "systemd.wants=settings.service")
			b.runs(t)
			b.says(t, "<the secret of the database><one")
			b.says(t, "two><a \"b\" $c \\d 'e' `f`><y></usr/local/sbin:") // the PATH of systemd follows this text
			b.says(t, `units cannot be given "not.for.units"`)
			if mode, err := b.exec(t, "stat", "-c", "%a %u", "/run/nixoci/environment"); mode != "600 0" {
				t.Errorf("/run/nixoci/environment: %q, %v", mode, err)
			}
			if name, err := b.exec(t, "cat", "/proc/sys/kernel/hostname"); name != "webserver" {
				t.Errorf("the host name is %q, %v", name, err)
			}
			b.stops(t)
		})
	}
}

// TestGuestMachineID checks that the machine id is valid from the first moment and stays the
// same. If the state is on a volume, the next container must have the same id.
func TestGuestMachineID(t *testing.T) {
	image := guestImage(t, "")
	volume := strings.TrimSpace(docker(t, "volume", "create"))
	t.Cleanup(func() { try(dockerLine(t, "volume", "rm", "-f", volume)...) })
	id := func(b box) string {
		t.Helper()
		got, err := b.exec(t, "cat", "/etc/machine-id")
		if err != nil || len(got) != 32 || strings.Trim(got, "0123456789abcdef") != "" {
			t.Fatalf("machine id %q, %v", got, err)
		}
		if log := b.log(t); strings.Contains(log, "first boot") || strings.Contains(log, "Initializing machine ID") {
			t.Error("it was a first boot")
		}
		return got
	}
	alone := dockerRun(t, image, bootFlags...)
	alone.runs(t)
	first := id(alone)
	alone.do(t, "restart", "-t", "30", alone.id)
	alone.runs(t)
	if again := id(alone); again != first {
		t.Errorf("a restart made %s of %s", again, first)
	}

	var kept []string
	for range 2 {
		b := dockerRun(t, image, append([]string{"-v", volume + ":/var/lib"}, bootFlags...)...)
		b.runs(t)
		kept = append(kept, id(b))
		b.do(t, "rm", "-f", b.id)
	}
	if kept[0] != kept[1] || kept[0] == first {
		t.Errorf("containers with one volume have %v, another has %s", kept, first)
	}

	// nixoci-init writes the machine id into a mounted file without replacing the file. No
	// unit may fail because of the mount.
	file := filepath.Join(scratchDir(t), "machine-id")
	put(t, file, "uninitialized\n")
	b := dockerRun(t, image, append([]string{"-v", file + ":/etc/machine-id"}, bootFlags...)...)
	b.runs(t)
	if onHost, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(onHost)) != id(b) {
		t.Errorf("the mounted file has %q, %v", onHost, err)
	}
	b.stops(t)
}

// TestGuestSaysWhatItsMountsForbid checks that the system boots if /run is mounted without
// exec and suid. The log must report what does not work.
func TestGuestSaysWhatItsMountsForbid(t *testing.T) {
	image := guestImage(t, "")
	const run, tmp = "/run is mounted noexec and nosuid", "/tmp is mounted noexec"
	for _, tc := range []struct {
		name  string
		flags string
		says  []string
		not   []string
	}{
		{"docker's own options", "--tmpfs /run --tmpfs /tmp", []string{run, "Start the container with --tmpfs /run:exec,suid", tmp, "Leave out --tmpfs /tmp"}, nil},
		{"as documented", "--tmpfs /run:exec,suid", nil, []string{run, tmp, "is mounted"}},
		{"it may remount", "--tmpfs /run --tmpfs /tmp --cap-add SYS_ADMIN", nil, []string{run, tmp, "is mounted"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flags := append(strings.Fields(tc.flags), "--tmpfs", "/run/lock", "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw")
			b := dockerRun(t, image, flags...)
			b.runs(t)
			log := b.log(t)
			for _, text := range tc.says {
				if strings.Count(log, text) != 1 {
					t.Errorf("the log says %q %d times", text, strings.Count(log, text))
				}
			}
			for _, text := range tc.not {
				if strings.Contains(log, text) {
					t.Errorf("the log says %q", text)
				}
			}
			for _, dir := range []string{"/run", "/tmp"} {
				_, err := b.exec(t, "sh", "-c", fmt.Sprintf("cp /bin/sh %s/x && chmod 755 %s/x && %s/x -c true", dir, dir, dir))
				if (err == nil) != (len(tc.says) == 0) {
					t.Errorf("starting a program in %s: %v", dir, err)
				}
			}
		})
	}
}

// TestGuestSudoAndConfigure checks that, with the documented flags, programs in build
// directories can start, and programs in /run/wrappers have their special rights.
func TestGuestSudoAndConfigure(t *testing.T) {
	image := guestImage(t, "")
	config, _ := site(t, "configuration.nix", `{ pkgs, ... }:
{
  users.users.alice = { isNormalUser = true; uid = 1000; extraGroups = [ "wheel" ]; };
  environment.etc.configured.source = pkgs.runCommand "configured" { } ''
    cat >configure <<'EOF'
    #!/bin/sh
    # As autoconf's: it starts a program that it has made.
    cp ${pkgs.coreutils}/bin/true conftest && chmod +x conftest && ./conftest || exit 1
    echo "checked, prefix $1" >config.status
    EOF
    sed -i 's/^ *//' configure
    chmod +x configure
    ./configure "--prefix=$out"
    cp config.status "$out"
  '';
}
`)
	for _, tc := range []struct {
		engine engine
		flags  []string
	}{{docker20, bootFlags}, {docker28, todayFlags}} {
		t.Run(tc.engine.name, func(t *testing.T) {
			b := tc.engine.run(t, image, args("-v", config+":/config", tc.flags)...)
			b.says(t, "/config/configuration.nix is applied")
			if text, err := b.exec(t, "cat", "/etc/configured"); !strings.HasPrefix(text, "checked, prefix --prefix=/nix/store/") {
				t.Errorf("/etc/configured: %q, %v", text, err)
			}
			id, err := try(b.engine(t, "exec", "-u", "alice", b.id, "/run/wrappers/bin/sudo", "/run/current-system/sw/bin/id", "-u")...)
			if strings.TrimSpace(id) != "0" {
				t.Errorf("sudo makes alice user %q: %v", id, err)
			}
			b.runs(t)
		})
	}
}

// TestGuestExplainsVolumes checks that a message explains why a volume cannot work, and what
// the user can do.
func TestGuestExplainsVolumes(t *testing.T) {
	image := guestImage(t, "")
	empty := scratchDir(t)
	b := dockerRun(t, image, append([]string{"-v", empty + ":/nix"}, bootFlags...)...)
	b.do(t, "wait", b.id)
	if code := b.exitCode(t); code != "78" {
		t.Errorf("exit code %s, want 78", code)
	}
	b.says(t, "the volume on /nix hides the image's store")
}
