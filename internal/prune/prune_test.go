package prune

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

var now = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

func id(s string) digest.Digest { return digest.FromString(s) }

// made returns an inventory with the given tags. Each tag has the form "tag=image" or
// "tag=image@days ago". An image "a" has the platforms a-amd64 and shared, and the attached
// document a-sig.
func made(tags ...string) *Inventory {
	inv := &Inventory{Tags: map[string]digest.Digest{}, Documents: map[string]digest.Digest{}, Children: map[digest.Digest][]Child{},
		Attached: map[digest.Digest][]Attached{}, Created: map[digest.Digest]time.Time{}, read: map[digest.Digest]bool{}}
	for _, t := range tags {
		tag, image, _ := strings.Cut(t, "=")
		image, days, dated := strings.Cut(image, "@")
		d := id(image)
		inv.Tags[tag] = d
		inv.Children[d] = []Child{{id(image + "-amd64"), "linux/amd64"}, {id("shared"), "linux/arm64"}}
		inv.Attached[d] = []Attached{{id(image + "-sig"), "signature"}}
		inv.Attached[id(image+"-amd64")] = []Attached{{id(image + "-sbom"), "sbom"}}
		for _, r := range []string{image, image + "-amd64", "shared", image + "-sig", image + "-sbom"} {
			inv.read[id(r)] = true
		}
		if dated {
			var n int
			fmt.Sscan(days, &n)
			inv.Created[d] = now.AddDate(0, 0, -n)
		}
	}
	return inv
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name    string
		inv     *Inventory
		rules   Rules
		tags    string // tags to delete
		deletes []string
		untags  string
	}{
		{name: "newest by version", inv: made("1.9=a", "1.10=b", "1.2=c"), rules: Rules{Keep: 2}, tags: "1.2", deletes: []string{"c", "c-amd64", "c-sig", "c-sbom"}},
		{name: "latest stays", inv: made("latest=a", "2=b", "1=c"), rules: Rules{Keep: 1}, tags: "1", deletes: []string{"c", "c-amd64", "c-sig", "c-sbom"}},
		{name: "by time against version", inv: made("9=old@90", "1=new@1"), rules: Rules{Keep: 1}, tags: "9", deletes: []string{"old", "old-amd64", "old-sig", "old-sbom"}},
		{name: "kept by glob", inv: made("v1=a", "2=b", "3=c"), rules: Rules{Keep: 1, KeepTags: []string{"v*"}}, tags: "2", deletes: []string{"b", "b-amd64", "b-sig", "b-sbom"}},
		{name: "both rules", inv: made("1=a@90", "2=b@40", "3=c@1"), rules: Rules{Keep: 1, OlderThan: 60 * 24 * time.Hour}, tags: "1", deletes: []string{"a", "a-amd64", "a-sig", "a-sbom"}},
		{name: "no time", inv: made("1=a", "2=b@90"), rules: Rules{Keep: -1, OlderThan: time.Hour}, tags: "2", deletes: []string{"b", "b-amd64", "b-sig", "b-sbom"}},
		{name: "hashes have no order", inv: made("sha-1=a", "sha-2=b"), rules: Rules{Keep: 1}},
		{name: "hashes with times have an order", inv: made("sha-1=a@3", "sha-2=b@2", "sha-3=c@1"), rules: Rules{Keep: 2}, tags: "sha-1", deletes: []string{"a", "a-amd64", "a-sig", "a-sbom"}},
		{name: "one hash without a time does not keep the others", inv: made("sha-0=z", "sha-1=a@3", "sha-2=b@2", "sha-3=c@1"), rules: Rules{Keep: 2}, tags: "sha-1", deletes: []string{"a", "a-amd64", "a-sig", "a-sbom"}},
		{name: "a version without a time and a hash with one have no order", inv: made("1=a", "sha-1=b@1"), rules: Rules{Keep: 1}},
		{name: "versions with and without a time", inv: made("1=a@1", "2=b"), rules: Rules{Keep: 1}, tags: "1", deletes: []string{"a", "a-amd64", "a-sig", "a-sbom"}},
		{name: "the same time", inv: made("sha-1=a@1", "sha-2=b@1"), rules: Rules{Keep: 1}},
		{name: "the same time, by version", inv: made("1=a@1", "2=b@1"), rules: Rules{Keep: 1}, tags: "1", deletes: []string{"a", "a-amd64", "a-sig", "a-sbom"}},
		{name: "two tags of one image", inv: made("1=a", "2=b", "stable=a"), rules: Rules{Keep: 1, KeepTags: []string{"stable"}}, tags: "1", untags: "1"},
		{name: "two tags that both go", inv: made("1=a", "1.0=a", "3=c"), rules: Rules{Keep: 1}, tags: "1 1.0", deletes: []string{"a", "a-amd64", "a-sig", "a-sbom"}},
		{name: "all go", inv: made("1=a@90"), rules: Rules{Keep: -1, OlderThan: time.Hour}, tags: "1", deletes: []string{"a", "a-amd64", "shared", "a-sig", "a-sbom"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.rules.Now = now
			p := tt.inv.Choose(tt.rules)
			var gone []string
			for _, f := range p.Tags {
				if f.Delete {
					gone = append(gone, f.Tag)
				}
			}
			slices.Sort(gone)
			if got := strings.Join(gone, " "); got != tt.tags {
				t.Errorf("tags %q, want %q", got, tt.tags)
			}
			if got := strings.Join(p.Untags, " "); got != tt.untags {
				t.Errorf("untags %q, want %q", got, tt.untags)
			}
			var want, got []digest.Digest
			for _, s := range tt.deletes {
				want = append(want, id(s))
			}
			for _, d := range p.Deletes {
				got = append(got, d.Digest)
			}
			if !slices.Equal(got, want) {
				t.Errorf("deletes %v, want %v", p.Deletes, tt.deletes)
			}
		})
	}
}

// TestUndated checks that Undated is true only for a tag that stays because its age is
// unknown.
func TestUndated(t *testing.T) {
	inv := made("sha-1=a", "sha-2=b@90", "sha-3=c@1", "latest=d", "keep=e", "1=f")
	for _, tt := range []struct {
		rules Rules
		want  string
	}{
		{Rules{Keep: 1}, "sha-1"},
		{Rules{Keep: -1, OlderThan: time.Hour}, "1 sha-1"},
		{Rules{Keep: 5, OlderThan: time.Hour}, "sha-1"},
	} {
		tt.rules.Now, tt.rules.KeepTags = now, []string{"keep"}
		var got []string
		for _, f := range inv.Choose(tt.rules).Tags {
			if f.Undated {
				got = append(got, f.Tag)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: undated %q, want %q", tt.rules, got, tt.want)
		}
	}
}

// TestUnknownSubject checks that a list of attached documents stays if the manifest to which
// they are attached was not read. Somebody may pull that manifest by digest.
func TestUnknownSubject(t *testing.T) {
	inv := made("1=a", "2=b")
	tag := registry.FallbackTag(id("somebody's"))
	inv.Documents[tag] = id("list")
	inv.read[id("list")] = true
	inv.Children[id("list")] = []Child{{id("a-sig"), ""}}
	for _, d := range inv.Choose(Rules{Keep: 1, Now: now}).Deletes {
		if d.Digest == id("list") || d.Digest == id("a-sig") {
			t.Errorf("deleted: %s", &d)
		}
	}
}

func put(t *testing.T, repo *registry.Repository, v any, kind, tag string) ocispec.Descriptor {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := repo.PutManifest(t.Context(), oci.Blob{Descriptor: d, Data: data}, tag); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRun deletes from a registry with two images that share a platform. Afterwards all
// manifests of kept images can be read. The test also uses a registry that refuses to delete.
func TestRun(t *testing.T) {
	var refuse, fail bool
	var lost string // the digest of a manifest that the registry does not find
	backend := ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case refuse && r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case fail && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/sha256:"):
			w.WriteHeader(http.StatusForbidden)
		case lost != "" && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/"+lost):
			w.WriteHeader(http.StatusNotFound)
		default:
			backend.ServeHTTP(w, r)
		}
	}))
	defer s.Close()
	rn, err := name.NewRepository(strings.TrimPrefix(s.URL, "http://") + "/org/web")
	if err != nil {
		t.Fatal(err)
	}
	open := func() *registry.Repository {
		repo, err := registry.Open(rn, registry.Options{Delete: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { repo.Close() })
		return repo
	}
	repo := open()
	config := oci.Blob{Data: []byte("{}"), Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2}}
	if err := repo.PutBlob(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	platform := func(who string) ocispec.Descriptor {
		d := put(t, repo, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config.Descriptor,
			Layers: []ocispec.Descriptor{}, Annotations: map[string]string{"who": who}}, ocispec.MediaTypeImageManifest, "")
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: who}
		return d
	}
	index := func(tag string, ms ...ocispec.Descriptor) ocispec.Descriptor {
		return put(t, repo, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: ms}, ocispec.MediaTypeImageIndex, tag)
	}
	shared, one, two := platform("shared"), platform("one"), platform("two")
	first, second := index("1", shared, one), index("2", shared, two)
	sig := put(t, repo, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/sig",
		Config: config.Descriptor, Layers: []ocispec.Descriptor{}, Subject: &first}, ocispec.MediaTypeImageManifest, "")

	fail = true
	if _, err := Read(t.Context(), open()); err == nil {
		t.Error("a manifest that cannot be read is no reason to stop")
	}
	fail = false
	// The manifest of a kept tag is missing. It may need the same manifests as another image.
	lost = second.Digest.String()
	if _, err := Read(t.Context(), open()); err == nil || !strings.Contains(err.Error(), ":2: the registry has the tag, but not its manifest") {
		t.Errorf("a tag whose manifest is lost: %v", err)
	}
	lost = one.Digest.String()
	if _, err := Read(t.Context(), open()); err != nil {
		t.Errorf("a platform that is lost: %v", err)
	}
	lost = ""
	inv, err := Read(t.Context(), open())
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.Created) != 0 {
		t.Errorf("times: %v", inv.Created)
	}
	plan := inv.Choose(Rules{Keep: 1, Now: now})
	refuse = true
	if err := plan.Run(t.Context(), repo, func(string) {}); err == nil || !strings.Contains(err.Error(), "does not support") {
		t.Errorf("a registry that refuses: %v", err)
	}
	refuse = false
	var done []string
	if err := plan.Run(t.Context(), repo, func(what string) { done = append(done, what) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{first.Digest.String(), one.Digest.String(), sig.Digest.String()}; !slices.Equal(done, want) {
		t.Errorf("deleted %q, want %q", done, want)
	}
	for d, there := range map[digest.Digest]bool{first.Digest: false, one.Digest: false, sig.Digest: false, second.Digest: true, two.Digest: true, shared.Digest: true} {
		if _, err := open().GetManifest(t.Context(), d.String()); (err == nil) != there {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// TestPlaceholderTime checks that prune ignores the SOURCE_DATE_EPOCH of Nix's development
// shells as a creation time.
func TestPlaceholderTime(t *testing.T) {
	s := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	rn, err := name.NewRepository(strings.TrimPrefix(s.URL, "http://") + "/web")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := registry.Open(rn, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	times := map[string]bool{"1970-01-01T00:00:01Z": false, "1980-01-01T00:00:00Z": false, "2001-01-01T00:00:00Z": true}
	tags := map[digest.Digest]bool{}
	for created, known := range times {
		index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{}, Annotations: map[string]string{ocispec.AnnotationCreated: created}}
		tags[put(t, repo, index, ocispec.MediaTypeImageIndex, created[:4]).Digest] = known
	}
	inv, err := Read(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	for d, known := range tags {
		if _, ok := inv.Created[d]; ok != known {
			t.Errorf("%s: %v", d, inv.Created)
		}
	}
}
