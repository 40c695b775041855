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

	"github.com/nixoci/nixoci/internal/layers"
)

// The bytes that images are made of. When one of these changes, every image
// changes: that is a new format version, not a new expectation.
const (
	goldenSystemLayer  = "sha256:68730c61f8e4d2bedb40becffb4e44970980a86e37c4490f2f86e070ed70d8ff" // diffID of smallSystem's system layer
	goldenSystemRecipe = "sha256:e4b4382347378e0622ae2e743cf9bd202019798d866124c323ccb88fea757af9"
	goldenDatabase410  = "sha256:a46f7f044c44532ec12fd9d12a0db85dc2547200cfbbcf36cd3cc0e21a9c38b2" // Nix database of graph(410, 12)
	goldenDatabase5000 = "sha256:e8b3ddc854252450e00b4e952a2709774909bed5b79812d05e176443bf90818d"
)

// packSystem is the tar of sys's system layer.
func packSystem(t testing.TB, sys *System) []byte {
	t.Helper()
	l, err := SystemLayer(sys, layers.Compression{Algorithm: layers.None})
	if err != nil {
		t.Fatal(err)
	}
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

// What a golden digest cannot say when it breaks: which entry it was.
func TestSystemLayerEntries(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	sys.Init, sys.Guest = guestInit, true
	r := tar.NewReader(bytes.NewReader(packSystem(t, sys)))
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
	golden(t, "systemlayer.txt", b.Bytes())
}
