//go:build e2e

package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A quietLine describes a line that a log may contain.
type quietLine struct {
	line   string // regular expression for the whole line, without the time that the kernel prints
	reason string
	engine string // prefix of the names of the engines for which the line is allowed; "": all engines
}

// quietLines lists the lines that a clean boot and stop may print, each with its reason. All
// other lines are noise. If a program prints such a line, fix the program. Add the line to
// this list only if a fix is impossible.
var quietLines = []quietLine{
	{`nixoci: starting NixOS .*, /nix/store/\S+`, "says which system boots", ""},
	{`nixoci: /run is mounted nosuid: .* Start the container with --tmpfs /run:exec,suid .*`, "podman mounts /run so, where no flag says otherwise", "podman"},
	{`systemd-update-utmp\[\d+\]: Failed to connect to audit log, ignoring: Invalid argument`, "podman allows the system calls, the kernel no audit in a container", "podman"},
	{``, "stage 2 of NixOS sets itself off", ""},
	{`<<< NixOS Stage 2 >>>`, "stage 2 of NixOS", ""},
	{`running activation script\.\.\.`, "stage 2 of NixOS", ""},
	{`setting up /etc\.\.\.`, "activation of NixOS", ""},
	{`starting systemd\.\.\.`, "stage 2 of NixOS", ""},

	{`systemd \S+ running in system mode \(.*\)`, "systemd's version", ""},
	{`Detected (virtualization|architecture) \S+`, "what systemd takes the machine for", ""},
	{`Hostname set to <\S+>\.`, "systemd took the engine's host name", ""},
	{`Queued start job for default target \S+`, "the boot begins", ""},
	{`systemd\[1\]: (Starting|Started|Finished|Stopping|Stopped|Stopped target|Mounting|Mounted|Unmounting|Unmounted|Reached target|Listening on|Closed|Created slice|Removed slice) .*`, "a unit starts or stops; mounts are those that systemd made itself", ""},
	{`systemd\[1\]: \S+: (Deactivated successfully\.|Consumed .* (CPU time|memory peak).*)`, "a unit has ended", ""},
	{`systemd\[1\]: \S+ (- .* )?was skipped because (of an unmet condition check \(.*\)|no trigger condition checks were met)\.`, "a unit is for other machines", ""},
	{`systemd\[1\]: \S+ (- .* )?skipped, (unmet condition check .*|no trigger condition checks were met)\.?`, "the same, in newer words", ""},
	{`bpf-restrict-fs: BPF LSM hook not enabled in the kernel, BPF LSM not supported\.`, "the kernel's, of whatever machine", ""},
	{`systemd\[1\]: System is tainted: \S+`, "Debian's layout: NixOS has no merged /usr", ""},
	{`systemd\[1\]: Startup finished in .*`, "the boot has ended", ""},
	{`systemd\[1\]: Received SIGRTMIN\+3\.`, "the engine stops the container", ""},
	{`systemd\[1\]: Received SIGRTMIN\+3 from PID 0 \(n/a\)\.`, "the same, in newer words", ""},
	{`systemd\[1\]: Activating special unit \S+`, "the stop begins", ""},
	{`systemd\[1\]: Shutting down\.`, "systemd hands over to systemd-shutdown", ""},
	{`systemd-journald\[\d+\]: (Received client request to flush runtime journal|Received SIGTERM from PID 1 \(.*\)|Journal started|Journal stopped|Runtime Journal \(.*\) is .*|System Journal \(.*\) is .*|Time spent on flushing to .*)\.?`, "the journal starts and ends", ""},
	{`(Sending SIGTERM to remaining processes\.\.\.|Sending SIGKILL to remaining processes\.\.\.|Halting system\.|Exiting container\.|All filesystems, swaps, loop devices, MD devices and DM devices detached\.)`, "systemd-shutdown's steps", ""},
	{`Failed to make mounts private, ignoring: Operation not permitted`, "newer systemd-shutdown would, and lacks CAP_SYS_ADMIN", ""},
	{`Syncing filesystems and block devices\.?`, "a step of newer systemd-shutdown", ""},

	{`(systemd\[1\]: )?\S+: Failed to get cgroup ID of cgroup \S+, ignoring: Operation not permitted`,
		"the seccomp profile of Docker before 24 forbids name_to_handle_at (moby #45766)", docker20.name},
	{`(systemd\[1\]: )?.*Failed to read pids\.max.*`, "newer systemd looks for a limit of the root cgroup, which a namespace's root does not have", ""},
	{`(systemd\[1\]: )?.*[Nn]either libbpf\.so\.1.*`, "newer systemd would use libbpf, which the guest leaves out", ""},
	{`(systemd\[1\]: )?.*ProtectHostname=yes .*prohibited.*`, "newer systemd's own units want a UTS namespace, which needs CAP_SYS_ADMIN", ""},
	{`(systemd\[1\]: )?.*usrquota.*`, "newer systemd would like quotas on its tmpfs", ""},
}

var kernelTime = regexp.MustCompile(`^\[ *\d+\.\d+\] `)

// noise returns the lines of a log that match neither quietLines nor more.
func noise(t *testing.T, engine, log string, more ...quietLine) []string {
	t.Helper()
	var allowed []*regexp.Regexp
	for _, q := range slices.Concat(quietLines, more) {
		if strings.HasPrefix(engine, q.engine) {
			allowed = append(allowed, regexp.MustCompile(`^(?:`+q.line+`)$`))
		}
	}
	var found []string
lines:
	for line := range strings.SplitSeq(strings.TrimSuffix(log, "\n"), "\n") {
		text := kernelTime.ReplaceAllString(line, "")
		for _, a := range allowed {
			if a.MatchString(text) {
				continue lines
			}
		}
		found = append(found, line)
	}
	return found
}

// TestGuestLogIsQuiet checks that a clean boot and stop print nothing except
// the allowed lines.
func TestGuestLogIsQuiet(t *testing.T) {
	for _, tc := range []struct {
		name   string
		engine engine
		kind   string // variant of the guest
		flags  []string
	}{
		{"docker 20", docker20, "", bootFlags},
		{"docker 20 with SYS_ADMIN", docker20, "", strings.Fields("--cap-add SYS_ADMIN")},
		{"docker 28", docker28, "", todayFlags},
		{"docker 28, systemd 257", docker28, "-trixie", todayFlags},
		{"docker 28, systemd 262", docker28, "-forky", todayFlags},
		{"podman 4", podman43, "", strings.Fields("--tmpfs /run:exec,suid")},
		{"podman 5 without a flag", podman5, "", nil},
		{"podman 5, systemd 262", podman5, "-forky", strings.Fields("--tmpfs /run:exec,suid")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			image := guestImage(t, tc.kind)
			secrets, dir := scratchDir(t), scratchDir(t)
			b := tc.engine.run(t, image, append([]string{"-v", dir + ":/srv/some-data", "-v", secrets + ":/run/secrets:ro"}, tc.flags...)...)
			report(t, "running after %.2f s", b.runs(t).Seconds())
			b.stops(t)
			for _, line := range noise(t, tc.engine.name, b.log(t)) {
				t.Errorf("noise: %q", line)
			}
		})
	}
	t.Run("containerd 2", func(t *testing.T) {
		b := criPod{name: "quiet", image: guestImage(t, ""), handler: "systemd", mounts: map[string]string{"/run": memory(t), "/run/lock": memory(t)}}.run(t)
		b.runs(t)
		b.stops(t)
		for _, line := range noise(t, "containerd", b.log(t)) {
			t.Errorf("noise: %q", line)
		}
	})
}
