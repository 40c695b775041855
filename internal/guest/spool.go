//go:build linux

package guest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// spool is a bounded queue of bytes between the console and a reader that may be slow,
// stopped or gone.
type spool struct {
	max int

	mu     sync.Mutex
	filled sync.Cond
	buf    []byte
	taken  bool // the writer took bytes and has not written them yet
	lost   int  // number of bytes dropped since the last take
	closed bool
}

func newSpool(max int) *spool {
	s := &spool{max: max}
	s.filled.L = &s.mu
	return s
}

// put adds p and never waits. If there is no room, it drops the oldest lines.
func (s *spool) put(p []byte) {
	if len(p) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if over := len(s.buf) + len(p) - s.max; over > 0 {
		// Drop an eighth at a time: each cut moves the rest of the buffer.
		cut := min(max(over, s.max/8), len(s.buf))
		if i := bytes.IndexByte(s.buf[cut:], '\n'); i >= 0 {
			cut += i + 1
		}
		s.lost += cut
		s.buf = append(s.buf[:0], s.buf[cut:]...)
	}
	s.buf = append(s.buf, p...)
	s.filled.Signal()
}

// take waits for bytes and copies as many as possible into the buffer into. lost is how
// many were dropped before them. ok is false if the spool is closed and empty.
func (s *spool) take(into []byte) (p []byte, lost int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = false
	for len(s.buf) == 0 && !s.closed {
		s.filled.Wait()
	}
	s.taken = true
	n := min(len(s.buf), cap(into))
	p = append(into[:0], s.buf[:n]...)
	s.buf = append(s.buf[:0], s.buf[n:]...)
	if cap(s.buf) > 1<<20 && len(s.buf) == 0 {
		s.buf = nil // free the memory after a burst of output
	}
	lost, s.lost = s.lost, 0
	return p, lost, n > 0
}

// idle reports whether all bytes are written.
func (s *spool) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.buf) == 0 && !s.taken
}

func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.filled.Broadcast()
}

// writeTo writes to out until the spool is closed and empty. If out returns an error
// because it has no reader, writeTo drops the bytes and goes on: a reader may come back.
func (s *spool) writeTo(out io.Writer) {
	chunk := make([]byte, 0, 64<<10)
	for {
		p, lost, ok := s.take(chunk)
		if !ok {
			return
		}
		if lost > 0 {
			writeAll(out, []byte(fmt.Sprintf("nixoci: %d bytes of console output were given up, nobody read them in time\n", lost)))
		}
		writeAll(out, p)
	}
}

func writeAll(out io.Writer, p []byte) {
	for len(p) > 0 {
		n, err := out.Write(p)
		p = p[n:]
		if err != nil {
			return
		}
	}
}
