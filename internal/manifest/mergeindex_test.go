package manifest

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

func indexOf(t *testing.T, b oci.Blob, err error) *Index {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	x, err := ParseIndex(b.Data, b.Descriptor.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestMergeIsOneIndex merges indexes of single platforms in any order, some of them twice.
// The result must be the same index as one made from all platforms at once, with the user's
// annotations.
func TestMergeIsOneIndex(t *testing.T) {
	for _, s := range []Settings{{}, everySetting(), {Docker: true}} {
		amd, arm := mustImage(t, "x86_64-linux", s), mustImage(t, "aarch64-linux", s)
		want, err := NewIndex([]*PlatformImage{amd, arm}, s)
		if err != nil {
			t.Fatal(err)
		}
		one := func(img *PlatformImage) *Index {
			b, err := NewIndex([]*PlatformImage{img}, s)
			return indexOf(t, b, err)
		}
		both, twice := one(amd), one(arm)
		for _, parts := range [][]*Index{{both, twice}, {twice, both}, {both, twice, both}, {indexOf(t, want, nil)}} {
			got, err := Merge(parts, Settings{})
			if err != nil || got.Descriptor.Digest != want.Descriptor.Digest {
				t.Errorf("merged %s, made at once %s, %v", got.Data, want.Data, err)
			}
		}
	}
}

func TestMergeAnnotations(t *testing.T) {
	amd := mustImage(t, "x86_64-linux", Settings{})
	arm := mustImage(t, "aarch64-linux", Settings{})
	a, aerr := NewIndex([]*PlatformImage{amd}, Settings{Annotations: map[string]string{"org.same": "1", "org.differs": "a", "org.one": "x", "org.over": "old"}})
	b, berr := NewIndex([]*PlatformImage{arm}, Settings{Annotations: map[string]string{"org.same": "1", "org.differs": "b", "org.over": "old"}})
	merged, err := Merge([]*Index{indexOf(t, a, aerr), indexOf(t, b, berr)}, Settings{Annotations: map[string]string{"org.over": "new"}})
	got := indexOf(t, merged, err).Annotations
	for k, want := range map[string]string{"org.same": "1", "org.differs": "", "org.one": "", "org.over": "new"} {
		if got[k] != want {
			t.Errorf("annotation %s is %q, want %q", k, got[k], want)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	s := Settings{}
	one := func(system string, s Settings) *Index {
		b, err := NewIndex([]*PlatformImage{mustImage(t, system, s)}, s)
		return indexOf(t, b, err)
	}
	other := one("x86_64-linux", Settings{Cmd: []string{"other"}})
	for _, c := range []struct {
		name  string
		parts []*Index
		says  string
	}{
		{"a platform twice", []*Index{one("x86_64-linux", s), other}, string(other.Manifests[0].Digest) + " are both for linux/amd64"},
		{"two formats", []*Index{one("x86_64-linux", s), one("aarch64-linux", Settings{Docker: true})}, mediatype.DockerList},
		{"nothing", nil, "no indexes"},
		{"empty indexes", []*Index{{MediaType: ocispec.MediaTypeImageIndex}}, "list nothing"},
	} {
		if _, err := Merge(c.parts, s); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
