//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const examples = "../examples"

// Every file of examples/ is run. What only this machine needs, such as a
// container without a network, comes from beside it: a second compose file, a
// docker in front of docker.
func TestExamples(t *testing.T) {
	tests := map[string]func(t *testing.T, file string){
		"compose.yml":              exampleCompose,
		"docker-nixos.compose.yml": exampleDockerNixos,
		"docker-run.sh":            exampleDockerRun,
		"github-workflow.yml":      exampleWorkflow,
		"kubernetes.yml":           exampleKubernetes,
		"podman-run.sh":            examplePodmanRun,
		"nginx.nix":                nil, // the others build it
	}
	files, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		test, ok := tests[f.Name()]
		if !ok {
			t.Errorf("nothing runs %s", f.Name())
		}
		if test != nil {
			t.Run(f.Name(), func(t *testing.T) { test(t, f.Name()) })
		}
		delete(tests, f.Name())
	}
	for name := range tests {
		t.Errorf("%s is gone", name)
	}
}

// exampleImage is the name that the examples give the base system.
const exampleImage = "ghcr.io/nixoci/base:latest"

// exampleSite is a copy of the examples with a web root beside them.
func exampleSite(t *testing.T) string {
	t.Helper()
	dir := scratchDir(t)
	if err := os.CopyFS(dir, os.DirFS(examples)); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "web", "index.html"), "the first page\n")
	return dir
}

// dockerHasExampleImage lets docker find the base system by its public name.
func dockerHasExampleImage(t *testing.T) {
	t.Helper()
	image := guestImage(t, "")
	docker(t, "pull", "-q", image)
	docker(t, "tag", image, exampleImage)
}

// in runs a program in a directory and returns its stdout.
func in(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// A project is a compose file in a directory, with another for this machine.
type project struct {
	dir, file string
}

func newProject(t *testing.T, dir, file, service string) project {
	t.Helper()
	// Only Debian's systemd wants /run/lock.
	put(t, filepath.Join(dir, "machine.yml"), fmt.Sprintf("services: {%s: {network_mode: none, tmpfs: [/run/lock]}}\n", service))
	p := project{dir, file}
	t.Cleanup(func() { p.compose(t, "down", "-v", "-t", "1") })
	return p
}

func (p project) compose(t *testing.T, args ...string) string {
	t.Helper()
	return in(t, p.dir, nil, append(dockerLine(t, "compose", "-f", p.file, "-f", "machine.yml"), args...)...)
}

func (p project) up(t *testing.T, service string) box {
	t.Helper()
	p.compose(t, "up", "-d", "--pull", "never")
	return logged(t, box{dockerLine, p.compose(t, "ps", "-q", service)})
}

// logged shows the log of a container that something else started and ends.
func logged(t *testing.T, b box) box {
	t.Helper()
	if b.id == "" {
		t.Fatal("no container was started")
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command(b.engine(t)[0], b.engine(t, "logs", b.id)[1:]...).CombinedOutput()
			t.Logf("log of %s:\n%s", b.id, out)
		}
	})
	return b
}

// What was built outlives the container, in the volume.
func exampleCompose(t *testing.T, file string) {
	dockerHasExampleImage(t)
	p := newProject(t, exampleSite(t), file, "web")
	b := p.up(t, "web")
	b.serves(t, "the first page")
	b.says(t, "/config/configuration.nix is applied")
	b.runs(t)
	p.compose(t, "down", "-t", "30")
	b = p.up(t, "web")
	b.serves(t, "the first page")
	b.says(t, "is unchanged and running")
}

func exampleDockerNixos(t *testing.T, file string) {
	dockerHasExampleImage(t)
	dir := exampleSite(t)
	put(t, filepath.Join(dir, "configuration.nix"), nginxNix("/web"))
	put(t, filepath.Join(dir, "path/to/web/root/index.html"), "the page of docker-nixos\n")
	put(t, filepath.Join(dir, "test/file"), "in the container\n")
	b := newProject(t, dir, file, "nginx").up(t, "nginx")
	b.serves(t, "the page of docker-nixos")
	b.runs(t)
	if got, err := b.exec(t, "cat", "/test/file"); got != "in the container" {
		t.Errorf("/test is not mounted: %q, %v", got, err)
	}
}

// wrapped runs a script with an engine on its PATH that adds flags to run, and
// returns what it printed: the container.
func wrapped(t *testing.T, dir, script, engine string, line, flags []string) string {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	command(t, "shellcheck", filepath.Join(dir, script))
	put(t, filepath.Join(bin, engine), fmt.Sprintf("#!/bin/sh\n[ \"$1\" = run ] || exit 2\nshift\nexec %s run %s \"$@\"\n",
		strings.Join(line, " "), strings.Join(flags, " ")))
	if err := os.Chmod(filepath.Join(bin, engine), 0o755); err != nil {
		t.Fatal(err)
	}
	return in(t, dir, []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, "sh", script)
}

func exampleDockerRun(t *testing.T, file string) {
	dockerHasExampleImage(t)
	dir := exampleSite(t)
	t.Cleanup(func() { try(dockerLine(t, "rm", "-f", "web")...) })
	line := dockerLine(t)
	line[0] = "/usr/bin/docker" // not itself
	b := logged(t, box{dockerLine, wrapped(t, dir, file, "docker", line, strings.Fields("--network none --tmpfs /run/lock"))})
	b.serves(t, "the first page")
	b.runs(t)
}

// podmanHasExampleImage lets podman pull the base system by its public name.
func podmanHasExampleImage(t *testing.T) (flags []string) {
	t.Helper()
	host, name, _ := strings.Cut(guestImage(t, ""), "/")
	name, _, _ = strings.Cut(name, ":")
	conf := filepath.Join(scratchDir(t), "registries.conf")
	repository, _, _ := strings.Cut(exampleImage, ":")
	put(t, conf, fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", repository, host+"/"+name))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	podmanLine(t) // writes the policy
	return []string{"--signature-policy", filepath.Join(lab.scratch, "podman", "policy.json")}
}

func examplePodmanRun(t *testing.T, file string) {
	flags := append(podmanHasExampleImage(t), podmanLimits...)
	dir := exampleSite(t)
	t.Cleanup(func() { try(podmanLine(t, "rm", "-f", "web")...) })
	line := podmanLine(t)
	line[0] = "/usr/bin/podman"
	b := logged(t, box{podmanLine, wrapped(t, dir, file, "podman", line, flags)})
	b.serves(t, "the first page")
	b.runs(t)
	b.stops(t)
}

// The pod of kubernetes.yml, run by podman.
func exampleKubernetes(t *testing.T, file string) {
	flags := podmanHasExampleImage(t)
	dir := exampleSite(t)
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	pod := string(text)
	// podman publishes every port of a pod, for which it wants a network.
	const ports = "      ports:\n        - containerPort: 80\n"
	if strings.Count(pod, ports) != 1 {
		t.Fatalf("the pod lacks %q", ports)
	}
	pod = strings.Replace(pod, ports, "", 1)
	put(t, filepath.Join(dir, file), pod)
	// podmanLimits of play kube, which has no flags for them.
	conf := filepath.Join(dir, "containers.conf")
	put(t, conf, "[containers]\npids_limit = -1\ndefault_ulimits = [\"nofile=2048:2048\", \"nproc=4096:4096\"]\n")
	t.Setenv("CONTAINERS_CONF", conf)
	t.Cleanup(func() { try(podmanLine(t, "play", "kube", "--down", filepath.Join(dir, file))...) })
	in(t, dir, nil, podmanLine(t, args("play", "kube", "--start=false", "--network", "none", flags, file)...)...)
	// Without systemd on the host podman 4.3 makes a control group for the pod
	// that allows no device, not /dev/null either. runc makes a better one.
	id := strings.TrimSpace(podman(t, "pod", "inspect", "-f", "{{.ID}}", "web"))
	if err := os.Remove(filepath.Join("/sys/fs/cgroup/libpod_parent", id)); err != nil {
		t.Fatal(err)
	}
	podman(t, "pod", "start", "web")
	b := logged(t, box{podmanLine, "web-web"})
	b.says(t, "/config/configuration.nix is applied")
	if _, err := b.exec(t, "sh", "-c", "echo a page of the pod >/web/index.html"); err != nil {
		t.Error(err)
	}
	b.serves(t, "a page of the pod")
	b.runs(t)
	b.says(t, "watching /config")
	eventually(t, "the readiness probe succeeds", func() bool {
		_, err := b.exec(t, "/sbin/init", "health")
		return err == nil
	})
}

var step = regexp.MustCompile(`(?m)^ +- run: (.+)$`)

// actionlint reads the workflow, and its steps run, but for the one that
// installs nixoci: first on the one runner, then on the other.
func exampleWorkflow(t *testing.T, file string) {
	command(t, tool("actionlint"), filepath.Join(examples, file))
	text, err := os.ReadFile(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	guestStore(t)
	dir := scratchDir(t)
	put(t, filepath.Join(dir, "nginx.nix"), nginxNix("/web"))
	put(t, filepath.Join(dir, "flake.nix"), fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
  };
}
`, filepath.Join(guests.root, "guest", "nixpkgs")))
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(lab.nixoci, filepath.Join(bin, "nixoci")); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		home := scratchDir(t) // another machine
		env := []string{"HOME=" + home, "XDG_CACHE_HOME=" + home, "PATH=" + bin + ":" + os.Getenv("PATH"), "USER=root",
			nixConfig + "extra-platforms = x86_64-linux aarch64-linux\n"}
		var ran []string
		for _, m := range step.FindAllStringSubmatch(string(text), -1) {
			line := strings.NewReplacer(
				"${{ github.token }}", "secret", "${{ github.actor }}", "somebody", "${{ github.repository }}", "org/workflow",
				"${{ runner.arch == 'ARM64' && 'arm64' || 'amd64' }}", arch, "ghcr.io", registry(t)).Replace(m[1])
			if strings.HasPrefix(line, "nix profile install ") {
				continue
			}
			if strings.Contains(line, "${{") {
				t.Fatalf("what does this mean here? %s", line)
			}
			in(t, dir, env, "unshare", "-m", "sh", "-ec", `mkdir -p /nix; mount --bind "$0" /nix; exec bash -e -c "$1"`,
				filepath.Join(guests.root, "nix"), line)
			ran = append(ran, line)
		}
		if len(ran) != 2 {
			t.Fatalf("ran %q, not a login and a push", ran)
		}
	}
	manifest := command(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+registry(t)+"/org/workflow:latest")
	for _, arch := range []string{"amd64", "arm64"} {
		if !strings.Contains(manifest, fmt.Sprintf(`"architecture":%q`, arch)) {
			t.Errorf("the index lacks %s: %s", arch, manifest)
		}
	}
}
