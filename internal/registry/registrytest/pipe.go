package registrytest

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// Pipes is a listener whose connections are pipes. So a server and its client can
// run in a bubble of testing/synctest, where waiting takes no time.
type Pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// PipeAddr is the address under which clients reach a registry behind [Pipes].
const PipeAddr = "127.0.0.1:5000"

// Serve serves h over pipes. In a bubble, call stop before the bubble ends.
func Serve(h http.Handler) (l *Pipes, stop func()) {
	l = &Pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: h, ErrorLog: discardLog}
	go s.Serve(l)
	return l, func() {
		s.Close()
		l.Close()
		time.Sleep(time.Hour) // the server needs this time to close broken connections
	}
}

// Accept implements net.Listener.
func (l *Pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Pipes) Close() error { l.once.Do(func() { close(l.done) }); return nil }

// Addr implements net.Listener.
func (l *Pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000} }

// Dial is a function for Options.Dial of package registry. It connects to the listener and ignores
// the address.
func (l *Pipes) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return socket{client}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
}

// socket is a pipe that returns the same errors as a socket.
type socket struct{ net.Conn }

func (s socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	return n, closed("read", err)
}

func (s socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err == io.ErrClosedPipe {
		err = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
	}
	return n, err
}

func (s socket) SetDeadline(t time.Time) error { return closed("set", s.Conn.SetDeadline(t)) }
func (s socket) SetReadDeadline(t time.Time) error {
	return closed("set", s.Conn.SetReadDeadline(t))
}
func (s socket) SetWriteDeadline(t time.Time) error {
	return closed("set", s.Conn.SetWriteDeadline(t))
}

func closed(op string, err error) error {
	if err == io.ErrClosedPipe {
		return &net.OpError{Op: op, Net: "tcp", Err: net.ErrClosed}
	}
	return err
}
