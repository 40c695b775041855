package registry

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci/ocitest"
)

// TestGetBlobGoesOn checks that a transfer that breaks repeatedly continues where it broke. It uses
// a registry that supports ranges and one that does not.
func TestGetBlobGoesOn(t *testing.T) {
	data := ocitest.Content(1000_000)
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	for _, ranges := range []bool{true, false} {
		var sent, requests atomic.Int64
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n := int(requests.Add(1))
			from := 0
			if h := req.Header.Get("Range"); h != "" && ranges {
				if _, err := fmt.Sscanf(h, "bytes=%d-", &from); err != nil {
					t.Error(err)
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			end := min(len(data), 400_000*n)
			m, _ := w.Write(data[from:end])
			sent.Add(int64(m))
			if end < len(data) {
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}), Options{})
		rc, err := r.GetBlob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			t.Fatal(err)
		}
		sameBytes(t, "blob", got, data)
		if n := requests.Load(); n != 3 {
			t.Errorf("%d requests", n)
		}
		if ranges && sent.Load() > d.Size+100_000 {
			t.Errorf("%d bytes were sent for %d", sent.Load(), d.Size)
		}
	}
}

// TestGetBlobGivesUp checks that a read fails if the blob was deleted during the transfer, or if
// the remaining bytes are wrong.
func TestGetBlobGivesUp(t *testing.T) {
	data := ocitest.Content(100_000)
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	for name, tt := range map[string]struct {
		second func(w http.ResponseWriter)
		want   string
	}{
		"gone": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, "not found"},
		"other rest": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, 50_000))
		}, "the content has digest"},
		"too much": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, 50_001))
		}, "more than 100000 bytes"},
	} {
		var requests atomic.Int64
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if requests.Add(1) > 1 {
				tt.second(w)
				return
			}
			w.Header().Set("Content-Length", "100000")
			w.Write(data[:50_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}), Options{})
		rc, err := r.GetBlob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(rc)
		rc.Close()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, no %q", name, err, tt.want)
		}
	}
}

// TestGetBlobRangeRefused checks a registry that refuses ranges. The registry sends the whole blob
// again, and the client must skip the bytes that it has already.
func TestGetBlobRangeRefused(t *testing.T) {
	data := ocitest.Content(1000_000)
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	var broke atomic.Bool
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if broke.CompareAndSwap(false, true) {
			_, _ = w.Write(data[:400_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(data)
	}), Options{})
	rc, err := r.GetBlob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	got, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "blob", got, data)
}
