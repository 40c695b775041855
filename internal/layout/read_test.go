package layout

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
)

func blobDescriptor(data string) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
}

// sourceFiles returns the files of one image, as an OCI layout and as a docker-archive. layer
// is the content of the layer, even if it does not match the digest.
func sourceFiles(t *testing.T, layer string) (oci, docker map[string]string) {
	t.Helper()
	marshal := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	config, named := "{}", blobDescriptor("layer")
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: blobDescriptor(config), Layers: []ocispec.Descriptor{named}}
	man := marshal(m)
	top := blobDescriptor(man)
	top.MediaType = m.MediaType
	top.Annotations = map[string]string{ocispec.AnnotationRefName: "v1"}
	oci = map[string]string{
		"index.json":                 marshal(ocispec.Index{Manifests: []ocispec.Descriptor{top}}),
		blobFile(top.Digest):         man,
		blobFile(m.Config.Digest):    config,
		blobFile(named.Digest):       layer,
		"oci-layout":                 layoutVersion,
		"blobs/sha256/not-a-blob":    "x",
		"directory/with/other/files": "x",
	}
	docker = map[string]string{
		m.Config.Digest.Encoded() + ".json": config,
		named.Digest.Encoded() + ".tar":     layer,
		"manifest.json":                     marshal([]any{map[string]any{"Config": m.Config.Digest.Encoded() + ".json", "Layers": []string{named.Digest.Encoded() + ".tar"}}}),
	}
	return oci, docker
}

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

func writeDir(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeTar(t *testing.T, files map[string]string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOpenImage(t *testing.T) {
	ociFiles, docker := sourceFiles(t, "layer")
	broken, brokenDocker := sourceFiles(t, "LAYER")
	short, _ := sourceFiles(t, "lay")
	missing, _ := sourceFiles(t, "layer")
	delete(missing, blobFile(digest.FromString("layer")))
	for _, tt := range []struct {
		name, source string
		corrupt      bool // the content of the layer does not match its digest
		missing      bool
	}{
		{name: "layout", source: "oci:" + writeDir(t, ociFiles)},
		{name: "layout with tag", source: "oci:" + writeDir(t, ociFiles) + ":v1"},
		{name: "archive", source: "oci-archive:" + writeTar(t, ociFiles)},
		{name: "archive with tag", source: "oci-archive:" + writeTar(t, ociFiles) + ":v1"},
		{name: "docker archive", source: "docker-archive:" + writeTar(t, docker)},
		{name: "other bytes", source: "oci:" + writeDir(t, broken), corrupt: true},
		{name: "other bytes in archive", source: "oci-archive:" + writeTar(t, broken), corrupt: true},
		{name: "other bytes in docker archive", source: "docker-archive:" + writeTar(t, brokenDocker), corrupt: true},
		{name: "fewer bytes", source: "oci:" + writeDir(t, short), corrupt: true},
		{name: "no blob", source: "oci:" + writeDir(t, missing), missing: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := OpenImage(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			b, err := s.GetManifest(t.Context(), s.TagOrDigest)
			if err != nil {
				t.Fatal(err)
			}
			if digest.FromBytes(b.Data) != b.Descriptor.Digest {
				t.Errorf("manifest of digest %s is described as %s", digest.FromBytes(b.Data), b.Descriptor.Digest)
			}
			var m ocispec.Manifest
			if err := json.Unmarshal(b.Data, &m); err != nil || len(m.Layers) != 1 {
				t.Fatalf("%s: %v", b.Data, err)
			}
			var got []byte
			r, err := s.GetBlob(t.Context(), m.Layers[0])
			if err == nil {
				got, err = io.ReadAll(r)
				r.Close()
			}
			var content *oci.ContentError
			if errors.As(err, &content) != tt.corrupt || errors.Is(err, oci.ErrNotFound) != tt.missing {
				t.Fatalf("error %v", err)
			}
			if !tt.corrupt && !tt.missing && string(got) != "layer" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestOpenImageRefuses(t *testing.T) {
	ociFiles, _ := sourceFiles(t, "layer")
	two := strings.Replace(ociFiles["index.json"], `"manifests":[`, `"manifests":[{"digest":"`+digest.FromString("other").String()+`","size":1},`, 1)
	several, _ := sourceFiles(t, "layer")
	several["index.json"] = two
	for _, tt := range []struct{ source, want string }{
		{"oci:" + t.TempDir(), "index.json"},
		{"oci:" + writeDir(t, several), "2 images"},
		{"oci:" + filepath.Join(t.TempDir(), "missing"), "no such file"},
		{"oci:", "no path"},
		{"oci-archive:" + writeTar(t, map[string]string{"index.json": "{"}), "index.json"},
		{"docker-archive:" + writeTar(t, ociFiles), "manifest.json"},
	} {
		s, err := OpenImage(tt.source)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", tt.source)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, no %q in it", tt.source, err, tt.want)
		}
	}
}
