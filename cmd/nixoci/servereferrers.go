package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// withArtifactTypes adds the artifact types of OCI 1.1 to the lists of referrers. The
// registry of go-containerregistry follows an older draft of OCI. Instead of the artifact
// type it lists the media type of the config, which is always the type of the empty config.
func withArtifactTypes(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		repository, _, isList := strings.Cut(q.URL.Path, "/referrers/")
		if q.Method != http.MethodGet || !isList {
			inner.ServeHTTP(w, q)
			return
		}
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, q)
		body := answer.Body.Bytes()
		var index ocispec.Index
		if answer.Code == http.StatusOK && json.Unmarshal(body, &index) == nil {
			for i := range index.Manifests {
				d := &index.Manifests[i]
				get := q.Clone(q.Context())
				get.URL.Path = repository + "/manifests/" + d.Digest.String()
				manifest := httptest.NewRecorder()
				inner.ServeHTTP(manifest, get)
				var m ocispec.Manifest
				if json.Unmarshal(manifest.Body.Bytes(), &m) == nil {
					d.ArtifactType = cmp.Or(m.ArtifactType, d.ArtifactType)
				}
			}
			if complete, err := json.Marshal(index); err == nil {
				body = complete
			}
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		_, _ = bytes.NewReader(body).WriteTo(w) // an error only means that the client has disconnected
	})
}
