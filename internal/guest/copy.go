//go:build linux

package guest

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	// consoleSpool is the limit for output that waits for a slow reader.
	consoleSpool = 8 << 20
	// drainIdle is the silence after which the console counts as drained.
	drainIdle = 50 * time.Millisecond
	// drainLimit is the longest time for writing the last bytes.
	drainLimit = time.Second
	// quickSlice is the shortest time slice that the kernel offers.
	quickSlice = 100 * time.Microsecond
	// pipeBuf is how much a pipe accepts without blocking when poll reports it as
	// writable: PIPE_BUF, pipe(7).
	pipeBuf = 4096
)

// CopyConsole copies from the pseudoterminal's master to
// out until stop is closed, then copies what is left.
// Writers to the console never wait: CopyConsole keeps
// what out does not accept at once. Beyond 8 MiB it
// drops the oldest lines and reports that in the output.
// If a hangup of the terminal closes slave, CopyConsole
// opens it again. All four arguments are file
// descriptors.
func CopyConsole(master, slave, out, stop int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	beQuick()
	if err := syscall.SetNonblock(master, true); err != nil {
		return fmt.Errorf("set up console: %w", err)
	}
	sp := newSpool(consoleSpool)
	written := make(chan struct{})
	go func() {
		defer close(written)
		sp.writeTo(fdWriter(out))
	}()
	var lines unCR
	err := readConsole(master, slave, stop, func(p []byte) {
		p = lines.filter(p)
		sp.put(p[writeNow(sp, out, p):])
	}, func() {
		for until := time.Now().Add(drainLimit); !sp.idle() && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
	})
	sp.close()
	select {
	case <-written:
	case <-time.After(drainLimit):
	}
	return err
}

// beQuick asks the kernel for short time slices (Linux 6.12 and later). A thread with
// short slices runs sooner after it was woken. On older kernels nothing changes.
func beQuick() {
	attr := schedAttr{size: uint32(unsafe.Sizeof(schedAttr{})), runtime: uint64(quickSlice)}
	syscall.Syscall(sysSchedSetattr, 0, uintptr(unsafe.Pointer(&attr)), 0)
}

// schedAttr is struct sched_attr of sched_setattr(2), version 0.
type schedAttr struct {
	size     uint32
	policy   uint32 // SCHED_OTHER
	flags    uint64
	nice     int32
	priority uint32
	runtime  uint64 // ns
	deadline uint64
	period   uint64
}

// readConsole passes everything that the master reads to take. It ends when stop is
// closed and the console is silent. flushed waits until everything is written.
func readConsole(master, slave, stop int, take func([]byte), flushed func()) error {
	buf := make([]byte, 64<<10)
	wait := time.Duration(-1)
	var last lastWords
	for {
		n, err := syscall.Read(master, buf)
		switch {
		case n > 0:
			take(buf[:n])
			last.watch(buf[:n])
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			// Nothing more is on its way: before it returns EAGAIN, the kernel waits for
			// what it has queued.
			if last.release(flushed) {
				continue
			}
			fds := []pollFD{{fd: int32(master), events: pollIn}, {fd: int32(stop), events: pollIn}}
			if wait >= 0 {
				fds = fds[:1] // stop is closed: do not poll it again
			}
			timeout := wait
			if last.holding && wait < 0 {
				timeout = holdInterval
			}
			ready, err := poll(fds, timeout)
			switch {
			case err != nil:
				return fmt.Errorf("wait for the console: %w", err)
			case ready == 0 && wait >= 0:
				return nil // drained
			case len(fds) > 1 && fds[1].revents != 0:
				wait = drainIdle
			}
		case err == syscall.EIO:
			// vhangup(2) on the console closed our slave too: open it again.
			again, err := openPeer(uintptr(master), "console")
			if err != nil {
				return fmt.Errorf("reopen console: %w", err)
			}
			if err := syscall.Dup3(int(again.Fd()), slave, syscall.O_CLOEXEC); err != nil {
				return fmt.Errorf("reopen console: %w", err)
			}
			again.Close()
		case err != nil:
			return fmt.Errorf("read console: %w", err)
		default:
			return errors.New("read console: it ended")
		}
	}
}

// writeNow writes as much of p as out accepts without waiting, and returns the number of
// bytes. It writes nothing while older bytes wait in the spool.
func writeNow(sp *spool, out int, p []byte) int {
	done := 0
	for done < len(p) && sp.idle() {
		fds := []pollFD{{fd: int32(out), events: pollOut}}
		if ready, err := poll(fds, 0); err != nil || ready == 0 {
			break
		}
		n, err := syscall.Write(out, p[done:min(len(p), done+pipeBuf)])
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			return len(p) // nobody reads: drop it, as spool.writeTo does
		}
		done += n
	}
	return done
}

// fdWriter writes to a file descriptor, blocking or not.
type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(w), p)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN: // another process that shares the descriptor made it non-blocking
			if _, err := poll([]pollFD{{fd: int32(w), events: pollOut}}, -1); err != nil {
				return 0, err
			}
		default:
			return 0, err
		}
	}
}

// pollFD is struct pollfd of poll(2).
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

const (
	pollIn  = 0x1
	pollOut = 0x4
)

// poll waits until one of fds is ready, and returns how many are. A negative timeout
// waits for ever.
func poll(fds []pollFD, timeout time.Duration) (int, error) {
	var ts *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(int64(timeout))
		ts = &t
	}
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
			uintptr(unsafe.Pointer(ts)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// unCR turns \r\n and \r\r\n into \n. systemd writes \r\n, and restores terminal settings
// that add another \r.
type unCR struct {
	held int // number of \r at the end of the input so far
	buf  []byte
}

func (u *unCR) filter(p []byte) []byte {
	u.buf = u.buf[:0]
	for _, c := range p {
		switch c {
		case '\r':
			u.held++
			continue
		case '\n':
			u.held = 0
		}
		for ; u.held > 0; u.held-- {
			u.buf = append(u.buf, '\r')
		}
		u.buf = append(u.buf, c)
	}
	return u.buf
}
