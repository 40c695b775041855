//go:build e2e

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tools lists the programs that must be installed. If one is missing, the tests
// fail.
var tools = []string{
	"catatonit", "chromium", "containerd", "docker", "docker-compose", "docker-registry", "dockerd", "nix", "nix-store", "podman", "qemu-aarch64-static", "runc",
	"setpriv", "shellcheck", "skopeo", "sqlite3", "umoci",
}

// built lists the tools that run.sh builds or downloads.
var built = []string{"actionlint", "cosign2", "cosign3", "crane", "crictl", "debstore", "grype", "oras", "registry", "syft"}

// lab holds what all tests share. It is made once and removed at the end.
var lab struct {
	cache   string            // directory in which debstore works; kept between runs
	scratch string            // directory of this run, on disk
	memory  string            // directory of this run, on a tmpfs
	nixoci  string            // file name of the tested program
	crane   string            // file name of the program crane
	large   string            // root directory of the local store
	systems map[string]string // toplevels by name
	key     string            // public key for the binary cache
}

// platforms lists the platforms of every image: the name that Nix uses and the name that
// registries use.
var platforms = []struct{ nix, arch string }{{"x86_64-linux", "amd64"}, {"aarch64-linux", "arm64"}}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run() // run.sh only asks for the list of tests
	}
	fail := func(format string, args ...any) int {
		fmt.Fprintf(os.Stderr, "e2e: "+format+"\n", args...)
		return 1
	}
	if os.Getenv("NIXOCI_E2E_INSIDE") == "" {
		return fail("start these tests with e2e/run.sh: they need a mount namespace of their own")
	}
	lab.cache = os.Getenv("NIXOCI_E2E_CACHE")
	needed := slices.Clone(tools)
	for _, t := range built {
		needed = append(needed, tool(t))
	}
	for _, t := range needed {
		if _, err := exec.LookPath(t); err != nil {
			return fail("%v", err)
		}
	}
	lab.large = filepath.Join(lab.cache, "large")
	lab.crane = tool("crane")
	list, err := os.ReadFile(filepath.Join(lab.large, "systems.json"))
	if err != nil {
		return fail("%v", err)
	}
	if err := json.Unmarshal(list, &lab.systems); err != nil {
		return fail("systems.json: %v", err)
	}
	key, err := os.ReadFile(filepath.Join(lab.large, "public-key"))
	if err != nil {
		return fail("%v", err)
	}
	lab.key = strings.TrimSpace(string(key))
	// The directory is in /var/tmp, because the engines unpack gigabytes. This is too much
	// for a tmpfs.
	lab.scratch, err = os.MkdirTemp("/var/tmp", "nixoci-e2e-")
	if err != nil {
		return fail("%v", err)
	}
	defer os.RemoveAll(lab.scratch)
	// The unprivileged user must be able to reach scratch directories, too.
	if err := os.Chmod(lab.scratch, 0o755); err != nil {
		return fail("%v", err)
	}
	lab.memory = filepath.Join(lab.scratch, "memory")
	lab.nixoci = filepath.Join(lab.scratch, "nixoci")
	for _, step := range [][]string{
		{"mkdir", lab.memory},
		{"mount", "-t", "tmpfs", "-o", "size=6g,mode=755", "none", lab.memory},
		// These commands build nixoci with the nixoci-init of this source. The repository may
		// contain an older nixoci-init.
		{"go", "run", "../internal/initbin/renew", "-overlay", filepath.Join(lab.scratch, "init")},
		{"go", "build", "-trimpath", "-overlay", filepath.Join(lab.scratch, "init/overlay.json"), "-o", lab.nixoci, "../cmd/nixoci"},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fail("%s: %v\n%s", strings.Join(step, " "), err, out)
		}
	}
	defer exec.Command("umount", "-l", lab.memory).Run()
	defer stopDaemons()
	code := m.Run()
	printSummary()
	return code
}

// tool returns the file name of a program that run.sh has built or downloaded.
func tool(name string) string { return filepath.Join(lab.cache, "bin", name) }

// summary holds the lines that are printed after the tests: the tests that ran, and their
// figures.
var summary struct {
	sync.Mutex
	lines []string
}

// report adds a line to the summary and to the test's log.
func report(t *testing.T, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	summary.Lock()
	defer summary.Unlock()
	summary.lines = append(summary.lines, fmt.Sprintf("%-32s %s", t.Name(), line))
}

func printSummary() {
	fmt.Println("\n--- e2e summary")
	for _, l := range summary.lines {
		fmt.Println(l)
	}
}

// A daemon is a process that runs until the tests end.
type daemon struct {
	cmd  *exec.Cmd
	stop func()
}

var daemons struct {
	sync.Mutex
	list []daemon
}

// start starts a daemon and waits until ready succeeds. The output of the daemon goes to
// scratch/NAME.log. After the tests, the daemon gets an interrupt signal, and later a kill
// signal.
func start(t *testing.T, name string, env []string, ready func() error, args ...string) {
	t.Helper()
	logFile := filepath.Join(lab.scratch, name+".log")
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait(); close(exited) }()
	daemons.Lock()
	daemons.list = append(daemons.list, daemon{cmd, func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(15 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
	}})
	daemons.Unlock()
	deadline := time.Now().Add(time.Minute)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case exit := <-exited:
			t.Fatalf("%s: %v\n%s", name, exit, tail(logFile))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready: %v\n%s", name, err, tail(logFile))
		}
	}
}

func stopDaemons() {
	daemons.Lock()
	defer daemons.Unlock()
	for _, d := range slices.Backward(daemons.list) {
		d.stop()
	}
}

func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-3000):])
}

// command runs a program and returns its stdout. If the program fails, the test fails.
func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try runs a program. Its error contains the command line and stderr.
func try(args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return string(out), nil
}
