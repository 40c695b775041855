//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const console = "/dev/console"

// consoleArgv0 is argv[0] of the console child. If argv[0] starts with @, systemd's
// last killing round spares the process (https://systemd.io/ROOT_STORAGE_DAEMONS),
// so the child can copy the very last lines of a shutdown. The child must not
// recognise itself by this name: a binfmt interpreter may change argv[0]. In that
// case systemd ends the child with all other processes, and the child drains the
// console first.
const consoleArgv0 = "@nixoci-console"

// consoleEnv is the environment variable that makes this program the console child.
const consoleEnv = "_NIXOCI_CONSOLE"

// IsConsole reports whether this process is the console child. PID 1 never is, even if
// the container's environment contains the variable.
func IsConsole() bool { return os.Getpid() != 1 && os.Getenv(consoleEnv) == "1" }

// File descriptors that the console child inherits.
const (
	masterFD = 3
	slaveFD  = 4
)

// ensureConsole makes /dev/console if the container has none. self is the path of this
// program. It starts a child that copies the console and keeps running after PID 1 has
// executed init. The caller does not wait for the child.
func ensureConsole(self string) (made bool, err error) {
	switch c, err := os.OpenFile(console, os.O_RDWR|syscall.O_NOCTTY, 0); {
	case err == nil:
		// docker run -t and podman run -t bind their terminal there. If somebody put
		// anything else there, use it.
		c.Close()
		return false, nil
	case errors.Is(err, os.ErrNotExist):
	default:
		return false, fmt.Errorf("open %s: %w", console, err)
	}
	master, slave, name, err := openPTY()
	if err != nil {
		return false, err
	}
	defer master.Close()
	defer slave.Close()

	// The child keeps the slave open. If no process had it open, the master would read
	// EIO the first time systemd closes the console.
	child, err := os.StartProcess(self, []string{consoleArgv0}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{consoleEnv + "=1", "GOMAXPROCS=2"}, // one thread reads, one writes
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, master, slave},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return false, fmt.Errorf("start console: %w", err)
	}
	allowTracing(child.Pid)
	if err := os.Remove(console); err != nil && !errors.Is(err, os.ErrNotExist) { // console may be a dangling link
		child.Kill()
		return false, fmt.Errorf("replace %s: %w", console, err)
	}
	if err := os.Symlink(name, console); err != nil {
		child.Kill()
		return false, fmt.Errorf("make %s: %w", console, err)
	}
	return true, child.Release()
}

// ServeConsole is the main function of the console child: it copies the console to
// standard output until SIGTERM, then copies what is left.
func ServeConsole() error {
	// Neither a reader that went away nor a signal of a terminal may end the console.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTTOU)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	stop, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("set up console: %w", err)
	}
	leaveRoot()
	go func() {
		<-term
		tell.Close()
	}()
	return CopyConsole(masterFD, slaveFD, int(os.Stdout.Fd()), int(stop.Fd()))
}

// leaveRoot makes /proc the root directory of this process, if that is allowed. systemd's
// last killing round spares this process. It complains if the process still has as its
// root the file system that systemd wants to unmount.
func leaveRoot() {
	if syscall.Chroot("/proc") == nil {
		pid1Comm = "/1/comm"
	}
}
