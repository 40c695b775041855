//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// loggingRegistryConf configures docker-registry to log a line for each request.
const loggingRegistryConf = `version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: %s}
http:
  addr: %s
`

// umociBase makes a layout with an image, using umoci. The image contains a shell that Nix
// has not built. As in Debian, /bin is a symlink in its file system.
func umociBase(t *testing.T, arch, busybox string) string {
	t.Helper()
	dir := scratchDir(t)
	layout, bundle := filepath.Join(dir, "base"), filepath.Join(dir, "bundle")
	image := layout + ":1"
	command(t, "umoci", "init", "--layout", layout)
	command(t, "umoci", "new", "--image", image)
	command(t, "umoci", "unpack", "--image", image, bundle)
	root := filepath.Join(bundle, "rootfs")
	for _, d := range []string{"usr/bin", "etc", "srv", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "cp", busybox, filepath.Join(root, "usr/bin/busybox"))
	command(t, "ln", "-s", "busybox", filepath.Join(root, "usr/bin/sh"))
	command(t, "ln", "-s", "usr/bin", filepath.Join(root, "bin"))
	for name, text := range map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\nbob:x:1234:1234::/srv:/bin/sh\n", "etc/from": "made by umoci\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "umoci", "repack", "--image", image, bundle)
	command(t, "umoci", "config", "--image", image, "--os", "linux", "--architecture", arch, "--config.env", "FROM=umoci", "--config.env", "PATH=/usr/bin",
		"--config.user", "bob", "--config.workingdir", "/srv", "--config.label", "vendor=umoci", "--config.exposedports", "80/tcp")
	return image
}

// TestBaseImage checks base images (issue 13): one that umoci made, and one that skopeo has
// copied into Debian's registry in Docker's format. Engines run images on both.
func TestBaseImage(t *testing.T) {
	t.Parallel()
	const system = "x86_64-linux"
	app := packagePath(t, system, "busybox-static-")
	layout := umociBase(t, "amd64", filepath.Join(lab.large, app, "bin/busybox"))

	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	conf := filepath.Join(scratchDir(t), "registry.yml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, loggingRegistryConf, filepath.Join(lab.memory, "base-registry"), addr), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, "base-registry", nil, func() error { return answers("http://" + addr + "/v2/") }, "docker-registry", "serve", conf)
	pushed := addr + "/them/base:1"
	command(t, "skopeo", "copy", "--dest-tls-verify=false", "--format", "v2s2", "oci:"+layout, "docker://"+pushed)

	for _, base := range []struct{ name, from, how string }{
		{"umoci", "oci:" + layout, "1 copied"},
		{"registry", pushed, "1 mounted"},
	} {
		t.Run(base.name, func(t *testing.T) {
			ref := addr + "/org/on-" + base.name + ":v1"
			flags := args(ref, fromStore(), app, "--from-image", base.from)
			first := run{}.ok(t, args("push", flags)...)
			if !strings.Contains(first.stderr, "above 1 layer of the base image: "+base.how) {
				t.Errorf("push: %s", first.end())
			}
			if again := (run{}).ok(t, args("push", flags)...); !strings.Contains(again.stderr, "unchanged") || again.digest(t) != first.digest(t) {
				t.Errorf("push again, from a machine that knows nothing: %s", again.end())
			}
			o := run{}.ok(t, args("verify", ref, fromStore(), app, "--from-image", base.from)...)
			for _, says := range []string{"✓ base        1 layer from the base image, the same as in ", "verified: the given closure makes it; this does not cover the base image"} {
				if !strings.Contains(o.stdout, says) {
					t.Errorf("verify says nothing of %q:\n%s", says, o.stdout)
				}
			}
			if out := command(t, lab.crane, "validate", "--insecure", "--remote", ref); !strings.Contains(out, "PASS") {
				t.Errorf("crane validate: %s", out)
			}
			if out := command(t, "skopeo", "inspect", "--tls-verify=false", "docker://"+ref); !strings.Contains(out, `"vendor": "umoci"`) || !strings.Contains(out, "FROM=umoci") {
				t.Errorf("skopeo inspect: %s", out)
			}
			for _, e := range []engine{docker20, podman43} {
				e.has(t, ref)
				flags := e.machine
				if e.name == docker20.name {
					flags = []string{"--network", "none"}
				}
				// The program of the application reads a file of the base image and starts
				// the shell of the base image, as the user of the base image. It uses a file
				// name of the shell that exists only through a symlink of the base image.
				out := command(t, e.line(t, args("run", "--rm", flags, ref, "sh", "-c", "cat /etc/from; /bin/sh -c 'echo $FROM; id -u; pwd; echo ${PATH%%:*}'")...)...)
				if want := "made by umoci\numoci\n1234\n/srv\n" + app + "/bin\n"; out != want {
					t.Errorf("%s run: %q, want %q", e.name, out, want)
				}
				e.remove(t, ref)
			}
		})
	}
	log, err := os.ReadFile(filepath.Join(lab.scratch, "base-registry.log"))
	if err != nil {
		t.Fatal(err)
	}
	mount := regexp.MustCompile(`"POST /v2/org/on-registry/blobs/uploads/\?from=them%2Fbase&mount=sha256%3A[0-9a-f]{64} HTTP/1.1" 201`)
	if n := len(mount.FindAll(log, -1)); n != 1 {
		t.Errorf("%d layers were mounted, as the registry's log says", n)
	}
	report(t, "a base of umoci and one that skopeo pushed: mounted or copied, verified, run by docker 20 and podman as the base's user")
}
