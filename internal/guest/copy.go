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
	// consoleSpool bounds what is kept for a reader that does not keep up.
	consoleSpool = 8 << 20
	// drainIdle is how long the console must be silent to count as drained.
	drainIdle = 50 * time.Millisecond
	// drainLimit is how long the last bytes may take to be written.
	drainLimit = time.Second
	// quickSlice is the shortest slice that the kernel gives.
	quickSlice = 100 * time.Microsecond
	// pipeBuf is what a pipe that polls as writable takes without blocking:
	// PIPE_BUF, pipe(7).
	pipeBuf = 4096
)

// CopyConsole copies from the pseudoterminal's master to out until stop reads
// as closed, then what is left of it. It never makes those who write to the
// console wait: what out does not take at once is kept, and beyond 8 MiB the
// oldest lines are given up, which the output then says. slave is replaced when
// a hangup of the terminal ends it. All four are descriptors.
//
// When PID 1 ends, the kernel kills this process at once, with the last lines
// still to be copied: see lastWords.
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

// beQuick asks for short slices of the processor (Linux 6.12 and later), which
// a thread that was woken gets sooner. Elsewhere it does nothing.
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

// readConsole hands over what the master reads until the console is silent
// after stop was closed. flushed waits until all of it was written.
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
			// Nothing is on its way either: the kernel waits for what it has
			// queued before it says EAGAIN.
			if last.release(flushed) {
				continue
			}
			fds := []pollFD{{fd: int32(master), events: pollIn}, {fd: int32(stop), events: pollIn}}
			if wait >= 0 {
				fds = fds[:1] // stop is known
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
			// vhangup(2) on the console ended our own hold on the slave.
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

// writeNow writes as much of p as out takes without waiting, and returns how
// much that was. It writes nothing while older bytes wait in the spool.
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
			return len(p) // nobody reads: see spool.writeTo
		}
		done += n
	}
	return done
}

// fdWriter writes to a descriptor, blocking or not.
type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(w), p)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN: // somebody who shares the descriptor made it so
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

// poll waits for one of fds, for ever when timeout is negative, and returns how
// many are ready.
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

// unCR turns the \r\n that systemd makes of line ends, once itself and once by
// the terminal's settings that it restores, back into \n.
type unCR struct {
	held int // \r at the end of what came before
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
