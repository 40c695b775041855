//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// applications lists packages of the large system with the expected output of their program.
// Debian's packages have programs in usr/bin and look for their files in /usr.
var applications = []struct {
	name     string
	packages []string // the store path names of the packages begin with these prefixes
	flags    []string
	command  []string // command that the container runs
	says     string
}{
	{name: "static", packages: []string{"busybox-static-"}, command: []string{"id", "-u"}, says: "1000"},
	{name: "go", packages: []string{"prometheus-node-exporter-"}, flags: []string{"--entrypoint", "usr/bin/prometheus-node-exporter"},
		command: []string{"--version"}, says: "node_exporter, version"},
	{name: "php", packages: []string{"php8.2-cli-"}, flags: []string{"--entrypoint", "usr/bin/php8.2", "--entrypoint", "-n"},
		command: []string{"-r", "echo 6 * 7;"}, says: "42"},
	{name: "node", packages: []string{"nodejs-", "node-cjs-module-lexer-", "node-undici-"},
		flags:   []string{"--entrypoint", "usr/bin/node", "--link", "/usr/share/nodejs"},
		command: []string{"-e", "console.log(6 * 7, process.getuid())"}, says: "42 1000"},
	{name: "python", packages: []string{"python3.11-minimal-", "libpython3.11-stdlib-", "libpython3.11-minimal-"},
		flags: []string{"--entrypoint", "usr/bin/python3.11", "--link", "/usr/lib/python3.11", "--nix-database", "--cmd", "-c", "--cmd", "print(0)",
			"--env", "PYTHONPATH=/usr/lib/python3.11:/usr/lib/python3.11/lib-dynload"},
		command: []string{"-c", "import json, os, pwd; print(json.dumps(6 * 7), os.getuid(), pwd.getpwuid(1000).pw_name)"}, says: "42 1000 app"},
}

// TestApplications checks what issue 13 promises. Applications for two platforms run as an
// ordinary user, and pass verify. The digest of their image does not depend on where the
// image is made.
func TestApplications(t *testing.T) {
	t.Parallel()
	for _, app := range applications {
		t.Run(app.name, func(t *testing.T) {
			var closures []string
			for _, p := range platforms {
				for _, name := range app.packages {
					closures = append(closures, p.nix+"="+packagePath(t, p.nix, name))
				}
			}
			flags := args(app.flags, "--add-user", "app=1000", "--user", "app")
			ref := registry(t) + "/application-" + app.name + ":v1"
			first := run{}.ok(t, args("push", ref, fromStore(), "--jobs", "1", flags, closures)...)
			want := first.digest(t)
			cache := []string{"--from", "file://" + binaryCache(), "--trusted-public-key", lab.key}
			if got := (run{}).ok(t, args("push", ref, cache, "--reuse", "none", "--jobs", "8", flags, closures)...).digest(t); got != want {
				t.Errorf("from a cache with eight workers %s, from the store with one %s", got, want)
			}
			if len(app.packages) == 1 { // data has no platform, so it would be in the images of both platforms
				unstated := make([]string, len(closures))
				for i, c := range closures {
					_, unstated[i], _ = strings.Cut(c, "=")
				}
				again := run{}.ok(t, args("push", ref, fromStore(), flags, unstated)...)
				if !strings.Contains(again.stderr, "unchanged") || again.digest(t) != want {
					t.Errorf("with the platforms read from the programs: %s", again.end())
				}
			}
			run{}.ok(t, args("verify", ref)...)
			if o := (run{}).ok(t, args("verify", ref, fromStore(), closures)...); !strings.Contains(o.stdout, "verified: the given closure makes it") {
				t.Errorf("verify with the closures: %s", o.stdout)
			}
			if out := command(t, lab.crane, "validate", "--insecure", "--remote", ref); !strings.Contains(out, "PASS") {
				t.Errorf("crane validate: %s", out)
			}
			for _, p := range platforms {
				docker(t, "pull", "-q", "--platform", "linux/"+p.arch, ref)
				got := strings.TrimSpace(docker(t, "image", "inspect", "-f", "{{.Os}}/{{.Architecture}} {{.Config.User}} {{.Config.StopSignal}}", ref))
				if want := "linux/" + p.arch + " app"; got != want {
					t.Errorf("docker pull of %s: %q, want %q", p.arch, got, want)
				}
			}
			for _, e := range []engine{docker20, podman43} {
				e.has(t, ref)
				flags := e.machine
				if e.name == docker20.name {
					flags = []string{"--network", "none"}
				}
				out := command(t, e.line(t, args("run", "--rm", "--read-only", "--cap-drop", "ALL", flags, ref, app.command)...)...)
				if !strings.Contains(out, app.says) {
					t.Errorf("%s run: %q, want %q", e.name, out, app.says)
				}
				e.remove(t, ref)
			}
			report(t, "two platforms, store and cache, docker and podman as uid 1000, verify; %.1f s cold, peak %d MiB", first.wall.Seconds(), first.peak>>20)
		})
	}
}

// packagePath returns a store path of the large system. The name of this path begins with
// name.
func packagePath(t *testing.T, system, name string) string {
	t.Helper()
	for _, p := range loadGraph(t, "large-"+system) {
		if _, base, _ := strings.Cut(filepath.Base(p.Path), "-"); strings.HasPrefix(base, name) {
			return p.Path
		}
	}
	t.Fatalf("%s has no package %s", system, name)
	return ""
}
