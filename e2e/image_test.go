//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImageFunction tests nix/image.nix with Debian's Nix. The derivation must
// be small. Each of its attributes must do under Docker what its documentation
// promises.
func TestImageFunction(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	store := filepath.Join(dir, "nix")
	if err := os.Mkdir(store, 0o755); err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	name := registry(t) + "/image-function"
	docker(t, "version") // starts dockerd
	inside := func(line ...string) string {
		t.Helper()
		cmd := exec.Command("unshare", append([]string{"-m", "sh", "-ec", `mkdir -p /nix; mount --bind "$0" /nix; exec "$@"`, store}, line...)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "USER=root", "NIX_REMOTE=local", "NIX_CONF_DIR=/var/empty", "DOCKER_HOST=" + dockerSock,
			"CONTAINER_ENGINE=docker", "NIX_CONFIG=build-users-group =\nsandbox = false\nfilter-syscalls = false\nsubstituters ="}
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", strings.Join(line, " "), err, out, said.String())
		}
		return strings.TrimSpace(string(out))
	}
	build := func(attr string) string {
		t.Helper()
		return inside("nix-build", filepath.Join(source, "e2e/image"), "-A", attr, "--no-out-link", "--argstr", "name", name,
			"--argstr", "program", filepath.Join(lab.large, packagePath(t, "x86_64-linux", "busybox-static-"), "bin/busybox"),
			"--argstr", "nixoci", lab.nixoci, "--argstr", "image", filepath.Join(source, "nix/image.nix"),
			"--argstr", "lib", filepath.Join(source, "e2e/debstore/nixpkgs/lib"))
	}
	specification := build("image")
	info, err := os.Stat(filepath.Join(dir, specification))
	if err != nil || info.Size() > 4096 {
		t.Fatalf("the image's derivation: %v, %v", info, err)
	}
	program := func(attr string) string { return build("image."+attr) + "/bin/" + attr + "-image-function" }
	pushed := inside(program("push"), "--insecure")
	if !strings.HasPrefix(pushed, name+":1@sha256:") {
		t.Errorf("push prints %q", pushed)
	}
	if again := inside(program("push"), name+":2", "--insecure", "--quiet"); !strings.HasSuffix(again, strings.TrimPrefix(pushed, name+":1")) {
		t.Errorf("push of the same to another tag: %q, not %q", again, pushed)
	}
	if out := inside(program("verify"), "--insecure"); !strings.Contains(out, "verified: the given closure makes it") {
		t.Errorf("verify: %s", out)
	}
	if out := inside(program("plan")); !strings.Contains(out, "2 store paths in 2 layers") {
		t.Errorf("plan: %s", out)
	}
	if out := inside(program("layout"), "./layout"); !strings.HasPrefix(out, "oci:./layout@sha256:") {
		t.Errorf("layout: %s", out)
	}
	if out := inside(program("load")); !strings.Contains(out, name+":1") {
		t.Errorf("load: %s", out)
	}
	if out := docker(t, "run", "--rm", "--network", "none", name+":1", "sh", "-c", "id -un; echo $GREETING; ls /bin"); out != "app\na=b\nbusybox\n" {
		t.Errorf("the container says %q", out)
	}
	if out := docker(t, "run", "--rm", "--network", "none", name+":1"); out != "hello from a page\n" {
		t.Errorf("the container says %q", out)
	}
	build("image.run")
	report(t, "nix-build -A image.push and the others with Nix 2.8; the derivation has %d bytes", info.Size())
}
