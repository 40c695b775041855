package oci

import (
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// TestManifestValues checks the limit of JSON values in manifests and in lists of attached documents.
func TestManifestValues(t *testing.T) {
	const start, end = `{"schemaVersion":2,"x":[1`, "]}"
	doc := func(n int) []byte { return []byte(start + strings.Repeat(",1", n-6) + end) }
	limittest.Around(t, limit.ManifestValues, "at most 100000 are read", func(n int) error {
		_, err := CheckManifest(doc(n), "application/vnd.oci.image.manifest.v1+json", "")
		return err
	})
	limittest.Around(t, limit.ManifestValues, "at most 100000 are read", func(n int) error {
		_, err := ParseReferrers(doc(n))
		return err
	})
}
