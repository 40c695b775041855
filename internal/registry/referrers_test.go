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
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/oci/ocitest"
	"github.com/nixoci/nixoci/internal/retry"
)

var artifacts = []oci.Artifact{
	{Type: "application/vnd.example.statement.v1+json", MediaType: "application/vnd.example.statement.v1+json", Data: []byte(`{"about":"an image"}`)},
	{Type: "application/spdx+json", MediaType: "application/spdx+json", Data: []byte(`{"spdxVersion":"SPDX-2.3"}`), Annotations: map[string]string{"b": "2", "a": "1"}},
}

// artifactDigests are part of the image format. If a client attaches the same document again, the
// registry must recognize it by its digest.
var artifactDigests = []digest.Digest{
	"sha256:3330539587633b7c041cdcbb196e3ed7dfa9e13d984ea92ba611b9c7e4ddb9ad",
	"sha256:e3fcd7fb8d543280593bf8287e148e4b880c2ac34f14061bf963a85f2b7f3ed2",
}

// pushSubject pushes an image to which a test attaches artifacts.
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

// counted counts the writes that reach h. before may answer a request instead of h.
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
			// Other fields of an index entry must not change the digests of the attached documents.
			listed := subject
			listed.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
			attached, err := r.Attach(t.Context(), listed, artifacts)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range attached {
				if a.Digest != artifactDigests[i] || !a.New {
					t.Errorf("artifact %d: %+v, want the digest %s", i, a, artifactDigests[i])
				}
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
			again, err := r.Attach(t.Context(), subject, artifacts)
			if err != nil || h.writes.Load() != writes || len(again) != 2 || again[0].New || again[1].New {
				t.Errorf("attached again: %+v, %v, %d writes more", again, err, h.writes.Load()-writes)
			}
			if _, err := oci.GetArtifact(t.Context(), r, digest.FromString("another"), found[0]); err == nil || !strings.Contains(err.Error(), "its subject is not") {
				t.Errorf("artifact of another image: %v", err)
			}
		})
	}
}

// TestAttachKeepsOthers checks that Attach merges the fallback list, even if another client
// overwrites the list at the same moment.
func TestAttachKeepsOthers(t *testing.T) {
	h := &counted{h: quietRegistry()}
	r := serve(t, h, Options{})
	subject := pushSubject(t, r)
	foreign, m, err := artifactManifest(subject, oci.Artifact{Type: "application/vnd.example.other", MediaType: "text/plain", Data: []byte("{}")}, ocispec.MediaTypeEmptyJSON)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []oci.Blob{emptyBlob, oci.NewBlob("", []byte("{}"))} {
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
	// The other client has read the empty list, and writes its own list after ours.
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
	if err != nil || overwrites != 2 || !holds(found, attached[0].Descriptor, attached[1].Descriptor, foreign) || len(found) != 3 {
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

// TestReferrersDraft checks that Referrers reads the artifact types from the manifests if the list
// does not contain them.
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

// TestAttachForms checks the media type of an attached document's config. If the registry refuses
// the empty config, the config must have the artifact type as its media type. If the registry
// accepts only images, it must have the media type of an image config. If a document is attached in
// one form, it must not be attached again in another.
func TestAttachForms(t *testing.T) {
	for config, refuses := range map[string][]string{
		ocispec.MediaTypeEmptyJSON:   nil,
		"application/vnd.example":    {ocispec.MediaTypeEmptyJSON},
		ocispec.MediaTypeImageConfig: {ocispec.MediaTypeEmptyJSON, "application/vnd.example"},
		"":                           {ocispec.MediaTypeEmptyJSON, "application/vnd.example", ocispec.MediaTypeImageConfig},
	} {
		t.Run(config, func(t *testing.T) {
			inner, refusing := quietRegistry(ggcr.WithReferrersSupport(true)), refuses
			r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/manifests/") {
					body, err := io.ReadAll(q.Body)
					if err != nil {
						t.Error(err)
					}
					var m ocispec.Manifest
					if err := json.Unmarshal(body, &m); err != nil {
						t.Error(err)
					}
					if m.Subject != nil && slices.Contains(refusing, m.Config.MediaType) {
						http.Error(w, `{"errors":[{"code":"MANIFEST_INVALID","message":"unknown media type"}]}`, http.StatusBadRequest)
						return
					}
					q.Body = io.NopCloser(bytes.NewReader(body))
				}
				inner.ServeHTTP(w, q)
			}), Options{})
			subject := pushSubject(t, r)
			artifact := []oci.Artifact{{Type: "application/vnd.example", MediaType: "text/plain", Data: []byte("x")}}
			attached, err := r.Attach(t.Context(), subject, artifact)
			if config == "" {
				if err == nil || !strings.Contains(err.Error(), "MANIFEST_INVALID") {
					t.Errorf("refused in every form: %v, %v", attached, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := r.GetManifest(t.Context(), attached[0].Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			var m ocispec.Manifest
			if err := json.Unmarshal(b.Data, &m); err != nil || m.Config.MediaType != config || m.ArtifactType != "application/vnd.example" {
				t.Errorf("%s, %v", b.Data, err)
			}
			refusing = nil // the registry now accepts every form, and still nothing may be attached twice
			if again, err := r.Attach(t.Context(), subject, artifact); err != nil || again[0].Digest != attached[0].Digest || again[0].New {
				t.Errorf("again: %v, %v", again, err)
			}
			if found, err := r.Referrers(t.Context(), subject.Digest); err != nil || len(found) != 1 || found[0].ArtifactType != "application/vnd.example" {
				t.Errorf("%v, %v", found, err)
			}
		})
	}
}

// TestReferrersThrottled checks a registry that redirects the request for the list to a server that
// answers 429. If a list exists under the fallback tag, Referrers must return that list. If there
// is none, it must return an error and not an empty list.
func TestReferrersThrottled(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusTooManyRequests) }))
	t.Cleanup(page.Close)
	registry := quietRegistry(ggcr.WithReferrersSupport(false))
	redirect := false
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if redirect && strings.Contains(q.URL.Path, "/referrers/") {
			http.Redirect(w, q, page.URL, http.StatusFound)
			return
		}
		registry.ServeHTTP(w, q)
	}), Options{Retry: retry.Schedule{Delay: func(int) time.Duration { return 0 }}})
	subject := pushSubject(t, r)
	if _, err := r.Attach(t.Context(), subject, artifacts); err != nil {
		t.Fatal(err)
	}
	redirect = true
	if found, err := r.Referrers(t.Context(), subject.Digest); err != nil || len(found) != len(artifacts) {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := r.Referrers(t.Context(), digest.FromString("bare")); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("nothing under the tag: %v, %v", found, err)
	}
}
