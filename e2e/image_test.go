//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imageStore is a separate Nix store. Debian's Nix builds images in it with nix/image.nix.
type imageStore struct {
	t        *testing.T
	dir      string
	registry string
	source   string
	debian   []string // elements have the form NAME=PATH
	env      []string // additional variables, which override the others
}

func newImageStore(t *testing.T) *imageStore {
	s := &imageStore{t: t, dir: scratchDir(t), registry: registry(t)}
	if err := os.Mkdir(filepath.Join(s.dir, "nix"), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.source, err = filepath.Abs(".."); err != nil {
		t.Fatal(err)
	}
	docker(t, "version") // this call starts the daemon
	return s
}

// debianPackages copies packages from the large system into the store.
func (s *imageStore) debianPackages(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.debianPackage(name, "x86_64-linux", name)
	}
}

// debianPackage copies one package for system into the store. e2e/image uses the name called
// for it.
func (s *imageStore) debianPackage(name, system, called string) {
	s.t.Helper()
	p := packagePath(s.t, system, name+"-")
	s.debian = append(s.debian, called+"="+p)
	s.run("nix-store", "--realise", "--option", "substituters", "file://"+binaryCache(), "--option", "require-sigs", "false", p)
}

// run runs a command for which the store is mounted at /nix.
func (s *imageStore) run(line ...string) string {
	s.t.Helper()
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-ec", `mkdir -p /nix; mount --bind "$0" /nix; exec "$@"`, filepath.Join(s.dir, "nix")}, line...)...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "USER=root", "NIX_REMOTE=local", "NIX_CONF_DIR=/var/empty", "DOCKER_HOST=" + dockerSock,
		"CONTAINER_ENGINE=docker", "XDG_CACHE_HOME=" + s.dir, "NIX_CONFIG=build-users-group =\nsandbox = false\nfilter-syscalls = false\nsubstituters ="}
	cmd.Env = append(cmd.Env, s.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(line, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// build builds attributes of the Nix file in e2e/image and returns their store paths.
func (s *imageStore) build(attrs ...string) []string {
	s.t.Helper()
	return s.buildWith(nil, attrs...)
}

// buildWith does the same as build, with more arguments for nix-build.
func (s *imageStore) buildWith(flags []string, attrs ...string) []string {
	s.t.Helper()
	line := []string{"nix-build", filepath.Join(s.source, "e2e/image"), "--no-out-link",
		"--argstr", "name", s.registry + "/image-function", "--argstr", "registry", s.registry + "/example",
		"--argstr", "nixoci", lab.nixoci, "--argstr", "source", s.source, "--argstr", "debian", strings.Join(s.debian, " ")}
	line = append(line, flags...)
	for _, a := range attrs {
		line = append(line, "-A", a)
	}
	return strings.Fields(s.run(line...))
}

// TestImageFunction tests nix/image.nix with Debian's Nix. The derivation of an image must be
// small. Each attribute of the image must work with Docker as its documentation promises.
func TestImageFunction(t *testing.T) {
	t.Parallel()
	everyImageExample(t)
	s := newImageStore(t)
	s.debianPackages("busybox-static")
	name := s.registry + "/image-function"
	info, err := os.Stat(filepath.Join(s.dir, s.build("image")[0]))
	if err != nil || info.Size() > 4096 {
		t.Fatalf("the image's derivation: %v, %v", info, err)
	}
	programs := []string{"push", "verify", "plan", "layout", "load", "run", "copy-to", "copy-to-registry", "copy-to-docker-daemon", "copy-to-podman"}
	var attrs []string
	for _, attr := range []string{"push", "verify", "plan", "layout", "load", "run", "copyTo", "copyToRegistry", "copyToDockerDaemon", "copyToPodman"} {
		attrs = append(attrs, "image."+attr)
	}
	program := map[string]string{}
	for i, path := range s.build(attrs...) {
		program[programs[i]] = path + "/bin/" + programs[i] + "-image-function"
	}
	pushed := s.run(program["push"], "--insecure")
	if !strings.HasPrefix(pushed, name+":1@sha256:") {
		t.Errorf("push prints %q", pushed)
	}
	_, digest, _ := strings.Cut(pushed, "@")
	for what, out := range map[string]string{
		"push to another tag":   s.run(program["push"], name+":2", "--insecure", "--quiet"),
		"copyToRegistry":        s.run(program["copy-to-registry"], "--insecure", "--quiet"),
		"copyTo of a registry":  s.run(program["copy-to"], "docker://"+name+":3", "--insecure", "--quiet"),
		"copyTo of a directory": s.run(program["copy-to"], "oci:copied"),
		"layout":                s.run(program["layout"], "./layout"),
	} {
		if !strings.HasSuffix(out, "@"+digest) {
			t.Errorf("%s prints %q, not %s", what, out, digest)
		}
	}
	if out := s.run(program["verify"], "--insecure"); !strings.Contains(out, "verified: the given closure makes it") {
		t.Errorf("verify: %s", out)
	}
	if out := s.run(program["plan"]); !strings.Contains(out, "2 store paths in 2 layers") {
		t.Errorf("plan: %s", out)
	}
	for _, what := range []string{"load", "copy-to-docker-daemon"} {
		if out := s.run(program[what]); !strings.Contains(out, name+":1") {
			t.Errorf("%s: %s", what, out)
		}
	}
	if out := docker(t, "run", "--rm", "--network", "none", name+":1", "sh", "-c", "id -un; echo $GREETING; ls /bin/busybox"); out != "app\na=b\n/bin/busybox\n" {
		t.Errorf("the container says %q", out)
	}
	if out := docker(t, "run", "--rm", "--network", "none", name+":1"); out != "hello from a page\n" {
		t.Errorf("the container says %q", out)
	}
	s.intoEngines(name+":1", program)
	s.aboveBase(name + "-based")
	report(t, "nix-build -A image.push and the others with Nix 2.8; the derivation has %d bytes", info.Size())
}

// TestOwnImage runs the job of the release workflow that makes nixoci's own image, without
// the steps that install and compile. Debian's Nix builds the image for two platforms, and
// the nixoci in it pushes this image.
func TestOwnImage(t *testing.T) {
	t.Parallel()
	s := newImageStore(t)
	s.debianPackages("busybox-static")
	s.debianPackage("busybox-static", "aarch64-linux", "busybox-static-arm64")
	dist := filepath.Join(s.dir, "dist")
	if err := os.Mkdir(dist, 0o755); err != nil {
		t.Fatal(err)
	}
	amd64, arm64 := filepath.Join(dist, "nixoci-linux-amd64"), filepath.Join(dist, "nixoci-linux-arm64")
	for arch, file := range map[string]string{"amd64": amd64, "arm64": arm64} {
		command(t, "env", "GOARCH="+arch, "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", file, "../cmd/nixoci")
	}
	built := s.buildWith([]string{"--argstr", "released", dist}, "own.push", "own.verify")

	const nixBuild = "nix-build --no-out-link .ci/image -A push" // the command of the workflow; the test has already built its result with Debian's packages
	ran := 0
	for _, step := range workflowJob(t, "../.github/workflows/release.yml", "own-image") {
		if step.Run == "" || step.Run == "make cross" {
			continue
		}
		script := strings.ReplaceAll(step.Run, "ghcr.io", s.registry)
		script = strings.ReplaceAll(script, nixBuild, "echo "+built[0])
		env := []string{"env", "TOKEN=secret", "GITHUB_ACTOR=somebody", "GITHUB_REF_NAME=v1.2.3"}
		s.run(append(env, "bash", "-e", "-c", script)...)
		ran++
	}
	if ran != 2 {
		t.Fatalf("%d steps ran", ran)
	}
	name := s.registry + "/nixoci/nixoci"
	hasPlatforms(t, "nixoci/nixoci", "amd64", "arm64") // checks the image of the tag latest
	if out := s.run(built[1]+"/bin/verify-nixoci", name+":v1.2.3", "--insecure"); strings.Count(out, "/nix/store/") < 2 || !strings.Contains(out, "verified: the given closure makes it") {
		t.Errorf("verify: %s", out)
	}
	for _, tt := range []struct{ command, want string }{
		{"nixoci version", "nixoci "},
		{"ls -L /bin/sh /etc/ssl/certs/ca-bundle.crt", "/bin/sh\n/etc/ssl/certs/ca-bundle.crt\n"},
	} {
		if out := docker(t, "run", "--rm", "--network", "none", name+":v1.2.3", "sh", "-c", tt.command); !strings.HasPrefix(out, tt.want) {
			t.Errorf("%s: %q", tt.command, out)
		}
	}
	if out := docker(t, "run", "--rm", "--network", "none", name+":v1.2.3"); !strings.HasPrefix(out, "nixoci turns NixOS systems") {
		t.Errorf("without a command the container says %q", out)
	}
	report(t, "nixoci's own image for two platforms: built by Nix 2.8, pushed by itself, and run")
}

// intoEngines loads the image into each engine and starts it.
func (s *imageStore) intoEngines(image string, program map[string]string) {
	s.t.Helper()
	for _, e := range []engine{docker20, podman43} {
		path, tool, _ := e.onPath(s.t)
		s.env = []string{"PATH=" + path + ":" + os.Getenv("PATH"), "CONTAINER_ENGINE=" + tool}
		copies := "copy-to-docker-daemon"
		if tool == "podman" {
			copies = "copy-to-podman"
		}
		for _, what := range []string{"load", copies} {
			_, _ = try(e.line(s.t, "rmi", "-f", image)...) // removes the image if it exists
			if out := s.run(program[what]); !strings.Contains(out, image+"@sha256:") {
				s.t.Errorf("%s, %s prints %q", e.name, what, out)
			}
			command(s.t, e.line(s.t, "image", "inspect", image)...)
		}
		if out := s.run(program["run"], "id", "-un"); out != "app" {
			s.t.Errorf("%s, run: the container says %q", e.name, out)
		}
		command(s.t, e.line(s.t, "rmi", "-f", image)...)
	}
	s.env = nil
}

// aboveBase pushes and runs an image that is built on a base image made by umoci.
func (s *imageStore) aboveBase(name string) {
	s.t.Helper()
	t := s.t
	busybox := filepath.Join(lab.large, packagePath(t, "x86_64-linux", "busybox-static-"), "bin/busybox")
	command(t, "skopeo", "copy", "--dest-tls-verify=false", "oci:"+umociBase(t, "amd64", busybox), "docker://"+s.registry+"/example/base:1")
	programs := s.build("based.push", "based.verify", "based.load")
	s.run(programs[0]+"/bin/push-image-function-based", "--insecure", "--quiet")
	if out := s.run(programs[1]+"/bin/verify-image-function-based", "--insecure"); !strings.Contains(out, "✓ base        1 layer from the base image, the same as in "+s.registry+"/example/base:1@") {
		t.Errorf("verify: %s", out)
	}
	s.run(programs[2] + "/bin/load-image-function-based")
	if out := docker(t, "run", "--rm", "--network", "none", name+":1"); out != "made by umoci\n" {
		t.Errorf("the container says %q", out)
	}
	if out := docker(t, "run", "--rm", "--network", "none", name+":1", "sh", "-c", "id -un; id -u bob"); out != "app\n1234\n" {
		t.Errorf("the users of the container: %q", out)
	}
	if out := docker(t, "image", "inspect", "-f", "{{.Config.Healthcheck.Interval}} {{.Config.User}}", name+":1"); out != "30s app\n" {
		t.Errorf("the image says %q", out)
	}
}

// imageExamples lists examples from the manuals of dockerTools and nix2container
// (examples/nix-function), with the output of their containers.
var imageExamples = []struct {
	name, image string
	command     []string
	says        string // expected output; "": the image is not run, because CI has little time
	podman      bool
}{
	{name: "hello", image: "hello:latest", says: "Hello, world!"},
	{name: "redis", image: "redis:latest", command: []string{"/bin/redis-server", "--version"}, says: "Redis server v=7"},
	{name: "nginx", image: "nginx-container:latest"}, // not run: nginx from Debian needs additional directories
	{name: "certificates", image: "env-helpers:latest"},
	{name: "fakeroot", image: "layered-image-with-fake-root-commands:latest", command: []string{"sh", "-c", "stat -c %u:%a /home/alice; ls /hello/bin"}, says: "1000:755\nhello\n", podman: true},
	{name: "shadow", image: "shadow-basic:latest"},
	{name: "layered", image: "bash-layered-zstd:latest"}, // not run: Docker 20.10 cannot pull zstd
	{name: "bash", image: "bash:latest"},
	{name: "nested", image: "nested:latest"},
	{name: "openbar", image: "openbar:latest", says: "drwxrwxrwx"},
	{name: "ownership", image: "ownership:latest", says: "-rw-r--r-- 1 1001 1001", podman: true},
	{name: "conversation", image: "hello:latest", says: "Hello, world!\nHaaa aa... I'm dying!!!\n"},
	{name: "created", image: "created:latest"},
}

// evaluatedExamples lists examples that cannot be built with Debian's packages. nix/check.sh
// evaluates them with a real nixpkgs.
var evaluatedExamples = []string{"cross", "editors", "nix", "nix-user", "uwsgi"}

// everyImageExample checks that each file of examples/nix-function is in imageExamples or in
// evaluatedExamples.
func everyImageExample(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examples, "nix-function", "*.nix"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	known := slices.Clone(evaluatedExamples)
	for _, e := range imageExamples {
		known = append(known, e.name)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".nix")
		if name != "default" && !slices.Contains(known, name) {
			t.Errorf("nothing builds or evaluates %s", file)
		}
	}
}

// TestImageExamples checks the Nix function as issue 13 requires. Debian's Nix builds
// examples from the manuals of other tools, which were translated line by line. nixoci pushes
// and verifies them, and the engines run them.
func TestImageExamples(t *testing.T) {
	t.Parallel()
	s := newImageStore(t)
	s.debianPackages("busybox-static", "bash", "coreutils", "redis-tools", "nginx", "libreadline8")
	var attrs []string
	for _, e := range imageExamples {
		attrs = append(attrs, "examples."+e.name+".push", "examples."+e.name+".verify")
	}
	programs := s.build(attrs...)
	for i, e := range imageExamples {
		base, _, _ := strings.Cut(e.image, ":")
		ref := s.registry + "/example/" + e.image
		s.run(programs[2*i]+"/bin/push-"+base, "--insecure", "--quiet")
		if out := s.run(programs[2*i+1]+"/bin/verify-"+base, "--insecure"); !strings.Contains(out, "verified: the given closure makes it") {
			t.Errorf("%s: verify: %s", e.name, out)
		}
		if e.says == "" {
			continue
		}
		engines := []engine{docker20}
		if e.podman {
			engines = append(engines, podman43)
		}
		for _, tool := range engines {
			tool.has(t, ref)
			flags := tool.machine
			if tool.name == docker20.name {
				flags = []string{"--network", "none"}
			}
			if out := command(t, tool.line(t, args("run", "--rm", flags, ref, e.command)...)...); !strings.Contains(out, e.says) {
				t.Errorf("%s, %s: the container says %q, want %q", e.name, tool.name, out, e.says)
			}
			tool.remove(t, ref)
		}
	}
	report(t, "%d examples built by Nix 2.8, pushed and verified, and most of them run", len(imageExamples))
}
