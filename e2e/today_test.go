//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/guest"
)

// today holds the state of today's engines: Docker 28, podman 5 and containerd 2. They run in
// a separate root file system (engines.sh, enter.sh). The other tests use the engines of
// Debian 12, which are the oldest supported engines.
var today struct {
	namespace, docker, containerd sync.Once
	pid                           string // process number; "" if the engines are not started
	dockerRuns, containerdRuns    bool
}

func todayRoot() string { return filepath.Join(lab.cache, "engines") }

// inToday returns a command line that runs a program in the root file system of today's
// engines. lab.scratch has the same path there.
func inToday(t *testing.T, line ...string) []string {
	t.Helper()
	today.namespace.Do(func() {
		state := filepath.Join(lab.scratch, "today")
		start(t, "today", nil, func() error { _, err := os.Stat(state + ".pid"); return err },
			"unshare", "-m", "sh", "enter.sh", todayRoot(), state, lab.scratch)
		pid, err := os.ReadFile(state + ".pid")
		if err != nil {
			t.Fatal(err)
		}
		today.pid = strings.TrimSpace(string(pid))
	})
	if today.pid == "" {
		t.Fatal("the root of today's engines was not entered")
	}
	return args("nsenter", "-t", today.pid, "-m", "-r", "-W/",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", line)
}

// todayDocker returns a command line of Docker 28.
func todayDocker(t *testing.T, arguments ...string) []string {
	t.Helper()
	line := inToday(t, "docker")
	today.docker.Do(func() {
		start(t, "today-dockerd", nil, func() error { _, err := try(append(line, "version")...); return err },
			inToday(t, "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false")...)
		today.dockerRuns = true
	})
	if !today.dockerRuns {
		t.Fatal("today's dockerd did not start")
	}
	return append(line, arguments...)
}

// todayPodman returns a command line of podman 5, which uses crun.
func todayPodman(t *testing.T, arguments ...string) []string {
	t.Helper()
	return inToday(t, append([]string{"podman", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}, arguments...)...)
}

// todayFlags holds the flags that Docker 28 needs.
var todayFlags = strings.Fields(guest.FlagRun + " " + guest.FlagCgroup)

func TestTodayDockerBoots(t *testing.T) {
	image := guestImage(t, "")
	for _, tc := range []struct {
		name  string
		flags []string
	}{
		{"with control groups of its own", todayFlags},
		{"with a terminal", append([]string{"-t"}, todayFlags...)},
		{"with the host's control groups", bootFlags},
		{"mounting it itself", []string{"--cap-add", "SYS_ADMIN"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := docker28.run(t, image, tc.flags...)
			report(t, "running after %.2f s", b.runs(t).Seconds())
			for _, text := range []string{"running activation script", "multi-user.target", "Startup finished"} {
				b.says(t, text)
			}
			b.stops(t)
		})
	}
}

func TestTodayPodmanBoots(t *testing.T) {
	image := guestImage(t, "")
	for _, runtime := range []string{"crun", "runc"} {
		t.Run(runtime, func(t *testing.T) {
			e := podman5
			e.line = func(t *testing.T, arguments ...string) []string {
				return todayPodman(t, append([]string{"--runtime", runtime}, arguments...)...)
			}
			b := e.run(t, image)
			report(t, "running after %.2f s", b.runs(t).Seconds())
			b.says(t, "Startup finished")
			b.stops(t)
		})
	}
}

// TestTodayVersions checks that the engines have the versions for which these tests are
// written.
func TestTodayVersions(t *testing.T) {
	for _, tc := range []struct {
		line []string
		want string
	}{
		{todayDocker(t, "version", "-f", "{{.Server.Version}}"), "28."},
		{todayPodman(t, "version", "-f", "{{.Version}}"), "5."},
		{inToday(t, "containerd", "--version"), " 2."},
	} {
		out := strings.TrimSpace(command(t, tc.line...))
		if !strings.Contains(" "+out, tc.want) {
			t.Errorf("%s: not %s", out, tc.want)
		}
		report(t, "%s", out)
	}
}

// TestTodayExplains checks that a user who follows the advice in the message solves the
// problem.
func TestTodayExplains(t *testing.T) {
	image := guestImage(t, "")
	for _, tc := range []struct {
		name  string
		flags []string
	}{
		{"no flag", nil},
		{"no control groups", []string{"--tmpfs", "/run:exec,suid"}},
		{"no /run", []string{"--security-opt", "writable-cgroups=true"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := docker28.run(t, image, tc.flags...)
			b.ends(t)
			if code := b.exitCode(t); code != "78" {
				t.Errorf("exit code %s, want 78", code)
			}
			m := added.FindStringSubmatch(b.log(t))
			if m == nil {
				t.Fatal("the message says nothing to add")
			}
			docker28.run(t, image, args(tc.flags, strings.Fields(m[1]))...).runs(t)
		})
	}
}

// TestTodayApplies checks that the container builds a configuration, and that the host can
// read the page through a network that the user made. The container must be healthy.
func TestTodayApplies(t *testing.T) {
	image := guestImage(t, "")
	config, web := site(t, "configuration.nix", nginxNix("/web"))
	network := filepath.Base(scratchDir(t))
	command(t, todayDocker(t, "network", "create", network)...)
	t.Cleanup(func() { command(t, todayDocker(t, "network", "rm", network)...) }) // the bridge of this network is in the host
	e := docker28
	e.machine = []string{"--network", network, "--tmpfs", "/run/lock", "-p", "127.0.0.1::80"}
	b := e.run(t, image, args(todayFlags, "-v", config+":/config", "-v", web+":/web")...)
	published := func(page string) time.Duration {
		t.Helper()
		addr := strings.TrimSpace(b.do(t, "port", b.id, "80"))
		return eventually(t, "publish "+page, func() bool { return strings.Contains(get("http://"+addr+"/"), page) })
	}
	report(t, "built and serving after %.2f s", published("the first page").Seconds())
	health := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			return strings.TrimSpace(b.do(t, "inspect", "-f", "{{.State.Health.Status}}", b.id)) == want
		})
	}
	health("healthy")
	b.stops(t)
	b.do(t, "start", b.id)
	report(t, "unchanged: serving %.2f s after a restart", published("the first page").Seconds())
	b.says(t, "is unchanged and running")
	put(t, filepath.Join(config, "configuration.nix"), "{ no.such.option = 1; }\n")
	b.do(t, "restart", "-t", "30", b.id)
	published("the first page")
	health("unhealthy")
}
