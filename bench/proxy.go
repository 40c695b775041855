package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// countingProxy is a proxy before the registry. It counts the requests and the bytes of their
// bodies.
type countingProxy struct {
	*httptest.Server
	requests, sent, received atomic.Int64
}

func newCountingProxy(target string) *countingProxy {
	p := &countingProxy{}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
			r.Out.Host = r.In.Host // with this host name, the redirects of the registry lead to the proxy
		},
		FlushInterval: -1,
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		if r.Body != nil {
			r.Body = &countedBody{r.Body, &p.sent}
		}
		reverse.ServeHTTP(&countedWriter{w, &p.received}, r)
	}))
	return p
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *countedWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// slowLink relays TCP connections with a latency and a bandwidth, like a slow network between
// this machine and the registry. Each direction has a separate bandwidth, which all
// connections share.
type slowLink struct {
	listener net.Listener
	target   string
	oneWay   time.Duration
	up, down *throttle
}

// newSlowLink starts a link. latency is the time of a round trip. bits is the bandwidth in
// bits per second; 0 means unlimited.
func newSlowLink(target string, latency time.Duration, bits int64) (*slowLink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &slowLink{listener: listener, target: target, oneWay: latency / 2,
		up: &throttle{bytesPerSecond: float64(bits) / 8}, down: &throttle{bytesPerSecond: float64(bits) / 8}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.relay(conn)
		}
	}()
	return l, nil
}

func (l *slowLink) Addr() string { return l.listener.Addr().String() }
func (l *slowLink) Close() error { return l.listener.Close() }

func (l *slowLink) relay(client net.Conn) {
	defer client.Close()
	// A TCP connection begins with a handshake, so the first byte of data leaves one round
	// trip after the SYN.
	time.Sleep(2 * l.oneWay)
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { l.direction(server, client, l.up) })
	both.Go(func() { l.direction(client, server, l.down) })
	both.Wait()
}

// window limits the number of bytes that are on the way, for each direction of a connection.
const window = 4 << 20

// direction copies from src to dst, and delays each piece by oneWay.
func (l *slowLink) direction(dst, src net.Conn, limit *throttle) {
	type piece struct {
		data []byte
		due  time.Time
	}
	const size = 64 << 10
	queue := make(chan piece, window/size)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, size)
			n, err := src.Read(buf)
			if n > 0 {
				limit.wait(n)
				queue <- piece{buf[:n], time.Now().Add(l.oneWay)}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for p := range queue {
		time.Sleep(time.Until(p.due))
		if !failed {
			_, err := dst.Write(p.data)
			failed = err != nil
		}
	}
	if tcp, ok := dst.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
}

// throttle limits the rate of bytes. After a delay it may be faster for a short time, to
// catch up with up to a tenth of a second. On a busy machine, a timer can be late by this
// much.
type throttle struct {
	bytesPerSecond float64
	mu             sync.Mutex
	next           time.Time
}

func (t *throttle) wait(n int) {
	if t.bytesPerSecond == 0 {
		return
	}
	t.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-100 * time.Millisecond); t.next.Before(earliest) {
		t.next = earliest
	}
	t.next = t.next.Add(time.Duration(float64(n) / t.bytesPerSecond * float64(time.Second)))
	until := t.next
	t.mu.Unlock()
	time.Sleep(until.Sub(now))
}

// cacheServer serves a binary cache, and counts the bytes of NARs and narinfo
// files.
type cacheServer struct {
	*httptest.Server
	requests, nars, narinfos atomic.Int64 // requests, and bytes of NARs and narinfo files
}

func newCacheServer(dir string) *cacheServer {
	c := &cacheServer{}
	files := http.FileServer(http.Dir(dir))
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		n := &c.narinfos
		if strings.HasPrefix(r.URL.Path, "/nar/") {
			n = &c.nars
		}
		files.ServeHTTP(&countedFile{w, n}, r)
	}))
	return c
}

// countedFile counts the bytes of a file, and lets the kernel send them to the socket without
// a copy.
type countedFile struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countedFile) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *countedFile) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.n.Add(n)
	return n, err
}
