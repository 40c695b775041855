package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
)

// The environment and the current directory belong to a whole process. So one process can
// run nixoci for one script at a time only. Scripts run in parallel, and each of their calls
// runs in one of a few worker processes. This takes less time than a new process for each call.

// workerName is the name of the program that runs [work].
const workerName = "nixoci-worker"

// A call describes one run of nixoci, with an empty standard input.
type call struct {
	Dir  string
	Env  []string
	Args []string
}

// A result is what a [call] printed, and its exit code.
type result struct {
	Stdout, Stderr []byte
	Code           int
}

// do runs nixoci in this process, and restores the environment and the directory.
func (c call) do() (r result, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return r, err
	}
	before := os.Environ()
	defer func() { err = cmp.Or(err, setEnviron(before), os.Chdir(dir)) }()
	if err := cmp.Or(setEnviron(c.Env), os.Chdir(c.Dir)); err != nil {
		return r, err
	}
	if os.Getenv(smallInitVariable) != "" {
		defer useSmallInit()()
	}
	var stdout, stderr bytes.Buffer
	r.Code = run(context.Background(), c.Args, strings.NewReader(""), &stdout, &stderr)
	r.Stdout, r.Stderr = stdout.Bytes(), stderr.Bytes()
	return r, nil
}

// setEnviron replaces the environment of this process.
func setEnviron(variables []string) error {
	os.Clearenv()
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// work is the main function of a worker. It reads calls from stdin, and writes their results
// to stdout.
func work() {
	debug.SetGCPercent(gcPercent)
	calls, results := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c call
		if err := calls.Decode(&c); err == io.EOF {
			return
		} else if err != nil {
			fatal(err)
		}
		r, err := c.do()
		if err == nil {
			err = results.Encode(r)
		}
		if err != nil {
			fatal(err)
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, workerName+":", err)
	os.Exit(1)
}

// A worker is a process that runs [work].
type worker struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	calls   *json.Encoder
	results *json.Decoder
}

// workers holds the free workers. A nil element stands for a worker that was not started yet.
type workers chan *worker

// startWorkers returns as many workers as there are processors. At the end of the test, they
// stop, and the test fails if one of them failed.
func startWorkers(t *testing.T) workers {
	free := make(workers, runtime.GOMAXPROCS(0))
	for range cap(free) {
		free <- nil
	}
	t.Cleanup(func() {
		for range cap(free) {
			w := <-free
			if w == nil {
				continue
			}
			w.stdin.Close()
			if err := w.cmd.Wait(); err != nil {
				t.Errorf("%s: %v", workerName, err)
			}
		}
	})
	return free
}

func newWorker() (*worker, error) {
	cmd := exec.Command(workerName)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &worker{cmd, stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)}, cmd.Start()
}

// coverMu is locked while calls run in this process.
var coverMu sync.Mutex

// do runs a call in a free worker. If coverage is measured, it runs the call in this process,
// because Go counts only what this process runs.
func (free workers) do(c call) (r result, err error) {
	if testing.CoverMode() != "" {
		coverMu.Lock()
		defer coverMu.Unlock()
		return c.do()
	}
	w := <-free
	defer func() { free <- w }()
	if w == nil {
		if w, err = newWorker(); err != nil {
			return r, err
		}
	}
	if err = w.calls.Encode(c); err == nil {
		err = w.results.Decode(&r)
	}
	return r, err
}
