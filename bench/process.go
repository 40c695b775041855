package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the length of the unit USER_HZ in /proc. On Linux there are always 100 units
// in a second.
const clockTick = 10 * time.Millisecond

// sample holds the measurements of one timed run. Times are in seconds.
type sample struct {
	Wall     float64 `json:"wall"`
	CPU      float64 `json:"cpu"`      // processor time of the program and its children
	Registry float64 `json:"registry"` // processor time of the registry during the run
	Peak     int64   `json:"peak"`     // most resident memory, in bytes
	Others   float64 `json:"others"`   // share of the machine's processors that all other processes used
}

func (s sample) String() string {
	return fmt.Sprintf("%6.2f s wall %6.2f s cpu %5.2f s registry %4d MB peak, others %2.0f %%", s.Wall, s.CPU, s.Registry, s.Peak>>20, s.Others*100)
}

// process holds the output of a program, and its measurements.
type process struct {
	sample
	stdout []byte
}

// timed runs a program to its end. env is the whole environment of the program, except PATH.
func (l *lab) timed(env []string, args ...string) (process, error) {
	self, err := os.Executable()
	if err != nil {
		return process{}, err
	}
	cmd := exec.CommandContext(l.ctx, self, append([]string{supervise}, args...)...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
	cmd.Dir = l.dir
	var stdout, stderr, used bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r, w, err := os.Pipe()
	if err != nil {
		return process{}, err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	registry, busy, own := l.registryCPU(), busyTime(), selfCPU()
	err = cmd.Start()
	w.Close()
	if err == nil {
		_, err = used.ReadFrom(r)
		err = errors.Join(err, cmd.Wait())
	}
	if err != nil {
		return process{}, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	registry, busy, own = l.registryCPU()-registry, busyTime()-busy, selfCPU()-own
	p := process{stdout: stdout.Bytes()}
	if err := json.Unmarshal(used.Bytes(), &p.sample); err != nil {
		return process{}, fmt.Errorf("%s: what it used: %w", args[0], err)
	}
	p.Registry = registry.Seconds()
	p.Others = max(0, ((busy-registry-own).Seconds()-p.CPU)/(p.Wall*float64(countCPUs())))
	return p, nil
}

// supervise is an argument of this program. With this argument, the program runs another
// program, and writes the measurements of that program to descriptor 3. Linux starts the peak
// memory of a new process with the memory of its parent. So the parent must be small.
const supervise = "supervise"

func runSupervised(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = notOrphaned()
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return err
	}
	return json.NewEncoder(os.NewFile(3, "used")).Encode(sample{
		Wall: time.Since(begin).Seconds(),
		CPU:  (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		Peak: cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024,
	})
}

// selfCPU returns the processor time of this process, which also runs the proxy and the file
// server.
func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// busyTime returns the sum of the times in which each processor was busy.
func busyTime() time.Duration {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:9] {
		if i == 3 || i == 4 { // idle time, and time of waiting for the disk
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// registryCPU returns the user and system time of the registry. It reads them from /proc, see
// proc_pid_stat(5).
func (l *lab) registryCPU() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.registry.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	sys, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+sys) * clockTick
}

// startRegistry runs Debian's docker-registry. The storage of the registry is in the scratch
// directory, which is on tmpfs.
func (l *lab) startRegistry() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.addr = listener.Addr().String()
	listener.Close()
	config := filepath.Join(l.dir, "registry.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
http: {addr: %q}
`, filepath.Join(l.dir, "registry"), l.addr), 0o644); err != nil {
		return err
	}
	l.registry = exec.Command("docker-registry", "serve", config)
	// The registry logs an error for each tag that does not exist. So its log goes to a file.
	log, err := os.Create(filepath.Join(l.dir, "registry.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	l.registry.Stderr = log
	if err := l.registry.Start(); err != nil {
		return fmt.Errorf("start the registry: %w", err)
	}
	for range 200 {
		if c, err := net.Dial("tcp", l.addr); err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the registry does not answer")
}

func (l *lab) close() {
	if l.registry != nil && l.registry.Process != nil {
		l.registry.Process.Signal(os.Interrupt)
		l.registry.Wait()
	}
	if l.cache != nil {
		l.cache.Close()
	}
}

// lab holds the environment of the measurements.
type lab struct {
	*config
	ctx      context.Context
	dir      string
	registry *exec.Cmd
	addr     string // address of the registry
	cache    *cacheServer
	key      string
	systems  map[string]string
	counter  int

	archive, layerTar string // input files for other tools; made when a tool needs them
}

// machine describes the machine on which the measurements were made.
type machine struct {
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	LoadBefore string `json:"loadBefore"`
	LoadAfter  string `json:"loadAfter"`
}
