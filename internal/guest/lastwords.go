//go:build linux

package guest

import (
	"bytes"
	"os"
	"syscall"
	"time"
)

// lastWords keeps PID 1 from ending before its last lines are copied.
//
// The end of PID 1 is the end of all processes of its PID namespace. Between
// systemd-shutdown's last line and that end lie about 100 µs: on a busy machine
// every second shutdown lost a line or more. So once systemd has reached its
// shutdown target, PID 1 is traced with PTRACE_O_TRACEEXIT, which stops it when it is about to end;
// then the console is drained, and PID 1 goes on. Tracing touches nothing else:
// signals are passed on, and where tracing is not allowed, the race stays. If
// this process ends, so does the tracing.
type lastWords struct {
	tried   bool
	holding bool
	ended   bool // PID 1 stopped to end
}

// holdInterval is how often PID 1 is looked at while it is traced: how long a
// signal to it may be delayed.
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

// allowTracing lets the process pid trace this one, where Yama would only let
// parents do so. It outlasts an exec.
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

// shutdownTarget is what systemd says shortly before it becomes
// systemd-shutdown, whose few lines may all come at once.
var shutdownTarget = []byte("Reached target shutdown.target")

// watch begins to hold PID 1 when p, the latest of the console, or its name say
// that it is about to end.
func (l *lastWords) watch(p []byte) {
	if l.tried || !bytes.Contains(p, shutdownTarget) && !ending() {
		return
	}
	l.tried = true
	l.holding = ptrace(ptraceSeize, 0, ptraceTraceExit) == nil
}

// pid1Comm has the name of PID 1. See leaveRoot for where it is.
var pid1Comm = "/proc/1/comm"

// ending looks at the name of PID 1, which the kernel cuts to 15 characters.
func ending() bool {
	comm, err := os.ReadFile(pid1Comm)
	return err == nil && string(comm) == "systemd-shutdow\n"
}

// release lets PID 1 go on if it stopped. It is called when there is nothing to
// read. It returns true when PID 1 stopped to end: the caller has to read once
// more what came in between, and to call again.
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
