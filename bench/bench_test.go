package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestSlowLink checks that a link delays each request by its latency, and each new connection
// by an additional latency. The link must not exceed its bandwidth.
func TestSlowLink(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	through := func(latency time.Duration, bits int64, size int) (first, second time.Duration) {
		t.Helper()
		link, err := newSlowLink(server.Listener.Addr().String(), latency, bits)
		if err != nil {
			t.Fatal(err)
		}
		defer link.Close()
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for _, took := range []*time.Duration{&first, &second} {
			begin := time.Now()
			resp, err := client.Post("http://"+link.Addr(), "", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			*took = time.Since(begin)
		}
		return first, second
	}
	if first, second := through(40*time.Millisecond, 0, 10); first < 80*time.Millisecond || second < 40*time.Millisecond {
		t.Errorf("at 40 ms a request took %v on a new connection, then %v", first, second)
	}
	// 400 kB at 8 Mbit/s take 0.4 s, minus a tenth of a second that the link may save by
	// catching up.
	if first, _ := through(0, 8_000_000, 400_000); first < 300*time.Millisecond {
		t.Errorf("400 kB at 8 Mbit/s took %v", first)
	}
}

// TestCountingProxy checks that the proxy counts bodies in both directions. It must return
// the server's responses, and redirects in them must lead to the proxy.
func TestCountingProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "http://"+r.Host+"/next")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, "12345")
	}))
	defer server.Close()
	proxy := newCountingProxy(server.Listener.Addr().String())
	defer proxy.Close()
	for range 2 {
		resp, err := http.Post(proxy.URL+"/v2/", "", strings.NewReader("1234567"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != proxy.URL+"/next" {
			t.Errorf("%s, Location %s", resp.Status, resp.Header.Get("Location"))
		}
	}
	proxy.Close() // Close waits for the end of the requests; the proxy may count only after the response
	if n, s, r := proxy.requests.Load(), proxy.sent.Load(), proxy.received.Load(); n != 2 || s != 14 || r != 10 {
		t.Errorf("%d requests, %d bytes sent, %d received; want 2, 14, 10", n, s, r)
	}
}

func TestMedian(t *testing.T) {
	o := &outcome{Runs: []sample{{Wall: 3}, {Wall: 1}, {Wall: 100}}}
	if m := o.median(wall); m != 3 {
		t.Errorf("of three %v", m)
	}
	o.Runs = append(o.Runs, sample{Wall: 5})
	if m := o.median(wall); m != 4 {
		t.Errorf("of four %v", m)
	}
	if m := (*outcome)(nil).median(wall); m != 0 {
		t.Errorf("of none %v", m)
	}
}

// TestPage checks that the page shows the results, and shows only cases that were run.
func TestPage(t *testing.T) {
	r := &results{
		Machine: machine{CPU: "Abacus", CPUs: 2},
		Limit:   limit{TarSize: 1e9, Read: 1, SHA256: 2, Comp: map[string]compLimit{"gzip": {Compress: 4, SHA256: 1, Size: 4e8}}},
		Cases: map[string]*outcome{
			"store gzip cold": {Runs: []sample{{Wall: 8, CPU: 12, Registry: 2}}, Image: 420e6, Counted: &traffic{Requests: 309, Sent: 421e6}},
			"http gzip update, fresh machine": {Runs: []sample{{Wall: 2, Others: 0.5}},
				Counted: &traffic{Requests: 100, Cache: 7, Nars: 101e6, NarsNeeded: 100e6, Narinfos: 3e6}},
			"peer: nix2container cold": {Runs: []sample{{Wall: 16, CPU: 24, Registry: 4}}, Image: 400e6, Layers: 100, Counted: &traffic{Requests: 112, Sent: 401e6}},
			"store zstd cold":          {},
			"verify gzip":              {Runs: []sample{{Wall: 5, CPU: 10, Peak: 50e6}}, Image: 420e6, Counted: &traffic{Requests: 116, Received: 421e6}},
		},
		Verify: map[string]verifyLimit{"gzip": {Receive: 0.5, Decompress: 6, SHA256Blob: 0.5, SHA256Tar: 1, SHA256NAR: 1}},
	}
	page := r.page()
	for _, want := range []string{
		"2 × Abacus",
		"| store gzip cold | 8.00 | 12.00 | 2.00 |",
		"1.010 ×", // bytes of downloaded NARs, divided by bytes of needed NARs
		"50 % !",  // share of the processors that other processes used
		"| gzip | 4.00 | 1.00 | 400.0 | 420.0 | 12.00 | 14.00 | 86 % | 6.00 | 8.00 | 75 % |",
		"| nix2container cold | 16.00 | 24.00 | 4.00 | 0 | 112 | 401.0 | 400.0 | 100 | 2.0 × | 2.0 × | +5.0 % |  |  |  |",
		"| verify gzip | 5.00 | 10.00 | 0.00 | 50 | 116 | 421.0 | 420.0 | 0 % |",
		"| verify gzip | 0.50 | 6.00 | 0.50 | 1.00 | 1.00 | 7.50 | 9.00 | 10.00 | 75 % | 90 % |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if strings.Contains(page, "| store zstd cold") {
		t.Error("the page has a case that was not run")
	}
}

// TestPageWithoutVerify checks that results from before the cases of verify have no section
// about verify.
func TestPageWithoutVerify(t *testing.T) {
	r := &results{Cases: map[string]*outcome{"store gzip cold": {Runs: []sample{{Wall: 8}}}}}
	if page := r.page(); !strings.Contains(page, "| store gzip cold |") || strings.Contains(page, "Verifying") {
		t.Errorf("page of results without verify:\n%s", page)
	}
}

// TestVerifyLimit checks that the limit contains the work of every step, for each
// compression, and that a damaged blob is an error.
func TestVerifyLimit(t *testing.T) {
	tar := bytes.Repeat([]byte("0123456789abcdef"), pieceSize/8) // two pieces
	tar = append(tar, "the third piece is short"...)
	for _, k := range []struct {
		mediaType string
		writer    func(io.Writer) io.WriteCloser
	}{
		{ocispec.MediaTypeImageLayerGzip, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }},
		{ocispec.MediaTypeImageLayerZstd, func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z }},
		{ocispec.MediaTypeImageLayer, nil},
	} {
		var blob bytes.Buffer
		if k.writer == nil {
			blob.Write(tar)
		} else {
			w := k.writer(&blob)
			if _, err := w.Write(tar); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var lim verifyLimit
		piece := make([]byte, pieceSize)
		if err := lim.measure(blob.Bytes(), k.mediaType, piece); err != nil {
			t.Fatalf("%s: %v", k.mediaType, err)
		}
		if lim.TarSize != int64(len(tar)) || lim.BlobSize != int64(blob.Len()) || lim.SHA256Blob <= 0 {
			t.Errorf("%s: %+v, the tar has %d bytes, the blob %d", k.mediaType, lim, len(tar), blob.Len())
		}
		if k.writer == nil {
			continue
		}
		if lim.Decompress <= 0 || lim.SHA256Tar <= 0 {
			t.Errorf("%s: %+v", k.mediaType, lim)
		}
		if err := new(verifyLimit).measure(blob.Bytes()[:blob.Len()-9], k.mediaType, piece); err == nil {
			t.Errorf("%s: a blob without its end is no error", k.mediaType)
		}
	}
}

func TestThrottleUnlimited(t *testing.T) {
	var zero throttle
	begin := time.Now()
	for range 1000 {
		zero.wait(1 << 30)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("no limit took %v", took)
	}
}
