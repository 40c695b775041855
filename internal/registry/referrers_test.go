package registry

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/oci/ocitest"
)

var artifacts = []oci.Artifact{
	{Type: "application/vnd.example.statement.v1+json", MediaType: "application/vnd.example.statement.v1+json", Data: []byte(`{"about":"an image"}`)},
	{Type: "application/spdx+json", MediaType: "application/spdx+json", Data: []byte(`{"spdxVersion":"SPDX-2.3"}`), Annotations: map[string]string{"b": "2", "a": "1"}},
}

// artifactDigests are part of the image format: if the same document is attached
// again, the registry must recognize it.
var artifactDigests = []digest.Digest{
	"sha256:5d72eeb235ef8f4f5abdd1c38460b9959545886b7487fa8f8a78b058006eea12",
	"sha256:7769f471449c51e1a3865fe07a9190be927ab2c1b03ad8f6fd622601af5d71c5",
}

// pushSubject puts an image to attach artifacts to.
func pushSubject(t *testing.T, r *Repository) ocispec.Descriptor {
	t.Helper()
	config := ocitest.BlobOf([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`), ocispec.MediaTypeImageConfig)
	if err := r.PutBlob(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config.Descriptor, "layers": []string{}})
	if err != nil {
		t.Fatal(err)
	}
	subject := ocitest.BlobOf(data, ocispec.MediaTypeImageManifest)
	if err := r.PutManifest(t.Context(), subject, "v1"); err != nil {
		t.Fatal(err)
	}
	return subject.Descriptor
}

// counted counts the writes that reach h. before may answer a request first.
type counted struct {
	h      http.Handler
	before func(w http.ResponseWriter, r *http.Request) bool
	writes atomic.Int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		c.writes.Add(1)
	}
	if c.before == nil || !c.before(w, r) {
		c.h.ServeHTTP(w, r)
	}
}

func quietRegistry(options ...ggcr.Option) http.Handler {
	return ggcr.New(append(options, ggcr.Logger(log.New(io.Discard, "", 0)))...)
}

func digestsOf(list []ocispec.Descriptor) (ds []digest.Digest) {
	for _, d := range list {
		ds = append(ds, d.Digest)
	}
	return ds
}

func TestAttach(t *testing.T) {
	for name, api := range map[string]bool{"referrers API": true, "fallback tag": false} {
		t.Run(name, func(t *testing.T) {
			h := &counted{h: quietRegistry(ggcr.WithReferrersSupport(api))}
			r := serve(t, h, Options{})
			subject := pushSubject(t, r)
			if found, err := r.Referrers(t.Context(), subject.Digest); err != nil || len(found) != 0 {
				t.Fatalf("before: %v, %v", found, err)
			}
			// Other fields of an index entry must not change the result.
			listed := subject
			listed.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
			attached, err := r.Attach(t.Context(), listed, artifacts)
			if err != nil {
				t.Fatal(err)
			}
			if got := digestsOf(attached); !slices.Equal(got, artifactDigests) {
				t.Errorf("digests %q, want %q", got, artifactDigests)
			}
			found, err := r.Referrers(t.Context(), subject.Digest)
			if err != nil || len(found) != 2 || found[0].Digest != attached[1].Digest || found[1].Digest != attached[0].Digest {
				t.Fatalf("found %v, %v; want what was attached, by type", found, err)
			}
			for i, d := range []ocispec.Descriptor{found[1], found[0]} {
				a, err := oci.GetArtifact(t.Context(), r, subject.Digest, d)
				if err != nil || a.Type != artifacts[i].Type || !bytes.Equal(a.Data, artifacts[i].Data) || d.ArtifactType != a.Type {
					t.Errorf("artifact %d: %+v, %v", i, a, err)
				}
				if d.Annotations["a"] != artifacts[i].Annotations["a"] {
					t.Errorf("artifact %d is listed with annotations %v", i, d.Annotations)
				}
			}
			_, err = r.GetManifest(t.Context(), FallbackTag(subject.Digest))
			if (err == nil) == api {
				t.Errorf("fallback tag: %v", err)
			}
			writes := h.writes.Load()
			if _, err := r.Attach(t.Context(), subject, artifacts); err != nil || h.writes.Load() != writes {
				t.Errorf("attached again: %v, %d writes more", err, h.writes.Load()-writes)
			}
			if _, err := oci.GetArtifact(t.Context(), r, digest.FromString("another"), found[0]); err == nil || !strings.Contains(err.Error(), "not about") {
				t.Errorf("artifact of another image: %v", err)
			}
		})
	}
}

// TestAttachKeepsOthers checks that the fallback list is merged, even if another
// client overwrites it at the same moment.
func TestAttachKeepsOthers(t *testing.T) {
	h := &counted{h: quietRegistry()}
	r := serve(t, h, Options{})
	subject := pushSubject(t, r)
	foreign, m, err := artifactManifest(subject, oci.Artifact{Type: "application/vnd.example.other", MediaType: "text/plain", Data: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []oci.Blob{emptyBlob, artifactBlob(oci.Artifact{Data: []byte("{}")})} {
		if err := r.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.putReferrer(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	theirs, err := jsonBlob(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex,
		"manifests": []ocispec.Descriptor{foreign}})
	if err != nil {
		t.Fatal(err)
	}
	// The other client has read the empty list, and writes its own after ours.
	overwrites := 0
	h.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPut || !strings.HasSuffix(req.URL.Path, "/"+FallbackTag(subject.Digest)) || overwrites == 2 {
			return false
		}
		overwrites++
		rec := httptest.NewRecorder()
		h.h.ServeHTTP(rec, req)
		again := req.Clone(req.Context())
		again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(theirs.Data)), theirs.Descriptor.Size
		h.h.ServeHTTP(httptest.NewRecorder(), again)
		w.WriteHeader(rec.Code)
		return true
	}
	attached, err := r.Attach(t.Context(), subject, artifacts)
	if err != nil {
		t.Fatal(err)
	}
	found, err := r.Referrers(t.Context(), subject.Digest)
	if err != nil || overwrites != 2 || !holds(found, append(attached, foreign)...) || len(found) != 3 {
		t.Errorf("after %d overwrites: %v, %v", overwrites, digestsOf(found), err)
	}
}

func TestReferrersPages(t *testing.T) {
	descriptor := func(s string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(s), Size: 1, ArtifactType: s}
	}
	var link string
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.Contains(req.URL.Path, "/referrers/") {
			return
		}
		page := []ocispec.Descriptor{descriptor("c"), descriptor("a")}
		if req.URL.Query().Get("last") == "" {
			w.Header().Set("Link", link)
		} else {
			page = []ocispec.Descriptor{descriptor("b"), descriptor("c")}
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "manifests": page})
	}), Options{})
	for _, tt := range []struct {
		link string
		want int
	}{
		{`</v2/app/system/referrers/x?last=1>; rel="next"`, 3},
		{`</v2/app/system/referrers/x?last=1>; rel=next`, 3},
		{`<http://evil.example/v2/referrers/x?last=1>; rel="next"`, 2},
		{``, 2},
	} {
		link = tt.link
		found, err := r.Referrers(t.Context(), digest.FromString("x"))
		if err != nil || len(found) != tt.want || !slices.IsSortedFunc(found, func(a, b ocispec.Descriptor) int { return strings.Compare(a.ArtifactType, b.ArtifactType) }) {
			t.Errorf("link %q: %v, %v", tt.link, found, err)
		}
	}
}

// TestReferrersDraft checks that a list without artifact types is completed from
// the manifests.
func TestReferrersDraft(t *testing.T) {
	h := quietRegistry(ggcr.WithReferrersSupport(true))
	r := serve(t, h, Options{})
	subject := pushSubject(t, r)
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": "application/vnd.example",
		"config": ocispec.DescriptorEmptyJSON, "layers": []ocispec.Descriptor{ocispec.DescriptorEmptyJSON}, "subject": subject, "annotations": map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutBlob(t.Context(), emptyBlob); err != nil {
		t.Fatal(err)
	}
	if err := r.PutManifest(t.Context(), ocitest.BlobOf(data, ocispec.MediaTypeImageManifest), ""); err != nil {
		t.Fatal(err)
	}
	found, err := r.Referrers(t.Context(), subject.Digest)
	if err != nil || len(found) != 1 || found[0].ArtifactType != "application/vnd.example" || found[0].Annotations["a"] != "b" {
		t.Errorf("%+v, %v", found, err)
	}
}
