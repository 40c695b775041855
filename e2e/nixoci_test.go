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
	dir     string   // current directory; "" means a scratch directory
	program string   // program to run; "" means lab.nixoci
	prefix  []string // command that starts nixoci, such as setpriv
	env     []string // variables in addition to PATH and HOME
	cache   string   // value of XDG_CACHE_HOME; "" means an empty directory
	timeout time.Duration
	signal  func(*os.Process) // called with the process after it has started
}

// An outcome is the result of a run.
type outcome struct {
	stdout, stderr string
	code           int
	wall, cpu      time.Duration
	peak           int64   // most resident memory, in bytes
	idle           float64 // idle part of the time of all processors during the run
}

// nixoci runs the program. The cache is empty unless r sets one.
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
	// nixoci gets only these variables. So there is no locale, no proxy and no Docker
	// configuration.
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

// ok runs nixoci. If the run fails, the test fails.
func (r run) ok(t *testing.T, args ...string) outcome {
	t.Helper()
	o := r.nixoci(t, args...)
	if o.code != 0 {
		t.Fatalf("nixoci %s: exit code %d\n%s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o
}

var pushed = regexp.MustCompile(`^\S+@(sha256:[0-9a-f]{64})\n$`)

// digest returns the digest from the output of push or build. It checks that
// stdout contains nothing else.
func (o outcome) digest(t *testing.T) string {
	t.Helper()
	m := pushed.FindStringSubmatch(o.stdout)
	if m == nil {
		t.Fatalf("stdout is not REF@digest: %q", o.stdout)
	}
	return m[1]
}

// end returns the last lines of stderr, without the lines of progress before them.
func (o outcome) end() string {
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], "\n")
}

// fails checks that a run ended with code, printed nothing on stdout, and
// printed all of says on stderr.
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

// scratchDir returns a new directory on disk that every user may write to.
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

// processorTimes returns the idle time and the total time of all processors, in
// hundredths of a second.
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
		if i == 3 || i == 4 { // idle time, and time of waiting for the disk
			idle += n
		}
	}
	return idle, total
}

// toplevels returns the CLOSURE arguments that push one system for both platforms.
func toplevels(variant string) []string {
	var args []string
	for _, p := range platforms {
		args = append(args, p.nix+"="+lab.systems["large-"+p.nix+variant])
	}
	return args
}

// fromStore returns the flags that select the local store.
func fromStore() []string { return []string{"--from", lab.large} }

// args joins words and lists of words into one list.
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

// binaryCache returns the directory of the large systems' signed binary cache.
func binaryCache() string { return filepath.Join(lab.large, "cache") }
