//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A run is one call of nixoci.
type run struct {
	dir     string   // current directory, scratch by default
	program string   // lab.nixoci by default
	prefix  []string // what nixoci is started by: setpriv …
	env     []string // beside PATH and HOME
	cache   string   // XDG_CACHE_HOME, a fresh one by default
	timeout time.Duration
	signal  func(*os.Process) // told of the process once it has started
}

// An outcome is what came of a run.
type outcome struct {
	stdout, stderr string
	code           int
	wall, cpu      time.Duration
	peak           int64   // bytes of resident memory
	idle           float64 // the part of the machine's processors that did nothing meanwhile
}

// nixoci runs the program with a cache of its own.
func (r run) nixoci(t *testing.T, args ...string) outcome {
	t.Helper()
	if r.program == "" {
		r.program = lab.nixoci
	}
	if r.cache == "" {
		r.cache = scratchDir(t)
	}
	if r.dir == "" {
		r.dir = lab.scratch
	}
	if r.timeout == 0 {
		r.timeout = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), r.timeout)
	defer cancel()
	line := append(append([]string{}, r.prefix...), append([]string{r.program}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = r.dir
	// Only what is said here reaches nixoci: no locale, no proxy, no Docker configuration.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.cache, "XDG_CACHE_HOME=" + r.cache}, r.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	idle, total := processorTimes(t)
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if r.signal != nil {
		r.signal(cmd.Process)
	}
	err := cmd.Wait()
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), wall: time.Since(begin), code: cmd.ProcessState.ExitCode()}
	idle2, total2 := processorTimes(t)
	o.idle = (idle2 - idle) / max(1, total2-total)
	o.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	o.peak = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("nixoci %s: not done after %v\n%s", strings.Join(args, " "), r.timeout, o.stderr)
	}
	return o
}

// ok is nixoci for runs that must succeed.
func (r run) ok(t *testing.T, args ...string) outcome {
	t.Helper()
	o := r.nixoci(t, args...)
	if o.code != 0 {
		t.Fatalf("nixoci %s: exit code %d\n%s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o
}

var pushed = regexp.MustCompile(`^\S+@(sha256:[0-9a-f]{64})\n$`)

// digest is what push and build print, and nothing beside it.
func (o outcome) digest(t *testing.T) string {
	t.Helper()
	m := pushed.FindStringSubmatch(o.stdout)
	if m == nil {
		t.Fatalf("stdout is not REF@digest: %q", o.stdout)
	}
	return m[1]
}

// end is the last of stderr: what was said after the lines of progress.
func (o outcome) end() string {
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], "\n")
}

// fails checks that a run ended with code, printed nothing on stdout, and said
// every one of says on stderr.
func (o outcome) fails(t *testing.T, code int, says ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, not %d\n%s", o.code, code, o.end())
	}
	if o.stdout != "" {
		t.Errorf("stdout after a failure: %q", o.stdout)
	}
	for _, s := range says {
		if !strings.Contains(o.stderr, s) {
			t.Errorf("stderr says nothing of %q:\n%s", s, o.end())
		}
	}
	for _, s := range []string{"goroutine ", "panic:"} {
		if strings.Contains(o.stderr, s) {
			t.Errorf("not a message for people:\n%s", o.stderr)
		}
	}
}

// scratchDir is a fresh directory on disk that anybody may write to.
func scratchDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(lab.scratch, "t-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// processorTimes are the seconds' hundredths that all processors together
// were idle and were there.
func processorTimes(t *testing.T) (idle, total float64) {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:9] {
		var n float64
		for _, c := range f {
			n = n*10 + float64(c-'0')
		}
		total += n
		if i == 3 || i == 4 { // idle, and waiting for the disk
			idle += n
		}
	}
	return idle, total
}

// toplevels are the arguments that push a system for both platforms.
func toplevels(variant string) []string {
	var args []string
	for _, p := range platforms {
		args = append(args, p.nix+"="+lab.systems["large-"+p.nix+variant])
	}
	return args
}

// fromStore are the flags for the local store.
func fromStore() []string { return []string{"--from", lab.large} }

// args joins words and lists of words.
func args(parts ...any) []string {
	var all []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			all = append(all, p)
		case []string:
			all = append(all, p...)
		}
	}
	return all
}

// binaryCache is the directory of the large systems' signed binary cache.
func binaryCache() string { return filepath.Join(lab.large, "cache") }
