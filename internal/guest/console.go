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

// consoleArgv0 is the name under which the console child runs. systemd's last
// killing round spares a process whose argv[0] starts with @
// (https://systemd.io/ROOT_STORAGE_DAEMONS), so that the very last lines of a
// shutdown are copied too. The child does not know itself by it: what a binfmt
// interpreter runs may have another argv[0]. There systemd ends the child with
// all other processes, and it drains the console first.
const consoleArgv0 = "@nixoci-console"

// consoleEnv in the environment makes this program the console child.
const consoleEnv = "_NIXOCI_CONSOLE"

// IsConsole says whether this process is the console child. PID 1 never is,
// whatever the container's environment says.
func IsConsole() bool { return os.Getpid() != 1 && os.Getenv(consoleEnv) == "1" }

// Descriptors that the console child inherits.
const (
	masterFD = 3
	slaveFD  = 4
)

// ensureConsole gives the container a /dev/console when it has none. self is
// this program's file. The child that serves the console outlives the exec of
// init as PID 1's child; the caller does not wait for it.
func ensureConsole(self string) (made bool, err error) {
	switch c, err := os.OpenFile(console, os.O_RDWR|syscall.O_NOCTTY, 0); {
	case err == nil:
		// Docker's and podman's -t bind their terminal there; whatever else
		// somebody put there is his own choice.
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

	// The slave stays with the child: were nobody holding it, the master would
	// read EIO the first time systemd closes the console.
	child, err := os.StartProcess(self, []string{consoleArgv0}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{consoleEnv + "=1", "GOMAXPROCS=2"}, // a reader and a writer
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, master, slave},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return false, fmt.Errorf("start console: %w", err)
	}
	allowTracing(child.Pid)
	if err := os.Remove(console); err != nil && !errors.Is(err, os.ErrNotExist) { // a link to nothing
		child.Kill()
		return false, fmt.Errorf("replace %s: %w", console, err)
	}
	if err := os.Symlink(name, console); err != nil {
		child.Kill()
		return false, fmt.Errorf("make %s: %w", console, err)
	}
	return true, child.Release()
}

// ServeConsole is the console child: it copies the console to standard output
// until it is told to stop, then drains it.
func ServeConsole() error {
	// A reader that went away must not end the console, nor may a terminal.
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

// leaveRoot makes /proc this process's root directory, where that is allowed.
// systemd's last killing round looks at the root directory of a process that it
// spares, and complains if it is the one that it wants to unmount.
func leaveRoot() {
	if syscall.Chroot("/proc") == nil {
		pid1Comm = "/1/comm"
	}
}
