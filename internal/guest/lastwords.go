//go:build linux

package guest

import (
	"bytes"
	"os"
	"syscall"
	"time"
)

// lastWords keeps PID 1 alive until its last lines are copied.
//
// When PID 1 ends, the kernel kills all processes of its PID namespace. PID 1 ends about
// 100 µs after systemd-shutdown's last line. On a busy machine every second shutdown lost
// a line or more. So once systemd has reached its shutdown target, this process traces
// PID 1 with PTRACE_O_TRACEEXIT, which stops PID 1 just before it ends. Then this process
// drains the console and lets PID 1 go on. Tracing changes nothing else: it passes
// signals on. If tracing is not allowed, lines may be lost as before. If this process
// ends, the tracing ends too.
type lastWords struct {
	tried   bool
	holding bool
	ended   bool // PID 1 is stopped just before its end
}

// holdInterval is how often the traced PID 1 is checked. A signal to PID 1 may be delayed
// by this time.
const holdInterval = time.Millisecond

const (
	pid1 = 1

	ptraceSeize     = 0x4206
	ptraceCont      = 7
	ptraceDetach    = 17
	ptraceListen    = 0x4208
	ptraceTraceExit = 0x40
	ptraceEventExit = 6
	ptraceEventStop = 128

	prSetPtracer = 0x59616d61 // PR_SET_PTRACER of prctl(2)
)

// allowTracing lets the process pid trace this one. Otherwise Yama would only allow it to
// a parent. The permission survives an exec.
func allowTracing(pid int) {
	syscall.Syscall(syscall.SYS_PRCTL, prSetPtracer, uintptr(pid), 0)
}

func ptrace(request, addr, data uintptr) error {
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, request, pid1, addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// shutdownTarget is a message that systemd writes shortly before it executes
// systemd-shutdown, which may write its few lines all at once.
var shutdownTarget = []byte("Reached target shutdown.target")

// watch starts to trace PID 1 if p, the latest console output, or the name of PID 1 shows
// that PID 1 will end soon.
func (l *lastWords) watch(p []byte) {
	if l.tried || !bytes.Contains(p, shutdownTarget) && !ending() {
		return
	}
	l.tried = true
	l.holding = ptrace(ptraceSeize, 0, ptraceTraceExit) == nil
}

// pid1Comm is the file with PID 1's name. leaveRoot changes the path.
var pid1Comm = "/proc/1/comm"

// ending checks the name of PID 1, which the kernel cuts to 15 characters.
func ending() bool {
	comm, err := os.ReadFile(pid1Comm)
	return err == nil && string(comm) == "systemd-shutdow\n"
}

// release lets PID 1 go on if it is stopped. Call it when there is nothing left to
// read. If release returns true, PID 1 is about to end: the caller must read again what
// came in the meantime, then call release again.
func (l *lastWords) release(flushed func()) (again bool) {
	if l.ended {
		flushed()
		ptrace(ptraceDetach, 0, 0)
		l.ended, l.holding = false, false
		return false
	}
	for l.holding {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(pid1, &status, syscall.WNOHANG|syscall.WALL, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid == pid1 && !status.Stopped():
			l.holding = false
			return false
		case pid != pid1:
			return false
		}
		switch event := uint32(status) >> 16; event {
		case ptraceEventExit:
			l.ended = true
			return true
		case ptraceEventStop:
			ptrace(ptraceListen, 0, 0)
		case 0: // a signal is to be delivered
			ptrace(ptraceCont, 0, uintptr(status.StopSignal()))
		default:
			ptrace(ptraceCont, 0, 0)
		}
	}
	return false
}
