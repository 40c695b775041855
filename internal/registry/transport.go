package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
)

// These limits decide when the client gives up a silent connection. A whole transfer may take any
// time, as long as it is not too slow. Three commits without an answer, each followed by a request
// whether the blob exists, take less than limit.Operation.
const (
	dialTimeout   = 15 * time.Second
	answerTimeout = 30 * time.Second   // longest time from a small request to its response
	commitTimeout = 45 * time.Second   // object stores copy and hash a blob before they answer
	lookTimeout   = 10 * time.Second   // longest wait, after a failed commit, for the answer whether the blob exists
	stallTimeout  = limit.LeastSpeedIn // a transfer in either direction must reach its least speed within this time
)

// maxIdleConns is higher than every limit in concurrency.go. So the client never closes a connection that
// it needs again soon.
const maxIdleConns = 2 * defaultRequests

// Stats counts the traffic with a registry, its token server and its blob store.
// Bytes include headers and TLS.
type Stats struct {
	Requests      int64
	Retries       int64
	BytesSent     int64
	BytesReceived int64
}

type counters struct {
	requests, answers, retries, sent, received atomic.Int64
}

func (c *counters) snapshot() Stats {
	return Stats{c.requests.Load(), c.retries.Load(), c.sent.Load(), c.received.Load()}
}

// wire sends requests without credentials and without retries. Over TLS it sends each request with
// a body by HTTP/1.1 on a connection of its own. With HTTP/2, parallel uploads would be streams of
// one connection and share one congestion window. Many servers also grant a stream only 64 KiB,
// which limits the stream to 2 MB/s at a round-trip time of 30 ms.
type wire struct {
	small, bulk *http.Transport
	userAgent   string
	counters    *counters
}

func newWire(o Options, c *counters) (*wire, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := limit.ReadNamed(o.CAFile, limit.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificates of --ca-file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the certificates of --ca-file: no PEM certificate in %s", o.CAFile)
		}
		tlsConfig.RootCAs = pool
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	// Make two transports instead of cloning one. The TLS configuration of a clone would contain
	// the protocols of the first transport.
	transport := func() *http.Transport {
		return &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &conn{Conn: nc, counters: c, speed: o.speed()}, nil
			},
			TLSClientConfig:     tlsConfig.Clone(),
			TLSHandshakeTimeout: dialTimeout,
			Protocols:           new(http.Protocols),
			DisableCompression:  true, // a blob's digest is the digest of the bytes on the wire
			MaxIdleConns:        maxIdleConns,
			MaxIdleConnsPerHost: maxIdleConns,
			IdleConnTimeout:     90 * time.Second,
			WriteBufferSize:     writeBufferSize,
		}
	}
	small, bulk := transport(), transport()
	small.Protocols.SetHTTP1(true)
	small.Protocols.SetHTTP2(true)
	small.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	bulk.Protocols.SetHTTP1(true)
	ua := o.UserAgent
	if ua == "" {
		ua = "nixoci"
	}
	return &wire{small: small, bulk: bulk, userAgent: ua, counters: c}, nil
}

// NewTransport returns a transport for services beside a registry, with the proxy, the certificate
// authorities and the limits of the registry's client.
func NewTransport(o Options) (http.RoundTripper, error) { return newWire(o, new(counters)) }

// writeBufferSize is the size of a connection's write buffer. Layers arrive in much larger pieces.
// net/http copies only the first writeBufferSize bytes of a piece into the buffer, and writes the
// other bytes directly.
const writeBufferSize = 16 << 10

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.counters.requests.Add(1)
	req.Header.Set("User-Agent", w.userAgent)
	transport := w.small
	if req.Body != nil && req.URL.Scheme == "https" {
		transport = w.bulk
	}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		w.counters.answers.Add(1)
	}
	return resp, err
}

func (w *wire) close() {
	w.small.CloseIdleConnections()
	w.bulk.CloseIdleConnections()
}

// conn counts the bytes of a connection, and ends a write that is too slow.
type conn struct {
	net.Conn
	counters *counters
	speed    limit.Speed // least speed of writes
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.counters.received.Add(int64(n))
	return n, err
}

func (c *conn) Write(p []byte) (written int, err error) {
	for {
		patience := c.speed.Patience()
		if patience <= 0 {
			return written, errTooSlow
		}
		start := time.Now()
		if err := c.SetWriteDeadline(start.Add(patience)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:])
		c.speed.Moved(n, time.Since(start))
		c.counters.sent.Add(int64(n))
		written += n
		if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) && written < len(p) {
			continue // the write was slow, but perhaps fast enough
		}
		return written, err
	}
}

// isLoopback reports whether host is this machine, so that the client tries plain http first. host may
// contain a port. Like go-containerregistry, isLoopback also accepts names that end in
// ".localhost". Package keyless does not accept them, because identity tokens go to its services.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
