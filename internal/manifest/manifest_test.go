package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// storePath returns a store path with a hash computed from the name.
func storePath(t testing.TB, name string) closure.StorePath {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	const alphabet = "0123456789abcdfghijklmnpqrsvwxyz"
	hash := make([]byte, 32)
	for i := range hash {
		hash[i] = alphabet[sum[i]%32]
	}
	p, err := closure.ParseStorePath("/nix/store/" + string(hash) + "-" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func info(t testing.TB, name string, size int64, refs ...string) closure.Info {
	i := closure.Info{Path: storePath(t, name), NarHash: sha256.Sum256([]byte("nar of " + name)), NarSize: size}
	for _, r := range refs {
		i.References = append(i.References, storePath(t, r))
	}
	return i
}

const toplevelName = "nixos-system-web-26.05.20260522.1a2b3c4"

// smallClosure returns a closure that contains a path that refers to itself, a content
// address, and two paths with a common reference.
func smallClosure(t testing.TB) *closure.Closure {
	source := info(t, "source", 4096)
	source.CA = "fixed:r:sha256:1l2xhxs4qs5d3xv6yyjwpxdpb0nlgvqg7c3q5ixyp4b9vj4x8y1j"
	infos := []closure.Info{
		info(t, toplevelName, 12_345, "systemd-257", "bash-5.2", "source"),
		info(t, "systemd-257", 60_000_000, "glibc-2.40", "systemd-257"),
		info(t, "bash-5.2", 7_000_000, "glibc-2.40"),
		info(t, "glibc-2.40", 29_000_000, "glibc-2.40"),
		source,
	}
	// These values must not appear in an image.
	infos[0].Deriver = storePath(t, "top.drv").Base()
	infos[0].Signatures = []string{"cache.nixos.org-1:AAAA"}
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func smallSystem(t testing.TB, system string) *System {
	p, err := closure.ParseSystem(system)
	if err != nil {
		t.Fatal(err)
	}
	facts := Facts{System: system, Init: initScript, Version: "26.05.20260522.1a2b3c4", Systemd: true}
	c := smallClosure(t)
	top := c.Info(storePath(t, toplevelName))
	return &System{Platform: p, Toplevel: top.Path, NarHash: top.NarHash, Closure: c, Init: fakeInit("init"), Own: systemInit, Version: facts.Version, Facts: facts}
}

// fakeInit returns an Init that is not a program. The bytes of the real nixoci-init change,
// and these tests do not need them.
func fakeInit(s string) *Init {
	return InitOf([]byte(s))
}

var gzip5 = layers.Compression{Algorithm: "gzip", Level: 5}

// smallLayers returns layers that were never packed, because these tests do not check the
// bytes of layers.
func smallLayers(sys *System, comp layers.Compression, seed string) []madeUpLayer {
	var packed []madeUpLayer
	if sys.Init != nil {
		packed = append(packed, madeUp(InitLayer(sys.Init, comp), seed+"init"))
	}
	for i, part := range slices.Collect(slices.Chunk(sys.Closure.Paths, 2)) {
		l := &layers.Layer{Recipe: layers.NewRecipe(comp, part), Compression: comp, Comment: fmt.Sprintf("%s and %d more", part[0].Path.Name(), len(part)-1)}
		for _, p := range part {
			l.Paths = append(l.Paths, p.Path)
		}
		packed = append(packed, madeUp(l, fmt.Sprint(seed, i)))
	}
	l := &layers.Layer{Recipe: layers.NewNamedRecipe(comp, systemLayerKind, sys.format(), seed), Compression: comp, Comment: "system layer"}
	return append(packed, madeUp(l, seed+"system"))
}

// madeUpLayer is a layer together with an invented result of packing.
type madeUpLayer struct {
	*layers.Layer
	layers.Packed
}

func madeUp(l *layers.Layer, seed string) madeUpLayer {
	p := layers.Packed{
		DiffID:           digest.FromString("tar " + seed),
		Digest:           digest.FromString("blob " + seed),
		Size:             int64(1000 + len(seed)),
		UncompressedSize: 10240,
	}
	if l.Compression.Algorithm == "none" {
		p.Digest, p.Size = p.DiffID, p.UncompressedSize
	}
	return madeUpLayer{Layer: l, Packed: p}
}

// draftOf makes a draft of the image of sys with these layers.
func draftOf(sys *System, all []madeUpLayer, s Settings) (*Draft, error) {
	var ls []*layers.Layer
	for _, l := range all {
		ls = append(ls, l.Layer)
	}
	return NewDraft(sys, ls, s)
}

// imageOf makes the image of sys with these layers.
func imageOf(sys *System, all []madeUpLayer, s Settings) (*PlatformImage, error) {
	d, err := draftOf(sys, all, s)
	if err != nil {
		return nil, err
	}
	var packed []layers.Packed
	for _, l := range all {
		packed = append(packed, l.Packed)
	}
	return d.Image(packed)
}

func mustImage(t testing.TB, system string, s Settings) *PlatformImage {
	t.Helper()
	sys := smallSystem(t, system)
	img, err := imageOf(sys, smallLayers(sys, gzip5, system), s)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// everySetting returns settings with every field set. The lists are not sorted.
func everySetting() Settings {
	epoch := time.Unix(1_700_000_000, 999).In(time.FixedZone("Tokyo", 9*3600))
	return Settings{
		Env:         []string{"LANG=C.UTF-8", "PATH=/opt/bin", "EMPTY=", "LANG=de_DE.UTF-8"},
		Labels:      map[string]string{"b": "2 <&>", "a": "1", "org.opencontainers.image.title": "mine"},
		Annotations: map[string]string{"org.opencontainers.image.source": "https://example.org/?a&b", "z": "ü"},
		Entrypoint:  []string{"/sbin/init", "--x"},
		Cmd:         []string{"a", ""},
		User:        "1000:users",
		WorkingDir:  "/srv",
		StopSignal:  "sigterm",
		Ports:       []string{"80", "443/tcp", "53/udp", "80/tcp"},
		Volumes:     []string{"/var/lib/x", "/config"},
		Created:     &epoch,
	}
}

func TestGoldenImage(t *testing.T) {
	guest := smallSystem(t, "aarch64-linux")
	guest.Guest, guest.Own = true, guestInit
	for _, tt := range []struct {
		name     string
		sys      *System
		settings Settings
	}{
		// The bytes of format version 1 must never change.
		{"format1/default", smallSystem(t, "x86_64-linux").In(Format1, nil), Settings{}},
		{"format1/settings", smallSystem(t, "armv7l-linux").In(Format1, nil), everySetting()},
		{"format1/guest", guest.In(Format1, nil), Settings{}},
		{"format1/docker", smallSystem(t, "x86_64-linux").In(Format1, nil), Settings{Docker: true}},
		{"none", guest.In(Format2, nil), Settings{}},
		{"default", smallSystem(t, "x86_64-linux"), Settings{}},
		{"settings", smallSystem(t, "armv7l-linux"), everySetting()},
		{"guest", guest, Settings{}},
		{"docker", smallSystem(t, "x86_64-linux"), Settings{Docker: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := imageOf(tt.sys, smallLayers(tt.sys, gzip5, "x"), tt.settings)
			if err != nil {
				t.Fatal(err)
			}
			index, err := NewIndex([]*PlatformImage{img}, tt.settings)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, tt.name+".config.json", img.Config.Data)
			golden.Check(t, tt.name+".manifest.json", img.Manifest.Data)
			golden.Check(t, tt.name+".index.json", index.Data)
			for _, b := range []oci.Blob{img.Config, img.Manifest, index} {
				if digest.FromBytes(b.Data) != b.Descriptor.Digest || int64(len(b.Data)) != b.Descriptor.Size {
					t.Errorf("%s is not what its descriptor says", b.Descriptor.MediaType)
				}
				if s := string(b.Data); strings.Contains(s, "cache.nixos.org") || strings.Contains(s, ".drv") {
					t.Error("a signature or deriver got into the image")
				}
			}
		})
	}
}

func TestConfigIsReadByDocker(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	img, err := imageOf(sys, smallLayers(sys, gzip5, "x"), Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Architecture, OS string
		Config           struct {
			Entrypoint  []string
			StopSignal  string
			Env         []string
			Healthcheck struct {
				Test     []string
				Interval time.Duration
			}
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
		History []struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		}
	}
	if err := json.Unmarshal(img.Config.Data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "amd64" || c.OS != "linux" {
		t.Errorf("platform is %s/%s", c.OS, c.Architecture)
	}
	if want := []string{"CMD", "/sbin/init", "health"}; !slices.Equal(c.Config.Healthcheck.Test, want) {
		t.Errorf("health check is %q", c.Config.Healthcheck.Test)
	}
	if c.Config.Healthcheck.Interval != 10*time.Second {
		t.Errorf("health check interval is %v", c.Config.Healthcheck.Interval)
	}
	if !slices.Contains(c.Config.Env, "container=docker") {
		t.Errorf("env is %q", c.Config.Env)
	}
	if len(c.RootFS.DiffIDs) != 5 || len(c.History) != 5 {
		t.Fatalf("%d diffIDs, %d lines of history, want 5 of each", len(c.RootFS.DiffIDs), len(c.History))
	}
	if want := "source and 1"; !strings.HasPrefix(c.History[1].CreatedBy, want) {
		t.Errorf("history line %q, want %q…", c.History[1].CreatedBy, want)
	}
}

func TestIndexDoesNotDependOnOrder(t *testing.T) {
	s := everySetting()
	names := closure.Systems()
	names = slices.DeleteFunc(names, func(n string) bool { return n == "armv7a-linux" }) // armv7a is the same platform as armv7l
	var want oci.Blob
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var images []*PlatformImage
		var drafts []*Draft
		for _, n := range names {
			img := mustImage(t, n, s)
			draft, err := draftOf(img.System, smallLayers(img.System, gzip5, n), s)
			if err != nil {
				t.Fatal(err)
			}
			images, drafts = append(images, img), append(drafts, draft)
		}
		got, err := NewIndex(images, s)
		if err != nil {
			t.Fatal(err)
		}
		if want.Data == nil {
			want = got
		}
		if !bytes.Equal(got.Data, want.Data) {
			t.Fatalf("index depends on the order of the images:\n%s\n%s", got.Data, want.Data)
		}
		recipe, err := IndexRecipe(drafts, s)
		if err != nil {
			t.Fatal(err)
		}
		x, err := ParseIndex(got.Data, got.Descriptor.MediaType)
		if err != nil {
			t.Fatal(err)
		}
		if x.Annotations[AnnotationImage] != recipe.String() {
			t.Errorf("index has recipe %s, IndexRecipe said %s before", x.Annotations[AnnotationImage], recipe)
		}
		joined := &Index{}
		for _, img := range images {
			b, err := Join(joined, []*PlatformImage{img}, s)
			if err != nil {
				t.Fatal(err)
			}
			if joined, err = ParseIndex(b.Data, b.Descriptor.MediaType); err != nil {
				t.Fatal(err)
			}
			got = b
		}
		if !bytes.Equal(got.Data, want.Data) {
			t.Fatalf("joining one by one gives another index:\n%s\n%s", got.Data, want.Data)
		}
		if !joined.Holds(images) {
			t.Error("the joined index does not hold all images")
		}
	}
}

// TestDraftRecipe: the recipe must change if and only if the manifest changes.
func TestDraftRecipe(t *testing.T) {
	base := func() (*System, []madeUpLayer, Settings) {
		sys := smallSystem(t, "x86_64-linux")
		return sys, smallLayers(sys, gzip5, "x"), Settings{}
	}
	type change = func(*System, []madeUpLayer, *Settings)
	same := map[string]change{
		"nothing":         func(*System, []madeUpLayer, *Settings) {},
		"the source":      func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Source = nil },
		"a deriver":       func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Closure.Paths[0].Deriver = "x.drv" },
		"a layer's bytes": func(_ *System, p []madeUpLayer, _ *Settings) { p[0].Packed.Size++; p[0].DiffID = p[1].DiffID },
		"defaults, said":  func(_ *System, _ []madeUpLayer, s *Settings) { s.StopSignal = "RTMIN+3" },
	}
	other := map[string]change{
		"platform":      func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Platform.Architecture = "arm64" },
		"format":        func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Format = Format1 },
		"init":          func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Init = fakeInit("another") },
		"no init":       func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Init = nil },
		"guest":         func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Init, sys.Guest = nil, true },
		"version":       func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Version = "" },
		"toplevel":      func(sys *System, _ []madeUpLayer, _ *Settings) { sys.Toplevel = sys.Closure.Paths[0].Path },
		"narHash":       func(sys *System, _ []madeUpLayer, _ *Settings) { sys.NarHash[0]++ },
		"layer recipe":  func(_ *System, p []madeUpLayer, _ *Settings) { p[0].Recipe[0]++ },
		"layer order":   func(_ *System, p []madeUpLayer, _ *Settings) { p[0], p[1] = p[1], p[0] },
		"layer comment": func(_ *System, p []madeUpLayer, _ *Settings) { p[0].Comment = "x" },
		"layer note":    func(_ *System, p []madeUpLayer, _ *Settings) { p[0].Annotations = map[string]string{"a": "b"} },
		"env":           func(_ *System, _ []madeUpLayer, s *Settings) { s.Env = []string{"A=b"} },
		"env order":     func(_ *System, _ []madeUpLayer, s *Settings) { s.Env = []string{"B=b", "A=b"} },
		"label":         func(_ *System, _ []madeUpLayer, s *Settings) { s.Labels = map[string]string{"a": "b"} },
		"annotation":    func(_ *System, _ []madeUpLayer, s *Settings) { s.Annotations = map[string]string{"a": "b"} },
		"created":       func(_ *System, _ []madeUpLayer, s *Settings) { s.Created = &time.Time{}; *s.Created = time.Unix(1, 0) },
		"docker":        func(_ *System, _ []madeUpLayer, s *Settings) { s.Docker = true },
		"cmd":           func(_ *System, _ []madeUpLayer, s *Settings) { s.Cmd = []string{"x"} },
		"level":         func(_ *System, p []madeUpLayer, _ *Settings) { p[0].Compression.Level = 6 },
	}
	recipes := map[digest.Digest]string{}
	sys, packed, s := base()
	img, err := imageOf(sys, packed, s)
	if err != nil {
		t.Fatal(err)
	}
	recipes[img.Recipe] = "base"
	for name, f := range same {
		sys, packed, s := base()
		f(sys, packed, &s)
		img2, err := imageOf(sys, packed, s)
		if err != nil {
			t.Fatal(name, err)
		}
		if img2.Recipe != img.Recipe {
			t.Errorf("the recipe depends on %s", name)
		}
	}
	for name, f := range other {
		sys, packed, s := base()
		f(sys, packed, &s)
		img, err := imageOf(sys, packed, s)
		if err != nil {
			t.Fatal(name, err)
		}
		if before, ok := recipes[img.Recipe]; ok {
			t.Errorf("%s has the recipe of %s", name, before)
		}
		recipes[img.Recipe] = name
	}
}

func TestPlatformTwice(t *testing.T) {
	a, b := smallSystem(t, "armv7l-linux"), smallSystem(t, "armv7a-linux")
	b.Toplevel = b.Closure.Paths[0].Path
	err := CheckPlatforms([]*System{smallSystem(t, "x86_64-linux"), a, b})
	if err == nil {
		t.Fatal("two systems for linux/arm/v7 are an index")
	}
	for _, want := range []string{string(a.Toplevel), string(b.Toplevel), "linux/arm/v7"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
}

func TestTooLarge(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	_, err := imageOf(sys, smallLayers(sys, gzip5, "x"), Settings{Annotations: map[string]string{"a": strings.Repeat("x", oci.MaxManifest)}})
	if err == nil || !strings.Contains(err.Error(), "registries accept at most") {
		t.Errorf("a manifest of more than 4 MiB: %v", err)
	}
	sys = sys.In(Format2, nil)
	many := slices.Repeat(smallLayers(sys, gzip5, "x"), 32)
	if _, err := imageOf(sys, many, Settings{}); err == nil || !strings.Contains(err.Error(), "128 layers") {
		t.Errorf("128 layers: %v", err)
	}
}
