package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

func TestClaimsReadBack(t *testing.T) {
	for _, comp := range []layers.Compression{gzip5, {Algorithm: "zstd", Level: 3}, {Algorithm: "none"}} {
		for _, docker := range []bool{false, true} {
			if docker && comp.Algorithm == "zstd" {
				continue
			}
			sys := smallSystem(t, "x86_64-linux")
			packed := smallLayers(sys, comp, "x")
			img, err := imageOf(sys, packed, Settings{Docker: docker})
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseManifest(img.Manifest.Data, img.Manifest.Descriptor.MediaType)
			if err != nil {
				t.Fatal(err)
			}
			for _, config := range [][]byte{nil, img.Config.Data} {
				claims, err := m.Claims(config)
				if err != nil {
					t.Fatal(err)
				}
				if len(claims.Rejected) > 0 || len(claims.Recipes()) != len(packed) {
					t.Errorf("%s: rejected %v", comp, claims.Rejected)
				}
				for _, p := range packed {
					if got, ok := claims.Lookup(p.Layer); !ok || got != p.Packed {
						t.Errorf("%s: claim is %+v, %v, want %+v", comp, got, ok, p.Packed)
					}
					other := *p.Layer
					other.Compression = layers.Compression{Algorithm: layers.Zstd, Level: 9}
					if _, ok := claims.Lookup(&other); ok {
						t.Errorf("%s: the claim is taken for %s", comp, other.Compression)
					}
				}
			}
		}
	}
}

// TestClaimsRejected: a wrong claim must be rejected, and the claims about the other layers
// must stay.
func TestClaimsRejected(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	img, err := imageOf(sys, smallLayers(sys, gzip5, "x"), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(k, v string) func(*ocispec.Descriptor) {
		return func(d *ocispec.Descriptor) { d.Annotations[k] = v }
	}
	for _, tt := range []struct {
		name string
		edit func(*ocispec.Descriptor)
		want string
	}{
		{"recipe", set(AnnotationRecipe, "sha256:12"), "64 hexadecimal digits"},
		{"recipe in capitals", set(AnnotationRecipe, "sha256:"+strings.Repeat("A", 64)), "64 hexadecimal digits"},
		{"diffID", set(AnnotationDiffID, "sha256:12"), "diffID"},
		{"diffID of another kind", set(AnnotationDiffID, "sha512:"+strings.Repeat("a", 128)), "not a sha256"},
		{"no diffID", func(d *ocispec.Descriptor) { delete(d.Annotations, AnnotationDiffID) }, "diffID"},
		{"another diffID", set(AnnotationDiffID, "sha256:"+strings.Repeat("a", 64)), "the config has"},
		{"diffID is digest", func(d *ocispec.Descriptor) { d.Annotations[AnnotationDiffID] = d.Digest.String() }, "the same digest"},
		{"tar size", set(AnnotationTarSize, "1.5"), "not a number"},
		{"tar size negative", set(AnnotationTarSize, "-512"), "not the size of a tar"},
		{"tar size odd", set(AnnotationTarSize, "10241"), "not the size of a tar"},
		{"size", func(d *ocispec.Descriptor) { d.Size = 0 }, "not positive"},
		{"media type", func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageLayerZstd }, "does not fit"},
		{"compression", set(AnnotationCompression, "zstd:3"), "does not fit"},
		{"no compression", set(AnnotationCompression, ""), "not in the form that nixoci writes"},
		{"other media type", func(d *ocispec.Descriptor) { d.MediaType = "application/x-foo" }, "does not fit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseManifest(img.Manifest.Data, "")
			if err != nil {
				t.Fatal(err)
			}
			tt.edit(&m.Layers[1])
			claims, err := m.Claims(img.Config.Data)
			if err != nil {
				t.Fatal(err)
			}
			if len(claims.Rejected) != 1 || !strings.Contains(claims.Rejected[0].Error(), tt.want) {
				t.Errorf("rejected %v, want one that has %q", claims.Rejected, tt.want)
			}
			if n := len(claims.Recipes()); n != len(m.Layers)-1 {
				t.Errorf("%d claims hold, want %d", n, len(m.Layers)-1)
			}
		})
	}
	t.Run("one recipe, two blobs", func(t *testing.T) {
		m, _ := ParseManifest(img.Manifest.Data, "")
		m.Layers[1].Annotations[AnnotationRecipe] = m.Layers[0].Annotations[AnnotationRecipe]
		claims, err := m.Claims(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(claims.Rejected) != 1 || len(claims.Recipes()) != len(m.Layers)-2 {
			t.Errorf("rejected %v, kept %d of %d", claims.Rejected, len(claims.Recipes()), len(m.Layers))
		}
	})
	t.Run("no claims", func(t *testing.T) {
		m, _ := ParseManifest(img.Manifest.Data, "")
		for i := range m.Layers {
			m.Layers[i].Annotations = nil
		}
		claims, err := m.Claims(nil)
		if err != nil || len(claims.Rejected) > 0 || len(claims.Recipes()) > 0 {
			t.Errorf("another tool's layers: %v, %v, %d", err, claims.Rejected, len(claims.Recipes()))
		}
	})
	t.Run("another config", func(t *testing.T) {
		m, _ := ParseManifest(img.Manifest.Data, "")
		if _, err := m.Claims(append(bytes.Clone(img.Config.Data), ' ')); err == nil {
			t.Error("a config with another digest is taken")
		}
	})
}

func TestParseRefuses(t *testing.T) {
	img := mustImage(t, "x86_64-linux", Settings{})
	index, err := NewIndex([]*PlatformImage{img}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	man, ind := string(img.Manifest.Data), string(index.Data)
	for _, tt := range []struct {
		name, data, mediaType, want string
		index                       bool
	}{
		{name: "index for manifest", data: ind, want: "not a document of this kind"},
		{name: "manifest for index", data: man, want: "not a document of this kind", index: true},
		{name: "both", data: strings.Replace(man, `"config"`, `"manifests":[],"config"`, 1), want: "ambiguous"},
		{name: "both the other way", data: strings.Replace(ind, `"manifests"`, `"layers":[],"manifests"`, 1), want: "ambiguous", index: true},
		{name: "schema 1", data: `{"schemaVersion":1,"fsLayers":[]}`, want: "schemaVersion is 1"},
		{name: "trailing", data: man + "{}", want: "trailing data after the document"},
		{name: "truncated", data: man[:len(man)-1], want: "unexpected EOF"},
		{name: "media types differ", data: man, mediaType: mediatype.DockerManifest, want: "the registry calls it"},
		{name: "digest", data: strings.Replace(man, `"digest":"sha256:`, `"digest":"sha256:zz`, 1), want: "digest"},
		{name: "negative size", data: strings.Replace(man, `"size":`, `"size":-`, 1), want: "size is -"},
		{name: "huge", data: strings.Repeat(" ", oci.MaxManifest+1), want: "at most"},
		{name: "not JSON", data: "<html>", want: "invalid character", index: true},
		{name: "huge manifest listed", data: strings.Replace(ind, `"size":`, `"size":999999999`, 1), want: "at most", index: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if tt.index {
				_, err = ParseIndex([]byte(tt.data), tt.mediaType)
			} else {
				_, err = ParseManifest([]byte(tt.data), tt.mediaType)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if tt.want == "not a document of this kind" && !errors.Is(err, ErrNotManifest) {
				t.Errorf("%v is not ErrNotManifest", err)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	amd, arm := mustImage(t, "x86_64-linux", Settings{}), mustImage(t, "aarch64-linux", Settings{})
	read := func(b oci.Blob) *Index {
		t.Helper()
		x, err := ParseIndex(b.Data, b.Descriptor.MediaType)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	foreign := &Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: amd.Config.Descriptor.Digest, Size: 1, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: arm.Config.Descriptor.Digest, Size: 2, Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: arm.Layers[0].Digest, Size: 3, Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{refDigest: amd.Config.Descriptor.Digest.String()}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: arm.Layers[1].Digest, Size: 4, Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{refDigest: arm.Config.Descriptor.Digest.String()}},
	}}
	b, err := Join(foreign, []*PlatformImage{arm}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	x := read(b)
	var sizes []int64
	for _, d := range x.Manifests {
		sizes = append(sizes, d.Size)
	}
	if len(sizes) != 3 || sizes[0] != arm.Manifest.Descriptor.Size || sizes[1] != 2 || sizes[2] != 4 {
		t.Errorf("manifests of sizes %v: want the new arm64, s390x kept, and only the attestation of what is still there", sizes)
	}
	if x.Annotations[AnnotationImage] != "" {
		t.Error("an index with another tool's manifests claims a recipe")
	}
	again, err := Join(x, []*PlatformImage{arm}, Settings{})
	if err != nil || !bytes.Equal(again.Data, b.Data) {
		t.Errorf("joining what is there changes the index: %v", err)
	}
	if _, err := Join(foreign, []*PlatformImage{mustImage(t, "x86_64-linux", Settings{Docker: true})}, Settings{Docker: true}); err == nil {
		t.Error("docker's media types join an OCI index")
	}
	both, err := NewIndex([]*PlatformImage{arm, amd}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	x = read(both)
	if !x.Holds([]*PlatformImage{amd, arm}) || x.Holds([]*PlatformImage{mustImage(t, "s390x-linux", Settings{})}) {
		t.Error("Holds is wrong")
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:","annotations":null},"layers":[{"annotations":{"io.nixoci.layer.recipe":""}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := ParseIndex(data, ""); err == nil {
			// The parsed index can be written again. The result must be stable.
			b, err := writeIndex(x.Manifests, &Settings{Docker: x.MediaType == mediatype.DockerList})
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseIndex(b.Data, "")
			if err != nil {
				t.Fatal(err)
			}
			twice, err := writeIndex(again.Manifests, &Settings{Docker: x.MediaType == mediatype.DockerList})
			if err != nil || !bytes.Equal(twice.Data, b.Data) {
				t.Fatalf("not stable: %v\n%s\n%s", err, b.Data, twice.Data)
			}
		}
		m, err := ParseManifest(data, "")
		if err != nil {
			return
		}
		claims, err := m.Claims(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range claims.Recipes() {
			if err := checkPacked(claims.known[r].Packed); err != nil {
				t.Fatalf("claim of %s: %v", r, err)
			}
		}
		if !json.Valid(data) {
			t.Fatal("read what is not JSON")
		}
	})
}
