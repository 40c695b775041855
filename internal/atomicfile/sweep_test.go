package atomicfile

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// TestMain is also the main function of a child process, which makes temporary files and
// waits until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ATOMICFILE_TEST_DIR"); dir != "" {
		temp, remove, err := TempDir(dir)
		if err == nil {
			err = os.WriteFile(filepath.Join(temp, "spooled"), []byte("x"), 0o600)
		}
		f, err2 := Create(dir)
		fmt.Println(temp, err, f.Name(), err2)
		// Closing a file releases its lock, and the garbage collector may close an unused
		// file.
		io.Copy(io.Discard, os.Stdin)
		runtime.KeepAlive(f)
		remove()
	}
	os.Exit(m.Run())
}

// TestSweep checks that Sweep removes the files of a killed process and keeps those of a
// running process.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ATOMICFILE_TEST_DIR="+dir)
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	others := []string{"index.json", ".nixoci-mine", ".nixoci-123456", ".nixoci-cache"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries) - len(others)
	}
	killed, alive := start(), start()
	defer func() { alive.Process.Kill(); alive.Wait() }()
	Sweep(dir)
	if n := count(); n != 4 {
		t.Fatalf("%d files of two live processes are there, not 4", n)
	}
	killed.Process.Kill()
	killed.Wait()
	Sweep(dir)
	if n := count(); n != 2 {
		t.Errorf("%d files are there, not the 2 of the live process", n)
	}
	for _, name := range others {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestSweepAtOnce checks that no goroutine loses its directory when several make directories
// and sweep at the same time.
func TestSweepAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				temp, remove, err := TempDir(dir)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(temp, "x"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := remove(); err != nil {
					t.Error(err)
				}
				if err := Write(filepath.Join(dir, "index.json"), []byte("{}")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
