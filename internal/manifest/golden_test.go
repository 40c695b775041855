package manifest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/layers"
)

// Digests of the parts of an image. If one of them changes, every image changes. This
// requires a new format version, not only a new value here.
const (
	goldenSystemLayer  = "sha256:e391320a1714a0529e7078d4ccdba99fb0fed0037ba29d23febcb003b6bf8ed4" // diffID of smallSystem's system layer
	goldenSystemRecipe = "sha256:f0b3bfec44452d4474bd06358a06da767421e5fe6695b0735e186f15bc1b31ab"
	goldenInitLayer    = "sha256:b429d7b48a7749de25576b66afb9213ed85d5b4aa88090baed35a15d40ea491c" // diffID of the init layer with fakeInit("init")
	goldenInitRecipe   = "sha256:122ab48895cbc45d6e827176fff14cf9fb09e059472323156a84b9752c72fcc1"
	goldenDatabase410  = "sha256:a46f7f044c44532ec12fd9d12a0db85dc2547200cfbbcf36cd3cc0e21a9c38b2" // Nix database of graph(410, 12)
	goldenDatabase5000 = "sha256:e8b3ddc854252450e00b4e952a2709774909bed5b79812d05e176443bf90818d"
)

// Digests of format version 1. nixoci can still verify images of this version.
const (
	goldenSystemLayer1  = "sha256:68730c61f8e4d2bedb40becffb4e44970980a86e37c4490f2f86e070ed70d8ff"
	goldenSystemRecipe1 = "sha256:e4b4382347378e0622ae2e743cf9bd202019798d866124c323ccb88fea757af9"
)

// packSystem returns the uncompressed tar of sys's system layer.
func packSystem(t testing.TB, sys *System) []byte {
	t.Helper()
	l, err := SystemLayer(sys, layers.Compression{Algorithm: layers.None})
	if err != nil {
		t.Fatal(err)
	}
	return packLayer(t, l)
}

func packLayer(t testing.TB, l *layers.Layer) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := layers.NewPacker(1).Pack(context.Background(), l, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGoldenDigests(t *testing.T) {
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %s, was %s", what, got, want)
		}
	}
	sys := smallSystem(t, "x86_64-linux")
	check("system layer", digest.FromBytes(packSystem(t, sys)).String(), goldenSystemLayer)
	l, err := SystemLayer(sys, gzip5)
	if err != nil {
		t.Fatal(err)
	}
	check("system layer's recipe", l.Recipe.String(), goldenSystemRecipe)
	check("init layer", digest.FromBytes(packLayer(t, InitLayer(sys.Init, layers.Compression{Algorithm: layers.None}))).String(), goldenInitLayer)
	check("init layer's recipe", InitLayer(sys.Init, gzip5).Recipe.String(), goldenInitRecipe)
	old := sys.In(Format1, nil)
	check("system layer of format 1", digest.FromBytes(packSystem(t, old)).String(), goldenSystemLayer1)
	if l, err = SystemLayer(old, gzip5); err != nil {
		t.Fatal(err)
	}
	check("recipe of the system layer of format 1", l.Recipe.String(), goldenSystemRecipe1)
	for _, g := range []struct {
		paths, refs int
		want        string
	}{{410, 12, goldenDatabase410}, {5000, 8, goldenDatabase5000}} {
		db, err := WriteNixDatabase(graph(t, g.paths, g.refs))
		if err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("database of %d paths", g.paths), digest.FromBytes(db).String(), g.want)
	}
}

// TestSystemLayerEntries compares the entries of layers with golden files. If a golden digest
// changes, these files show which entry changed.
func TestSystemLayerEntries(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	sys.Guest, sys.Own = true, guestInit
	golden.Check(t, "systemlayer.txt", entries(t, packSystem(t, sys)))
	golden.Check(t, "systemlayer-none.txt", entries(t, packSystem(t, sys.In(Format2, nil))))
	golden.Check(t, "format1/systemlayer.txt", entries(t, packSystem(t, sys.In(Format1, nil))))
	golden.Check(t, "initlayer.txt", entries(t, packLayer(t, InitLayer(sys.Init, layers.Compression{Algorithm: layers.None}))))
}

// entries lists the entries of a tar, one per line.
func entries(t testing.TB, data []byte) []byte {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(data))
	var b bytes.Buffer
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%c %04o %d:%d %d %s %s\n", h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Name, h.Linkname)
	}
	return b.Bytes()
}
