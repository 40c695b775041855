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

// How long silence lasts before it counts as a hang. There is no limit on the
// time that a transfer as a whole may take, as long as it is not too slow. Three
// commits without an answer, each with a look whether the blob is there, stay
// below limit.Operation.
const (
	dialTimeout   = 15 * time.Second
	answerTimeout = 30 * time.Second   // from a small request to its response
	commitTimeout = 45 * time.Second   // object stores copy and hash a blob before they answer
	lookTimeout   = 10 * time.Second   // whether a blob is there after a commit without an answer
	stallTimeout  = limit.LeastSpeedIn // in which a body makes its least speed, either way
)

// maxIdleConns is above every limit in limit.go, so that no connection is
// closed only to be opened again.
const maxIdleConns = 2 * defaultRequests

// Stats is what was exchanged with a registry, token server and blob store
// included. Bytes are those on the wire: headers and TLS count.
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

// wire sends requests as they are: no credentials, no retries. What carries a
// body goes over HTTP/1.1, one connection each: the streams of an HTTP/2
// connection share one congestion window, and many servers grant a stream only
// 64 KiB, which is 2 MB/s at 30 ms.
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
	// Made twice, not cloned: a clone has the protocols of the first in its TLS
	// configuration.
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
			DisableCompression:  true, // blobs are compared by digest
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

// writeBufferSize is that of a connection. Layers arrive in pieces much larger
// than it, of which net/http writes all but the first writeBufferSize bytes
// without copying them.
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

// conn counts bytes and ends a write that is too slow.
type conn struct {
	net.Conn
	counters *counters
	speed    limit.Speed // of writes
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
			continue // slow, but perhaps not too slow
		}
		return written, err
	}
}

// isLoopback reports whether host, with or without a port, is this machine.
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
