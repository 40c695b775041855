//go:build linux

package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const console = "/dev/console"

// ConsoleArgv0 is the name under which the console child runs. systemd's last
// killing round spares a process whose argv[0] starts with @
// (https://systemd.io/ROOT_STORAGE_DAEMONS), so that the very last lines of a
// shutdown are copied too.
const ConsoleArgv0 = "@nixoci-console"

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
	child, err := os.StartProcess(self, []string{ConsoleArgv0}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, master, slave},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return false, fmt.Errorf("start console: %w", err)
	}
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
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)

	if err := syscall.SetNonblock(masterFD, true); err != nil {
		return fmt.Errorf("set up console: %w", err)
	}
	master := os.NewFile(masterFD, "master")
	slave := os.NewFile(slaveFD, "slave")
	return CopyConsole(master, slave, os.Stdout, stop)
}

const (
	// consoleSpool bounds what is kept for a reader that does not keep up.
	consoleSpool = 8 << 20
	// drainIdle is how long the console must be silent to count as drained.
	drainIdle = 50 * time.Millisecond
	// drainLimit is how long the last bytes may take to be written.
	drainLimit = time.Second
)

// CopyConsole copies from the pseudoterminal's master to out until stop
// receives, then what is left of it. It never makes those who write to the
// console wait: what out does not take is kept, and beyond 8 MiB the oldest
// lines are given up, which the output then says. master must be non-blocking.
// slave is replaced when a hangup of the terminal ends it.
func CopyConsole(master, slave *os.File, out io.Writer, stop <-chan os.Signal) error {
	sp := newSpool(consoleSpool)
	written := make(chan struct{})
	go func() {
		defer close(written)
		sp.writeTo(out)
	}()

	stopping := make(chan struct{})
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-stop:
			close(stopping)
			master.SetReadDeadline(time.Now().Add(drainIdle))
		case <-finished:
		}
	}()

	buf := make([]byte, 64<<10)
	var failed error
loop:
	for {
		n, err := master.Read(buf)
		sp.put(buf[:n])
		draining := false
		select {
		case <-stopping:
			draining = true
		default:
		}
		switch {
		case err == nil:
			if draining {
				master.SetReadDeadline(time.Now().Add(drainIdle))
			}
		case draining || errors.Is(err, os.ErrDeadlineExceeded):
			break loop
		case errors.Is(err, syscall.EIO):
			// vhangup(2) on the console ended our own hold on the slave.
			again, err := reopen(master, slave.Name())
			if err != nil {
				failed = fmt.Errorf("reopen console: %w", err)
				break loop
			}
			slave.Close()
			slave = again
		case errors.Is(err, io.EOF):
			break loop
		default:
			failed = fmt.Errorf("read console: %w", err)
			break loop
		}
	}
	sp.close()
	select {
	case <-written:
	case <-time.After(drainLimit):
	}
	return failed
}

func reopen(master *os.File, name string) (slave *os.File, err error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	if cerr := raw.Control(func(fd uintptr) { slave, err = openPeer(fd, name) }); cerr != nil {
		return nil, cerr
	}
	return slave, err
}
