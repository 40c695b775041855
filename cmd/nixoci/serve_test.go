package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// TestServeReferrers checks that the list of referrers contains artifact types, as OCI 1.1
// requires.
func TestServeReferrers(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := httptest.NewServer(withArtifactTypes(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(discardLog))))
	defer s.Close()
	r, err := name.NewRepository(strings.TrimPrefix(s.URL, "http://") + "/web")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := registry.Open(r, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	image := digest.FromString("an image")
	_, err = repo.Attach(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: image, Size: 1},
		[]oci.Artifact{{Type: "application/vnd.example", MediaType: "text/plain", Data: []byte("x"), Annotations: map[string]string{"a": "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(s.URL + "/v2/web/referrers/" + image.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex || !strings.Contains(string(body), `"artifactType":"application/vnd.example"`) || !strings.Contains(string(body), `"a":"b"`) {
		t.Errorf("%s %s, %v", resp.Header, body, err)
	}
}
