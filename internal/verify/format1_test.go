package verify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// format1 returns an image that nixoci made with version 1 of the format. Its layers of store paths
// have not changed since, so format1 copies them from a new image of the same systems.
func format1(t *testing.T, edit func(dir string)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	must(t, os.CopyFS(dir, os.DirFS(newSampleOf(t, whole, layers.Gzip, "x86_64-linux", "aarch64-linux").dir)))
	old := filepath.Join(testdata, "format-1")
	blobs, err := os.ReadDir(filepath.Join(old, "blobs/sha256"))
	must(t, err)
	if len(blobs) != 7 {
		t.Fatalf("%d blobs of format 1", len(blobs))
	}
	for _, name := range []string{"index.json", "oci-layout"} {
		copyFile(t, filepath.Join(old, name), filepath.Join(dir, name))
	}
	for _, b := range blobs {
		to := filepath.Join(dir, "blobs/sha256", b.Name())
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s is made today too: it is not of format 1 alone", b.Name())
		}
		copyFile(t, filepath.Join(old, "blobs/sha256", b.Name()), to)
	}
	edit(dir)
	return "oci:" + dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	os.Remove(to)
	must(t, os.WriteFile(to, data, 0o644))
}

func TestFormat1(t *testing.T) {
	source := format1(t, func(string) {})
	r := verified(t, source, Options{})
	if !r.OK || r.Index != Holds || len(r.Platforms) != 2 {
		t.Fatalf("%+v", r)
	}
	if want := digest.Digest("sha256:889e67901e3323792dd009d4e8c331f030398c5c2271973e01df6ea7ff83fe61"); r.Digest != want {
		t.Errorf("the index is %s", r.Digest)
	}
	for _, p := range r.Platforms {
		if p.Format != 1 || p.Init != "" || p.Paths != 22 {
			t.Errorf("%+v", p)
		}
		for _, c := range p.Checks {
			if c.Verdict != Holds || c.Check == CheckInit {
				t.Errorf("%s: %s is %s", p.Platform, c.Check, c.Verdict)
			}
		}
	}
	if r := verified(t, source, Options{Closures: whole.given(t, "sample-x86_64-linux", "sample-aarch64-linux")}); !r.OK {
		t.Errorf("compared with its closures: %v", r.Findings)
	}
	// The image has no nixoci-init. If the user requires one, there must be a finding.
	if r := verified(t, source, Options{Init: &manifest.InitChoice{}}); r.OK || r.Findings[0].Check != CheckInit {
		t.Errorf("with an init wanted: %+v", r.Findings)
	}
	if r := verified(t, source, Options{Init: &manifest.InitChoice{None: true}, DefaultSettings: true}); !r.OK {
		t.Errorf("without one wanted: %+v", r.Findings)
	}
}

// TestFormatIsNotJustSaid checks an image of format 1 whose manifest claims format 2. The image
// must not pass.
func TestFormatIsNotJustSaid(t *testing.T) {
	source := format1(t, func(dir string) {
		var top, index ocispec.Index
		read := func(name string, v any) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			must(t, err)
			must(t, json.Unmarshal(data, v))
		}
		write := func(v any) (digest.Digest, int64) {
			data := compact(t, v)
			d := digest.FromBytes(data)
			must(t, os.WriteFile(filepath.Join(dir, "blobs/sha256", d.Encoded()), data, 0o644))
			return d, int64(len(data))
		}
		read("index.json", &top)
		read("blobs/sha256/"+top.Manifests[0].Digest.Encoded(), &index)
		for n := range index.Manifests {
			var m ocispec.Manifest
			read("blobs/sha256/"+index.Manifests[n].Digest.Encoded(), &m)
			m.Annotations[manifest.AnnotationFormat] = "2"
			index.Manifests[n].Digest, index.Manifests[n].Size = write(m)
		}
		top.Manifests[0].Digest, top.Manifests[0].Size = write(index)
		must(t, os.WriteFile(filepath.Join(dir, "index.json"), compact(t, top), 0o644))
	})
	r := verified(t, source, Options{KeepGoing: true})
	if r.OK || !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Path == manifest.ImageFile && strings.Contains(f.What, "is missing")
	}) {
		t.Errorf("%v", r.Findings)
	}
}
