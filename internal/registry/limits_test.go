package registry

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
	"github.com/nixoci/nixoci/internal/oci"
)

func TestManifestSize(t *testing.T) {
	limittest.Around(t, limit.Manifest, "larger than 4194304 bytes", func(n int) error {
		text := `{"mediaType":"` + ocispec.MediaTypeImageIndex + `"}`
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, text+strings.Repeat(" ", n-len(text)))
		}), Options{})
		_, err := r.GetManifest(t.Context(), "v1")
		return err
	})
}

func TestArtifactSize(t *testing.T) {
	subject := oci.Blob{Data: []byte("{}"), Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("{}"), Size: 2}}
	data := make([]byte, limit.Artifact+1)
	for i := range data {
		data[i] = 'x'
	}
	limittest.Around(t, limit.Artifact, "at most 67108864", func(n int) error {
		text := data[:n]
		d := ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromBytes(text), Size: int64(n)}
		manifest, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{d}, Subject: &subject.Descriptor})
		if err != nil {
			t.Fatal(err)
		}
		r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				w.Write(text)
				return
			}
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Write(manifest)
		}), Options{})
		a, err := oci.GetArtifact(t.Context(), r, subject.Descriptor.Digest, ocispec.Descriptor{Digest: digest.FromBytes(manifest), Size: int64(len(manifest))})
		if err == nil && len(a.Data) != n {
			err = fmt.Errorf("%d bytes", len(a.Data))
		}
		return err
	})
}

// pages serves n items in pages of at most size items. Each page except the last links to the next.
func pages(t *testing.T, n, size int, write func(w http.ResponseWriter, from, to int)) *Repository {
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := 0
		fmt.Sscan(r.URL.Query().Get("from"), &from)
		to := min(from+size, n)
		if to < n {
			w.Header().Set("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, r.URL.Path, to))
		}
		write(w, from, to)
	}), Options{})
}

func TestReferrersLimits(t *testing.T) {
	list := func(n, size int) error {
		r := pages(t, n, size, func(w http.ResponseWriter, from, to int) {
			page := []ocispec.Descriptor{}
			for i := from; i < to; i++ {
				page = append(page, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1, ArtifactType: "a/b"})
			}
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "manifests": page})
		})
		found, err := r.Referrers(t.Context(), digest.FromString("x"))
		if err == nil && len(found) != n {
			err = fmt.Errorf("%d documents", len(found))
		}
		return err
	}
	limittest.Around(t, limit.Referrers, "more than 1000 documents", func(n int) error { return list(n, 100) })
	limittest.Around(t, limit.ReferrerPages, "more than 100 pages", func(n int) error { return list(n, 1) })
}

func TestTagsLimits(t *testing.T) {
	list := func(n, size int) error {
		r := pages(t, n, size, func(w http.ResponseWriter, from, to int) {
			page := []string{}
			for i := from; i < to; i++ {
				page = append(page, fmt.Sprint("v", i))
			}
			json.NewEncoder(w).Encode(map[string]any{"name": "x", "tags": page})
		})
		found, err := r.Tags(t.Context())
		if err == nil && len(found) != n {
			err = fmt.Errorf("%d tags", len(found))
		}
		return err
	}
	limittest.Around(t, limit.Tags, "more than 20000 tags", func(n int) error { return list(n, 1000) })
	limittest.Around(t, limit.TagPages, "more than 200 pages", func(n int) error { return list(n, 1) })
}

func TestCertificatesSize(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"tags":["v1"]}`) }))
	defer s.Close()
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	file := filepath.Join(t.TempDir(), "ca.pem")
	limittest.Around(t, limit.KeyFile, "more than 1048576 bytes", func(n int) error {
		if err := os.WriteFile(file, []byte(text+strings.Repeat("\n", n-len(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := newWire(Options{CAFile: file}, &counters{})
		if err != nil {
			return err
		}
		defer w.close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		if err != nil {
			return err
		}
		resp, err := w.RoundTrip(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	})
}
