package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
)

// TestHostileLayouts: a layout written by an attacker must cause an error, not a crash.
func TestHostileLayouts(t *testing.T) {
	data := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	emptyIndex := oci.Blob{Data: data, Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}}
	for index, want := range map[string]string{
		`null`: "null, not an index",
		`{"schemaVersion":2,"manifests":[{"digest":"x","size":1,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`: `digest "x"`,
		`{"schemaVersion":2,"manifests":[{"digest":"rot13:abc","size":1}]}`:                                                  `digest "rot13:abc"`,
		`{"schemaVersion":2,"manifests":[null]}`:                                                                             `digest ""`,
		`{"schemaVersion":2,"manifests":null}`:                                                                               "lists no image",
		`[]`:                                                                                                                 "index.json",
		``:                                                                                                                   "index.json",
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": index} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		read := func() error {
			src, err := OpenImage("oci:" + dir)
			if err != nil {
				return err
			}
			defer src.Close()
			_, err = src.GetManifest(t.Context(), src.TagOrDigest)
			return err
		}
		if err := read(); err == nil || index != "null" && !strings.Contains(err.Error(), want) {
			t.Errorf("read %s: %v", index, err)
		}
		l, err := OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Resolve(t.Context(), "v2"); err == nil || index == "null" && !strings.Contains(err.Error(), want) {
			t.Errorf("resolve in %s: %v", index, err)
		}
		if err := l.PutManifest(t.Context(), emptyIndex, "v2"); err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(t.Context()); index == "null" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("commit to %s: %v", index, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	src := &layoutReader{name: "x", files: dirFiles{}}
	if _, err := src.GetBlob(t.Context(), ocispec.Descriptor{Digest: "x"}); err == nil {
		t.Error("a blob with digest x")
	}
}
