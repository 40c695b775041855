package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
)

// shelf holds manifests and tags for tests of ReadHistory.
type shelf struct {
	oci.Reader
	blobs map[string]oci.Blob // by tag and by digest
	tags  []string            // the newest first
	fails error               // what GetManifest returns for a tag
	calls atomic.Int64
}

func (s *shelf) GetManifest(_ context.Context, tagOrDigest string) (oci.Blob, error) {
	s.calls.Add(1)
	if s.fails != nil && !strings.HasPrefix(tagOrDigest, "sha256:") {
		return oci.Blob{}, s.fails
	}
	b, ok := s.blobs[tagOrDigest]
	if !ok {
		return oci.Blob{}, oci.ErrNotFound
	}
	return b, nil
}

func (s *shelf) put(t *testing.T, tag, mediaType string, doc any) ocispec.Descriptor {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	s.blobs[d.Digest.String()] = oci.Blob{Descriptor: d, Data: data}
	if tag != "" {
		s.blobs[tag] = s.blobs[d.Digest.String()]
	}
	return d
}

// image stores a manifest with these paths, and an index that lists it.
func (s *shelf) image(t *testing.T, tag string, continues digest.Digest, paths string) digest.Digest {
	t.Helper()
	blob := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("blob"), Size: 1}
	layer := blob
	layer.Annotations = map[string]string{layers.AnnotationPaths: paths}
	config := blob
	config.MediaType = ocispec.MediaTypeImageConfig
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{layer}, Annotations: map[string]string{"tag": tag}}
	if continues != "" {
		m.Annotations[manifest.AnnotationPlanFrom] = continues.String()
	}
	d := s.put(t, "", ocispec.MediaTypeImageManifest, m)
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	d.Annotations = map[string]string{manifest.AnnotationImage: "recipe"}
	s.put(t, tag, ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{d}})
	return d.Digest
}

// listing is a shelf that also lists its tags.
type listing struct{ *shelf }

func (l listing) NewestTags(_ context.Context, n int) ([]string, error) {
	return l.tags[:min(n, len(l.tags))], nil
}

func pathNames(k plan.Recorded) (names []string) {
	for _, image := range k.History {
		for _, p := range image {
			names = append(names, p.Name())
		}
	}
	return names
}

func recorded(name string) string { return strings.Repeat("a", 32) + "-" + name }

// TestHistoryImages checks which images a history contains, and in which order: first the images
// with continued plans, then the images of the newest tags.
func TestHistoryImages(t *testing.T) {
	s := &shelf{blobs: map[string]oci.Blob{}, tags: []string{"5", "latest", "4", "foreign", "gone", "3", "2", "1"}}
	first := s.image(t, "1", "", recorded("one"))
	second := s.image(t, "2", first, recorded("two"))
	third := s.image(t, "3", "", recorded("three"))
	fourth := s.image(t, "4", third, recorded("four"))
	fifth := s.image(t, "5", fourth, recorded("five"))
	s.blobs["latest"] = s.blobs["5"]
	s.put(t, "foreign", ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}})
	for _, tt := range []struct {
		name      string
		from      digest.Digest
		continues digest.Digest
		platform  string
		images    int
		tagless   bool
		want      []string
	}{
		{name: "all", from: fifth, continues: fourth, images: 64, want: []string{"four", "three", "two", "one"}},
		{name: "three images", from: fifth, continues: fourth, images: 3, want: []string{"four", "three"}},
		{name: "only the image itself", from: fifth, continues: fourth, images: 1},
		{name: "the tags alone", from: fifth, images: 64, want: []string{"four", "three", "two", "one"}},
		{name: "no list of tags", from: fifth, continues: fourth, images: 64, tagless: true, want: []string{"four", "three"}},
		{name: "a lost image", from: fifth, continues: digest.FromString("lost"), images: 3, want: []string{"four", "three"}},
		{name: "a digest that is none", from: second, continues: "sha256:../1", images: 3, want: []string{"five", "four"}},
		{name: "another platform", from: fifth, platform: "linux/arm64", images: 64},
		{name: "a plan file", from: "", images: 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			known := []plan.Recorded{{Platform: "linux/amd64", Manifest: tt.from, Continues: tt.continues}}
			if tt.platform != "" {
				known[0].Platform = tt.platform
			}
			var src oci.Reader = listing{s}
			if tt.tagless {
				src = s
			}
			if err := ReadHistory(t.Context(), src, known, tt.images); err != nil {
				t.Fatal(err)
			}
			if got := pathNames(known[0]); !slices.Equal(got, tt.want) {
				t.Errorf("the history has %q, want %q", got, tt.want)
			}
		})
	}
}

// TestHistoryFails checks that ReadHistory returns an error if the registry does not answer. A shorter
// history without an error would silently change the plan.
func TestHistoryFails(t *testing.T) {
	s := &shelf{blobs: map[string]oci.Blob{}, tags: []string{"1"}, fails: errors.New("the registry is down")}
	d := s.image(t, "1", "", recorded("one"))
	known := []plan.Recorded{{Platform: "linux/amd64", Manifest: d}}
	if err := ReadHistory(t.Context(), listing{s}, known, 9); !errors.Is(err, s.fails) {
		t.Errorf("got %v, want %v", err, s.fails)
	}
}

// TestHistoryTags checks that a repository with many tags of one image does not cost a request for
// each tag.
func TestHistoryTags(t *testing.T) {
	s := &shelf{blobs: map[string]oci.Blob{}}
	d := s.image(t, "same", "", recorded("one"))
	for range 1000 {
		s.tags = append(s.tags, "same")
	}
	known := []plan.Recorded{{Platform: "linux/amd64", Manifest: d}}
	if err := ReadHistory(t.Context(), listing{s}, known, 5); err != nil {
		t.Fatal(err)
	}
	if calls := s.calls.Load(); calls > 5*tagsPerImage {
		t.Errorf("%d requests for 5 images", calls)
	}
}

// TestHistoryLimits checks the limits of what a history may contain.
func TestHistoryLimits(t *testing.T) {
	const most = 50_000 // paths of an image here; a manifest has at most 4 MiB
	paths := strings.Repeat(strings.Repeat("0", 32)+"-p ", most)
	s := &shelf{blobs: map[string]oci.Blob{}}
	var full digest.Digest // the last of the images that every call of Around reads
	for n := range limit.HistoryPaths/most - 1 {
		full = s.image(t, fmt.Sprint(n), full, paths)
	}
	limittest.Around(t, limit.HistoryPaths, "store paths", func(n int) error {
		before := full
		for n -= limit.HistoryPaths - most; n > 0; n -= most {
			before = s.image(t, fmt.Sprint(n), before, paths[:min(n, most)*len(paths)/most])
		}
		return ReadHistory(t.Context(), s, []plan.Recorded{{Platform: "linux/amd64", Manifest: digest.FromString("new"), Continues: before}}, limit.History)
	})
	limittest.Around(t, limit.HistoryReads, "more than 2000 requests", func(n int) error {
		s := &shelf{blobs: map[string]oci.Blob{}}
		var before digest.Digest
		for range n { // images without store paths do not count as images of the history
			before = s.image(t, "", before, "")
		}
		err := ReadHistory(t.Context(), s, []plan.Recorded{{Platform: "linux/amd64", Manifest: digest.FromString("new"), Continues: before}}, 2)
		if calls := s.calls.Load(); calls > limit.HistoryReads {
			t.Errorf("%d requests", calls)
		}
		return err
	})
	junk := bytes.Repeat([]byte{'x'}, oci.MaxManifest)
	limittest.Around(t, limit.HistorySize, "bytes", func(n int) error {
		s := &shelf{blobs: map[string]oci.Blob{}}
		for i := 0; n > 0; i++ {
			here := min(n, oci.MaxManifest)
			n -= here
			tag := fmt.Sprint(i)
			s.tags = append(s.tags, tag)
			s.blobs[tag] = oci.Blob{Data: junk[:here]}
		}
		return ReadHistory(t.Context(), listing{s}, []plan.Recorded{{Platform: "linux/amd64", Manifest: digest.FromString("new")}}, limit.History)
	})
}
