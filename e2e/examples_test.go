//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const examples = "../examples"

// TestExamples runs every file of examples/. It does not edit the files. Changes that this
// machine needs are in a second compose file, or in a program docker that runs the real
// docker.
func TestExamples(t *testing.T) {
	tests := map[string]func(t *testing.T, file string){
		"README.md":                  exampleReadme,
		"ci/forgejo-workflow.yml":    exampleWorkflow,
		"ci/github-workflow.yml":     exampleWorkflow,
		"ci/gitlab-ci.yml":           exampleGitLab,
		"ci/kubernetes-job.yml":      exampleJob,
		"docker-nixos/compose.yml":   exampleDockerNixos,
		"kubernetes/containerd.toml": nil, // pod-runtimeclass.yml uses this file
		"kubernetes/pod.yml": func(t *testing.T, file string) {
			t.Run("podman 4", func(t *testing.T) { exampleKubernetes(t, file) })
			t.Run("containerd 2", func(t *testing.T) { examplePod(t, file, true) })
		},
		"kubernetes/pod-runtimeclass.yml": exampleRuntimeClass,
		"postgresql/compose.yml":          examplePostgreSQL,
		"postgresql/postgresql.nix":       nil, // compose.yml mounts this file
		"web/compose.yml":                 exampleWalk,
		"web/compose.docker-27.yml":       exampleCompose(docker20),
		"web/docker-run.sh":               exampleRun(docker28, "docker"),
		"web/docker-27-run.sh":            exampleRun(docker20, "docker"),
		"web/nerdctl-run.sh":              exampleRun(docker28, "nerdctl"), // Debian has no nerdctl, so docker runs it; the flags are the same
		"web/podman-run.sh":               examplePodmanRun,
		"web/web.container":               exampleQuadlet,
		"web/nginx.nix":                   nil, // the other examples build this file
		"web/web/index.html":              nil, // the other examples serve this file
	}
	err := filepath.WalkDir(examples, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "nix-function" {
			return filepath.SkipDir // TestImageExamples checks these files
		}
		if err != nil || d.IsDir() {
			return err
		}
		file, err := filepath.Rel(examples, path)
		if err != nil {
			return err
		}
		test, ok := tests[file]
		if !ok {
			t.Errorf("nothing runs %s", file)
		}
		if test != nil {
			t.Run(file, func(t *testing.T) { test(t, file) })
		}
		delete(tests, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range tests {
		t.Errorf("%s is gone", name)
	}
}

// exampleReadme checks that the links of the README lead to existing files.
func exampleReadme(t *testing.T, file string) {
	text, err := os.ReadFile(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1)
	if len(links) == 0 {
		t.Error("no link")
	}
	for _, m := range links {
		if _, err := os.Stat(filepath.Join(examples, m[1])); err != nil {
			t.Error(err)
		}
	}
}

// exampleImage is the name of the base system in the examples.
const exampleImage = "ghcr.io/nixoci/base:latest"

// examplePage is text that web/web/index.html contains.
const examplePage = "It works"

// exampleSite returns a copy of the directory in which the example is.
func exampleSite(t *testing.T, file string) string {
	t.Helper()
	dir := scratchDir(t)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(examples, filepath.Dir(file)))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hasExampleImage gives the base system its public name in an engine.
func (e engine) hasExampleImage(t *testing.T) { e.hasVariant(t, "") }

// hasVariant does the same as hasExampleImage, for a variant of the base system.
func (e engine) hasVariant(t *testing.T, variant string) {
	t.Helper()
	image := guestImage(t, variant)
	e.has(t, image)
	command(t, e.line(t, "tag", image, exampleImage)...)
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

// A project is a compose file. A second file beside it contains changes for this machine.
type project struct {
	engine
	file string
}

func newProject(t *testing.T, e engine, file, service string) project {
	t.Helper()
	// Only Debian 12's systemd needs /run/lock. The engine chooses the port, because port 80
	// may be in use on the host.
	put(t, filepath.Join(filepath.Dir(file), "machine.yml"),
		fmt.Sprintf("services: {%s: {tmpfs: [/run/lock], ports: !override [\"127.0.0.1::80\"]}}\n", service))
	p := project{e, file}
	t.Cleanup(func() { p.compose(t, "down", "-v", "-t", "1") })
	return p
}

func (p project) compose(t *testing.T, arguments ...string) string {
	t.Helper()
	return strings.TrimSpace(command(t, p.line(t, args("compose", "-f", p.file, "-f", filepath.Join(filepath.Dir(p.file), "machine.yml"), arguments)...)...))
}

func (p project) up(t *testing.T, service string) box {
	t.Helper()
	p.compose(t, "up", "-d", "--pull", "never")
	return logged(t, box{engine: p.line, id: p.compose(t, "ps", "-q", service)})
}

// publishes waits until the page can be read from outside the container.
func (p project) publishes(t *testing.T, service, page string) {
	t.Helper()
	addr := p.compose(t, "port", service, "80")
	eventually(t, "publish "+page, func() bool { return strings.Contains(get("http://"+addr+"/"), page) })
}

// get returns the response of a web server, or "" if there is none.
func get(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// logged prints the log of a container if the test fails. It does not start or stop the
// container.
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

// exampleCompose checks that the host can read the page, and that the container restarts.
func exampleCompose(e engine) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		e.hasExampleImage(t)
		p := newProject(t, e, filepath.Join(exampleSite(t, file), filepath.Base(file)), "web")
		b := p.up(t, "web")
		p.publishes(t, "web", examplePage)
		b.says(t, "/config/configuration.nix is applied")
		b.runs(t)
		p.compose(t, "restart", "-t", "30")
		p.publishes(t, "web", examplePage)
		b.says(t, "is unchanged and running")
	}
}

// exampleWalk follows the README through the days of a user: a changed configuration, garbage
// collection, a newer image. After each step the page must be served. Nothing may be built
// twice.
func exampleWalk(t *testing.T, file string) {
	docker28.hasExampleImage(t)
	dir := exampleSite(t, file)
	p := newProject(t, docker28, filepath.Join(dir, filepath.Base(file)), "web")
	b := p.up(t, "web")
	p.publishes(t, "web", examplePage)
	b.says(t, "/config/configuration.nix is applied")

	configuration := filepath.Join(dir, "nginx.nix")
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `root = "/web"`, `root = "/web/two"`, 1)
	if changed == string(text) {
		t.Fatal("the configuration does not serve /web")
	}
	put(t, filepath.Join(dir, "web/two/index.html"), "the second page\n")
	// The test saves the file as editors do: it replaces the file with another file.
	put(t, configuration+".new", changed)
	if err := os.Rename(configuration+".new", configuration); err != nil {
		t.Fatal(err)
	}
	p.compose(t, "restart", "-t", "30")
	p.publishes(t, "web", "the second page")
	eventually(t, "the change is applied", func() bool { return strings.Count(b.log(t), "/config/configuration.nix is applied") == 2 })
	built := b.built(t)

	p.compose(t, "exec", "-T", "web", "nix-collect-garbage", "-d")
	p.compose(t, "restart", "-t", "30")
	p.publishes(t, "web", "the second page")
	b.says(t, "is unchanged and running")
	b.runs(t)
	if now := b.built(t); len(now) != len(built) {
		t.Errorf("built again after garbage collection: %v", now[len(built):])
	}

	docker28.hasVariant(t, "-update")
	first := b.id
	b = p.up(t, "web")
	if b.id == first {
		t.Fatal("compose kept the container")
	}
	p.publishes(t, "web", "the second page")
	b.says(t, "/config/configuration.nix is applied")
	anew := b.built(t)
	if both := twice(built, anew); len(both) > 0 {
		t.Errorf("built twice: %v", both)
	}
	p.compose(t, "restart", "-t", "30")
	p.publishes(t, "web", "the second page")
	b.says(t, "is unchanged and running")
	b.runs(t)
	if now := b.built(t); len(now) != len(anew) {
		t.Errorf("built again after a restart: %v", now[len(anew):])
	}
	report(t, "%d built for two configurations, %d for the new image, none twice", len(built), len(anew))
}

// examplePostgreSQL checks that the rows of a database survive an update of the image and a
// change of the configuration. The update contains the next minor version of PostgreSQL.
func examplePostgreSQL(t *testing.T, file string) {
	docker28.hasVariant(t, "-postgresql")
	dir := exampleSite(t, file)
	p := newProject(t, docker28, filepath.Join(dir, filepath.Base(file)), "db")
	query := func(database, sql string) string {
		t.Helper()
		// This command is in a comment of the example file. Here it runs without a terminal.
		return p.compose(t, "exec", "-T", "-u", "postgres", "db", "psql", database, "-v", "ON_ERROR_STOP=1", "-tAc", sql)
	}
	up := func(applied int) box {
		t.Helper()
		b := p.up(t, "db")
		eventually(t, "applied", func() bool { return strings.Count(b.log(t), "/config/configuration.nix is applied") >= applied })
		b.runs(t)
		return b
	}
	program := func(b box) string {
		t.Helper()
		path, err := b.exec(t, "readlink", "/run/current-system/sw/bin/postgres")
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	b := up(1)
	query("shop", "CREATE TABLE orders (id int PRIMARY KEY, what text)")
	query("shop", "INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 1000) n")
	const count = "SELECT count(*), max(what) FROM orders"
	want := query("shop", count)
	if want != "1000|order 999" {
		t.Fatalf("the table has %s", want)
	}
	first, old := b.id, program(b)

	docker28.hasVariant(t, "-postgresql-update")
	b = up(1)
	if b.id == first {
		t.Error("compose kept the container")
	}
	if now := program(b); now == old {
		t.Errorf("the new image has the old %s", now)
	}
	if got := query("shop", count); got != want {
		t.Errorf("after the update of the image: %s", got)
	}
	report(t, "a new image, a new minor version: 1000 rows")

	configuration := filepath.Join(dir, "postgresql.nix")
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `[ "shop" ]`, `[ "shop" "archive" ]`, 1)
	if changed == string(text) {
		t.Fatal("the configuration has no database shop")
	}
	put(t, configuration, changed)
	p.compose(t, "restart", "-t", "30")
	b = up(2)
	query("archive", "SELECT 1")
	if got := query("shop", count); got != want {
		t.Errorf("after the change of the configuration: %s", got)
	}
	b.stops(t)
}

func exampleDockerNixos(t *testing.T, file string) {
	docker20.hasExampleImage(t)
	dir := exampleSite(t, file)
	put(t, filepath.Join(dir, "configuration.nix"), nginxNix("/web"))
	put(t, filepath.Join(dir, "path/to/web/root/index.html"), "the page of docker-nixos\n")
	put(t, filepath.Join(dir, "test/file"), "in the container\n")
	p := newProject(t, docker20, filepath.Join(dir, filepath.Base(file)), "nginx")
	b := p.up(t, "nginx")
	p.publishes(t, "nginx", "the page of docker-nixos")
	b.runs(t)
	if got, err := b.exec(t, "cat", "/test/file"); got != "in the container" {
		t.Errorf("/test is not mounted: %q, %v", got, err)
	}
}

// wrapped runs a script. Its PATH contains a wrapper of the engine, which adds flags to the
// subcommand run. wrapped returns the container that the script started.
func wrapped(t *testing.T, e engine, file, program string) box {
	t.Helper()
	dir := exampleSite(t, file)
	bin := filepath.Join(dir, "bin")
	command(t, "shellcheck", filepath.Join(dir, filepath.Base(file)))
	t.Cleanup(func() { try(e.line(t, "rm", "-f", "web")...) })
	line := e.line(t)
	if found, err := exec.LookPath(line[0]); err == nil {
		line[0] = found // so that the wrapper does not call itself
	}
	put(t, filepath.Join(bin, program), fmt.Sprintf("#!/bin/sh\n[ \"$1\" = run ] || exit 2\nshift\nexec %s run %s \"$@\"\n",
		strings.Join(line, " "), strings.Join(e.machine, " ")))
	if err := os.Chmod(filepath.Join(bin, program), 0o755); err != nil {
		t.Fatal(err)
	}
	return logged(t, box{engine: e.line, id: in(t, dir, []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, "sh", filepath.Base(file))})
}

func exampleRun(e engine, program string) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		e.hasExampleImage(t)
		b := wrapped(t, e, file, program)
		b.serves(t, examplePage)
		b.runs(t)
		b.stops(t)
	}
}

func examplePodmanRun(t *testing.T, file string) {
	for _, e := range []engine{podman43, podman5} {
		t.Run(e.name, func(t *testing.T) { exampleRun(e, "podman")(t, file) })
	}
}

// exampleQuadlet makes a systemd unit from the quadlet with podman's generator. The host has
// no systemd, so the test itself runs the command of the unit.
func exampleQuadlet(t *testing.T, file string) {
	podman5.hasExampleImage(t)
	dir := exampleSite(t, file)
	unit := command(t, inToday(t, "env", "QUADLET_UNIT_DIRS="+dir, "/usr/libexec/podman/quadlet", "-dryrun")...)
	m := regexp.MustCompile(`(?m)^ExecStart=\S*podman run (.*)$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatalf("the unit starts nothing:\n%s", unit)
	}
	var flags []string
	for _, f := range strings.Fields(m[1]) {
		switch f {
		case "--sdnotify=conmon", "--cgroups=split": // these two flags need systemd on the host
		case "--publish", "8080:80":
		default:
			// The test reads the value as systemd does: with specifiers and with escapes in
			// quotes (systemd.service(5)).
			f = strings.ReplaceAll(f, "%N", "web")
			if plain, err := strconv.Unquote(f); err == nil {
				f = plain
			}
			flags = append(flags, f)
		}
	}
	t.Cleanup(func() { try(podman5.line(t, "rm", "-f", "systemd-web")...) })
	b := logged(t, box{engine: podman5.line, id: strings.TrimSpace(command(t, podman5.line(t, args("run", podman5.machine, flags)...)...))})
	b.serves(t, examplePage)
	b.runs(t)
	if _, err := try(b.engine(t, "healthcheck", "run", b.id)...); err != nil {
		t.Errorf("the health check of the quadlet: %v", err)
	}
	b.do(t, "stop", "-t", "30", b.id) // no check of the log here, because --rm removes the container
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
	podmanLine(t) // this call writes the policy
	return []string{"--signature-policy", filepath.Join(lab.scratch, "podman", "policy.json")}
}

// exampleKubernetes runs the pod of pod.yml with podman.
func exampleKubernetes(t *testing.T, file string) {
	flags := podmanHasExampleImage(t)
	dir := exampleSite(t, file)
	file = filepath.Base(file)
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	pod := string(text)
	// For the ports of a pod, podman needs a network, which this machine does not have.
	const ports = "      ports:\n        - containerPort: 80\n"
	if strings.Count(pod, ports) != 1 {
		t.Fatalf("the pod lacks %q", ports)
	}
	pod = strings.Replace(pod, ports, "", 1)
	put(t, filepath.Join(dir, file), pod)
	// podman play kube has no flags like those in podmanLimits. So they are in a
	// configuration file.
	conf := filepath.Join(dir, "containers.conf")
	put(t, conf, "[containers]\npids_limit = -1\ndefault_ulimits = [\"nofile=2048:2048\", \"nproc=4096:4096\"]\n")
	t.Setenv("CONTAINERS_CONF", conf)
	t.Cleanup(func() { try(podmanLine(t, "play", "kube", "--down", filepath.Join(dir, file))...) })
	in(t, dir, nil, podmanLine(t, args("play", "kube", "--start=false", "--network", "none", flags, file)...)...)
	// Without systemd on the host, podman 4.3 makes a control group for the pod that allows
	// no device, not even /dev/null. If the test removes this group, runc makes a correct
	// group.
	id := strings.TrimSpace(podman(t, "pod", "inspect", "-f", "{{.ID}}", "web"))
	if err := os.Remove(filepath.Join("/sys/fs/cgroup/libpod_parent", id)); err != nil {
		t.Fatal(err)
	}
	podman(t, "pod", "start", "web")
	b := logged(t, box{engine: podmanLine, id: "web-web"})
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

// ciProject returns a flake with a system, like the flake that the CI examples push, and the
// environment of a runner that can build this flake.
func ciProject(t *testing.T) (dir string, env []string) {
	t.Helper()
	guestSystem(t, "x86_64", "")
	guestSystem(t, "aarch64", "")
	dir = scratchDir(t)
	put(t, filepath.Join(dir, "nginx.nix"), nginxNix("/web"))
	put(t, filepath.Join(dir, "flake.nix"), fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
  };
}
`, filepath.Join(guestRoot(), "guest", "nixpkgs")))
	return dir, []string{nixConfig + "extra-platforms = x86_64-linux aarch64-linux\n"}
}

// workflowJob returns the steps of one job in a workflow.
func workflowJob(t *testing.T, file, job string) []ciStep {
	t.Helper()
	var w struct {
		Jobs map[string]struct{ Steps []ciStep }
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(data, &w)
	}
	if err != nil || len(w.Jobs[job].Steps) == 0 {
		t.Fatalf("%s: %v", file, err)
	}
	return w.Jobs[job].Steps
}

// exampleWorkflow checks the workflow with actionlint. After that, it runs the steps of the
// workflow and the action, on one machine for each platform.
func exampleWorkflow(t *testing.T, file string) {
	// The labels and addresses of Forgejo differ from those of GitHub.
	command(t, tool("actionlint"), "-ignore", `label "docker" is unknown`, "-ignore", `specifying action "https://`, filepath.Join(examples, file))
	arches := []string{"amd64"}
	image := "org/forgejo"
	if strings.Contains(file, "github") {
		arches, image = append(arches, "arm64"), "org/workflow"
	}
	dir, env := ciProject(t)
	for _, arch := range arches {
		m := newCIMachine(t, dir)
		m.env = append(m.env, env...)
		m.vars["github.repository"] = image
		m.vars["runner.arch == 'ARM64' && 'arm64' || 'amd64'"] = arch
		pushed := 0
		for _, s := range workflowJob(t, filepath.Join(examples, file), "push") {
			switch {
			case strings.HasSuffix(s.Uses, "nixoci/nixoci@v1"):
				s.With["releases"] = m.vars["releases"]
				m.action(t, s)
				pushed++
			case s.Run != "":
				m.run(t, s)
			}
		}
		if pushed != 1 {
			t.Fatalf("%d steps push", pushed)
		}
	}
	hasPlatforms(t, image, arches...)
}

// exampleGitLab runs the scripts of the job, except the script that installs nixoci.
func exampleGitLab(t *testing.T, file string) {
	var jobs map[string]struct {
		Image        string
		BeforeScript []string `yaml:"before_script"`
		Script       []string
		Variables    map[string]string
		Artifacts    struct{ Paths []string }
	}
	data, err := os.ReadFile(filepath.Join(examples, file))
	if err == nil {
		dec := yaml.NewDecoder(bytes.NewReader(data))
		err = dec.Decode(&jobs)
	}
	job := jobs["push image"]
	if err != nil || len(jobs) != 1 || job.Image == "" || len(job.Script) == 0 {
		t.Fatalf("%+v, %v", jobs, err)
	}
	dir, env := ciProject(t)
	m := newCIMachine(t, dir)
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "cp", lab.nixoci, filepath.Join(bin, "nixoci"))
	put(t, filepath.Join(dir, "path"), bin+"\n")
	m.env = append(append(m.env, env...), "GITHUB_STEP_SUMMARY=", "CI_REGISTRY="+registry(t), "CI_REGISTRY_IMAGE="+registry(t)+"/org/gitlab",
		"CI_REGISTRY_USER=somebody", "CI_REGISTRY_PASSWORD=secret", "CI_COMMIT_SHORT_SHA=abc1234")
	for _, line := range append(job.BeforeScript, job.Script...) {
		if !strings.HasPrefix(line, "nix profile install ") {
			m.run(t, ciStep{Run: line})
		}
	}
	for _, p := range job.Artifacts.Paths {
		if st, err := os.Stat(filepath.Join(dir, p)); err != nil || st.Size() == 0 {
			t.Errorf("artifact %s: %v", p, err)
		}
	}
	hasPlatforms(t, "org/gitlab", "amd64")
}

func hasPlatforms(t *testing.T, image string, arches ...string) {
	t.Helper()
	manifest := command(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+registry(t)+"/"+image+":latest")
	for _, arch := range arches {
		if !strings.Contains(manifest, fmt.Sprintf(`"architecture":%q`, arch)) {
			t.Errorf("the index lacks %s: %s", arch, manifest)
		}
	}
}
