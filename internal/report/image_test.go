package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/terminal"
)

// foreignLayout writes a layout with an image as other tools make it: it has one manifest and
// no recipes, and names in the tar begin with ./. foreignLayout also attaches a document to
// the image.
func foreignLayout(t *testing.T, paths ...string) string {
	t.Helper()
	dir := t.TempDir()
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		file := filepath.Join(dir, "blobs/sha256", d.Digest.Encoded())
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return d
	}
	object := func(mediaType string, v any) ocispec.Descriptor {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return blob(mediaType, data)
	}
	var plain, layer bytes.Buffer
	tw := tar.NewWriter(&plain)
	for _, p := range append(paths, "./etc/passwd", "./nix/store/.links/x") {
		if err := tw.WriteHeader(&tar.Header{Name: p, Typeflag: tar.TypeReg, Mode: 0o644, Size: 4}); err != nil {
			t.Fatal(err)
		}
		tw.Write([]byte("text"))
	}
	tw.Close()
	zw := gzip.NewWriter(&layer)
	zw.Write(plain.Bytes())
	zw.Close()
	l := blob(ocispec.MediaTypeImageLayerGzip, layer.Bytes())
	config := object(ocispec.MediaTypeImageConfig, map[string]any{"os": "linux", "architecture": "amd64", "created": "2024-05-31T00:00:00Z",
		"config": map[string]any{"Cmd": []string{"/bin/sh"}, "Env": []string{"A=b"}, "ExposedPorts": map[string]any{"80/tcp": map[string]any{}}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromBytes(plain.Bytes()).String()}}})
	m := object(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": config, "layers": []ocispec.Descriptor{l}})
	m.Annotations = map[string]string{ocispec.AnnotationRefName: "v1"}
	statement := object(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"artifactType": "application/vnd.example", "config": blob(ocispec.MediaTypeEmptyJSON, []byte("{}")),
		"layers":  []ocispec.Descriptor{blob("text/plain", []byte("fine"))},
		"subject": map[string]any{"mediaType": m.MediaType, "digest": m.Digest, "size": m.Size}})
	statement.ArtifactType = "application/vnd.example"
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []ocispec.Descriptor{m, statement}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"index.json": string(index), "oci-layout": `{"imageLayoutVersion":"1.0.0"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadForeignImage(t *testing.T) {
	a, b := "nix/store/"+strings.Repeat("a", 32)+"-x-1", "nix/store/"+strings.Repeat("b", 32)+"-y-2"
	src, err := layout.OpenImage("oci:" + foreignLayout(t, "./"+b+"/bin/y", "./"+a, "/"+b+"/lib"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	read := 0
	img, err := ReadImage(t.Context(), src, ReadOptions{Paths: true, Reading: func(n int, _ int64) { read += n }})
	if err != nil {
		t.Fatal(err)
	}
	p, err := img.Only()
	if err != nil || read != 1 {
		t.Fatalf("%d layers read, %v", read, err)
	}
	want := []closure.StorePath{closure.StorePath("/" + a), closure.StorePath("/" + b)}
	if l := p.Layers[0]; !slices.Equal(l.Paths, want) || l.TarSize == 0 || l.System {
		t.Errorf("layer %+v", l)
	}
	if _, err := p.NixClosure(); err == nil {
		t.Error("a closure without a database")
	}
	if len(img.Attached) != 1 {
		t.Fatalf("attached: %v", img.Attached)
	}
	doc, err := oci.GetArtifact(t.Context(), src, img.Descriptor.Digest, img.Attached[0].Descriptor)
	if err != nil || string(doc.Data) != "fine" || doc.Type != "application/vnd.example" {
		t.Errorf("attached: %+v, %v", doc, err)
	}
	var text bytes.Buffer
	if err := Inspect(img).WriteText(terminal.New(&text), false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"OCI manifest, 1 platform", "attached  application/vnd.example  " + human.Digest(img.Attached[0].Descriptor.Digest.String()) + ", not signed\n", "runs      /bin/sh", "ports     80/tcp", "created   2024-05-31T00:00:00Z"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}

// TestReadDamagedLayer checks that reading a layer with a wrong digest fails and returns no
// store paths.
func TestReadDamagedLayer(t *testing.T) {
	dir := foreignLayout(t, "./nix/store/"+strings.Repeat("a", 32)+"-x-1")
	src, err := layout.OpenImage("oci:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	img, err := ReadImage(t.Context(), src, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l := img.Platforms[0].Layers[0].Descriptor
	file := filepath.Join(dir, "blobs/sha256", l.Digest.Encoded())
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[3] ^= 0x10 // this bit in the gzip header means "has a comment"
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadImage(t.Context(), src, ReadOptions{Paths: true}); err == nil || !strings.Contains(err.Error(), l.Digest.String()) {
		t.Errorf("%v", err)
	}
}

// TestStatementText checks the line about an attached in-toto statement. Anybody who may push can
// attach any text under this type.
func TestStatementText(t *testing.T) {
	const prefix = attest.StatementType + "  sha256:0123456789ab"
	for content, want := range map[string]string{
		"":                               ``,
		`{}`:                             ``,
		`[1]`:                            ``,
		`{"predicateType": 1}`:           ``,
		`{"predicateType": "https://x"}`: `  https://x`,
		`{"predicateType": "https://slsa.dev/provenance/v1", "predicate": {"runDetails": {"builder": {"id": "https://b", "version": {"v": "1"}}}}}`: `  https://slsa.dev/provenance/v1, built by https://b, v 1`,
		`{"predicateType": "p", "predicate": {"buildDefinition": {"externalParameters": {"closures": [{"sources": [{"flake": "f#a"}, {"file": "/b.nix"}]},
			{"sources": [{"flake": "f#a"}, {"flake": "g#a", "dirty": true}, {"nixoci": "base"}, {}]}]}}}}`: `  p, from f#a and /b.nix and g#a (with uncommitted changes) and nixoci's own base`,
	} {
		a := AttachedDocument{ArtifactType: attest.StatementType, Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4), Statement: json.RawMessage(content)}
		if got := a.text(); got != prefix+want {
			t.Errorf("%s: %q", content, got)
		}
		if kind, says := a.describe(); !a.unsigned() || says != strings.TrimSpace(want) || (kind == "provenance") != strings.Contains(want, "slsa") {
			t.Errorf("%s: %s, %q", content, kind, says)
		}
	}
}
