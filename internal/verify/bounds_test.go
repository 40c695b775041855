package verify

import (
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/manifest"
)

// TestCompressionOfSystemLayer checks that verify finds a wrong compression annotation of the
// system layer, and continues.
func TestCompressionOfSystemLayer(t *testing.T) {
	for name, edit := range map[string]func(a map[string]string){
		"missing": func(a map[string]string) { delete(a, manifest.AnnotationCompression) },
		"unknown": func(a map[string]string) { a[manifest.AnnotationCompression] = "rot13:99" },
		"level":   func(a map[string]string) { a[manifest.AnnotationCompression] = "zstd:-1" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSample(t, "x86_64-linux")
			last := len(s.manifests[0].Layers) - 1
			edit(s.manifests[0].Layers[last].Annotations)
			dir := s.layout()
			for _, keepGoing := range []bool{false, true} {
				r := verified(t, dir, Options{KeepGoing: keepGoing})
				if r.OK || len(r.Findings) == 0 || !strings.Contains(r.Findings[0].What, "compression") {
					t.Errorf("keep going %t: %v", keepGoing, r.Findings)
				}
			}
		})
	}
}
