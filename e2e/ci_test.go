//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// ciStep describes a step of a workflow or of a composite action.
type ciStep struct {
	ID, Uses, Run string
	With, Env     map[string]string
}

// ciMachine stands for a runner: a directory with a project, its environment and its
// variables.
type ciMachine struct {
	dir  string
	env  []string
	vars map[string]string // values of the expressions in ${{ }}
}

var expression = regexp.MustCompile(`\$\{\{ *(.+?) *\}\}`)

// say returns text in which expressions are replaced by their values. An unknown expression
// fails the test.
func (m *ciMachine) say(t *testing.T, text string) string {
	t.Helper()
	return expression.ReplaceAllStringFunc(text, func(e string) string {
		name := expression.FindStringSubmatch(e)[1]
		value, ok := m.vars[name]
		if !ok {
			t.Fatalf("what does %s mean here?", e)
		}
		return value
	})
}

// run runs the script of a step as a runner does. The variables of a step apply only to this
// step. GITHUB_PATH applies to all later steps.
func (m *ciMachine) run(t *testing.T, s ciStep, extra ...string) {
	t.Helper()
	env := append(append([]string{}, m.env...), extra...)
	for k, v := range s.Env {
		env = append(env, k+"="+m.say(t, v))
	}
	// The runner uses the store that contains the guest systems.
	in(t, m.dir, env, "unshare", "-m", "sh", "-ec", `[ -z "$0" ] || { mkdir -p /nix; mount --bind "$0/nix" /nix; }
		while read -r dir; do PATH=$dir:$PATH; done <"$GITHUB_PATH"; export PATH; exec sh -e -c "$1"`, guestRoot(), m.say(t, s.Run))
	data, err := os.ReadFile(filepath.Join(m.dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && s.ID != "" {
			m.vars["steps."+s.ID+".outputs."+k] = v
		}
	}
}

// action runs the action of this repository.
func (m *ciMachine) action(t *testing.T, s ciStep) {
	t.Helper()
	var action struct {
		Inputs  map[string]struct{ Default string }
		Outputs map[string]struct{ Value string }
		Runs    struct{ Steps []ciStep }
	}
	data, err := os.ReadFile("../action.yml")
	if err == nil {
		err = yaml.Unmarshal(data, &action)
	}
	if err != nil || len(action.Runs.Steps) != 2 {
		t.Fatalf("action.yml: %d steps, %v", len(action.Runs.Steps), err)
	}
	for name := range s.With {
		if _, ok := action.Inputs[name]; !ok {
			t.Errorf("action.yml has no input %s", name)
		}
	}
	for name, input := range action.Inputs {
		value, given := s.With[name]
		if !given {
			value = input.Default
		}
		m.vars["inputs."+name] = m.say(t, value)
	}
	m.vars["inputs.image"] = regexp.MustCompile(`^(ghcr\.io|codeberg\.org)`).ReplaceAllString(m.vars["inputs.image"], registry(t))
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range action.Runs.Steps {
		m.run(t, step, "GITHUB_ACTION_PATH="+root)
	}
	for name, o := range action.Outputs {
		m.vars["steps."+s.ID+".outputs."+name] = m.say(t, o.Value)
	}
}

// releases serves a release of the tested nixoci with the same file layout as .ci/release,
// and a repository with the tag of the release.
func releases(t *testing.T) (url, repository string) {
	t.Helper()
	dir := scratchDir(t)
	name := "nixoci-v1.2.3-linux-" + runtime.GOARCH
	for _, d := range []string{filepath.Join(dir, name), filepath.Join(dir, "v1.2.3"), filepath.Join(dir, "repository")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "cp", lab.nixoci, filepath.Join(dir, name, "nixoci"))
	archive := filepath.Join(dir, "v1.2.3", name+".tar.gz")
	command(t, "tar", "-C", dir, "-czf", archive, name)
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "v1.2.3", "SHA256SUMS"), fmt.Sprintf("%x  %s.tar.gz\n", sha256.Sum256(data), name))
	repository = filepath.Join(dir, "repository")
	in(t, repository, nil, "sh", "-ec", `git init -q; git -c user.name=x -c user.email=x commit -q --allow-empty -m x
		for tag in v0.9.0 v1.2.3 v1.2.3-rc1 v1.1.9 v2.0.0; do git tag $tag; done`)
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL, repository
}

func newCIMachine(t *testing.T, dir string) *ciMachine {
	t.Helper()
	home := scratchDir(t) // an empty home directory, as on another machine
	url, repository := releases(t)
	for _, f := range []string{"path", "output", "summary.md"} {
		put(t, filepath.Join(dir, f), "")
	}
	return &ciMachine{dir: dir, env: []string{
		"HOME=" + home, "XDG_CACHE_HOME=" + home, "USER=root", "RUNNER_TEMP=" + home, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GITHUB_PATH=" + filepath.Join(dir, "path"), "GITHUB_OUTPUT=" + filepath.Join(dir, "output"),
		"GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary.md"), "NIXOCI_REPOSITORY=" + repository,
	}, vars: map[string]string{"github.actor": "somebody", "github.token": "secret", "github.repository": "org/workflow", "github.action_ref": "v1",
		"secrets.REGISTRY_TOKEN": "secret", "releases": url, "home": home}}
}

// TestAction runs the action of this repository without other steps. The action must install
// the newest release of its major version, push from a binary cache, and write outputs and a
// summary. It must leave no login behind.
func TestAction(t *testing.T) {
	m := newCIMachine(t, scratchDir(t))
	from, systems := small(t)
	with := map[string]string{
		"image":    "ghcr.io/action/web:1",
		"tags":     "latest stable",
		"closure":  systems["sample-x86_64-linux"],
		"args":     strings.Join(from, "\n"),
		"releases": m.vars["releases"],
	}
	m.action(t, ciStep{ID: "image", With: with})
	if d := m.vars["steps.image.outputs.digest"]; !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(d) {
		t.Errorf("digest %q", d)
	}
	if got := command(t, "skopeo", "list-tags", "--tls-verify=false", "docker://"+registry(t)+"/action/web"); !strings.Contains(got, "stable") {
		t.Errorf("tags: %s", got)
	}
	summary, err := os.ReadFile(filepath.Join(m.dir, "summary.md"))
	if err != nil || !strings.Contains(string(summary), "The first image of this name") {
		t.Errorf("summary %q, %v", summary, err)
	}
	if left, _ := filepath.Glob(filepath.Join(m.vars["home"], "nixoci-login.*")); len(left) > 0 {
		t.Errorf("the login is left: %v", left)
	}

	// If the checksum of a release differs from the expected checksum, the release must not
	// run.
	install := []string{"sh", "../.ci/action/install.sh"}
	for _, tt := range []struct{ name, sha256, want string }{
		{"pinned", strings.Repeat("0", 64), "as the workflow says"},
		{"missing", "", "download v9.9.9/"},
	} {
		env := append(append([]string{}, m.env...), "NIXOCI_RELEASES="+m.vars["releases"], "NIXOCI_SHA256="+tt.sha256, "NIXOCI_ACTION_REF=v1")
		if tt.name == "missing" {
			env = append(env, "NIXOCI_VERSION=v9.9.9")
		}
		out, err := try(append([]string{"env"}, append(env, install...)...)...)
		if err == nil || !strings.Contains(out+err.Error(), tt.want) {
			t.Errorf("%s: %v: %s", tt.name, err, out)
		}
	}
}

// exampleJob runs the command of the container in a Kubernetes Job. It uses the tested
// program.
func exampleJob(t *testing.T, file string) {
	var job struct {
		Kind string
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct{ Command, Args []string }
				}
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(examples, file))
	if err == nil {
		err = yaml.Unmarshal(data, &job)
	}
	if err != nil || job.Kind != "Job" || len(job.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%+v, %v", job, err)
	}
	c := job.Spec.Template.Spec.Containers[0]
	from, systems := small(t)
	ours := strings.NewReplacer("https://cache.nixos.org", from[1], "ghcr.io", registry(t),
		"/nix/store/00000000000000000000000000000000-nixos-system-web-26.05", systems["sample-x86_64-linux"])
	var line []string
	for _, word := range append(c.Command, c.Args...) {
		line = append(line, ours.Replace(word))
	}
	line[0] = lab.nixoci
	line = append(line, from[2:]...) // the public key of the test cache is not a default key
	home := scratchDir(t)
	if out := in(t, home, []string{"HOME=" + home, "XDG_CACHE_HOME=" + home, "DOCKER_CONFIG=" + home}, line...); !strings.Contains(out, "/org/web:latest@sha256:") {
		t.Errorf("it printed %s", out)
	}
}
