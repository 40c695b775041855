package verify

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/terminal"
)

// foreignSample returns the sample as another tool could write it: one layer in the form that
// package archive/tar writes, without annotations. If db is true, the layer contains a Nix
// database.
func foreignSample(t *testing.T, db bool, edit func(h *tar.Header, content []byte) []byte) string {
	t.Helper()
	s := newSample(t, "x86_64-linux")
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	must(t, err)
	raw := &bytes.Buffer{}
	w := tar.NewWriter(io.MultiWriter(z, raw))
	for n := range s.manifests[0].Layers {
		for k, it := range s.tarOf(0, n) {
			if k < 2 || n == 12 && (!db || !strings.HasPrefix(it.name, "nix/var/nix/db")) {
				continue
			}
			h, err := tar.NewReader(bytes.NewReader(it.head)).Next()
			must(t, err)
			h.Name, h.Uname, h.Gname, h.Format = "./"+h.Name, "root", "root", tar.FormatGNU
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
			content := edit(h, it.content)
			must(t, w.WriteHeader(h))
			_, err = w.Write(content)
			must(t, err)
		}
	}
	must(t, w.Close())
	must(t, z.Close())
	m, c := &s.manifests[0], &s.configs[0]
	m.Layers = []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip}}
	s.setBlob(0, 0, b.Bytes())
	m.Annotations, c.Config.Labels, s.index.Annotations, s.index.Manifests[0].Annotations = nil, nil, nil, nil
	c.RootFS.DiffIDs, c.History = []digest.Digest{digest.FromBytes(raw.Bytes())}, nil
	return s.layout()
}

func TestForeign(t *testing.T) {
	same := func(_ *tar.Header, content []byte) []byte { return content }
	for _, tt := range []struct {
		name   string
		db     bool
		edit   func(h *tar.Header, content []byte) []byte
		checks map[Check]Verdict
		paths  int
		first  string
	}{
		{name: "without a database", edit: same, checks: map[Check]Verdict{CheckDigests: Holds, CheckFormat: Without, CheckPaths: Without, CheckNarHashes: Without, CheckReferences: Without, CheckSystem: Without},
			first: "not made by nixoci"},
		{name: "with a database", db: true, edit: same, checks: map[Check]Verdict{CheckDigests: Holds, CheckFormat: Without, CheckPaths: Holds, CheckNarHashes: Holds, CheckReferences: Holds, CheckConfig: Without},
			paths: 22, first: "not made by nixoci"},
		{name: "with a flipped bit", db: true, edit: func(h *tar.Header, content []byte) []byte {
			if strings.HasSuffix(h.Name, "web-root/index.html") {
				content[0] ^= 1
			}
			return content
		}, checks: map[Check]Verdict{CheckDigests: Holds, CheckPaths: Holds, CheckNarHashes: Fails}, paths: 21, first: "narHash is"},
		{name: "with a hard link", db: true, edit: func(h *tar.Header, content []byte) []byte {
			if strings.HasSuffix(h.Name, "web-root/index.html") {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, h.Name, 0
				return nil
			}
			return content
		}, checks: map[Check]Verdict{CheckDigests: Holds, CheckPaths: Holds, CheckNarHashes: Holds}, paths: 21, first: "not made by nixoci"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verified(t, foreignSample(t, tt.db, tt.edit), Options{})
			p := r.Platforms[0]
			if r.OK || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].String(), tt.first) {
				t.Errorf("%v, no %q", r.Findings, tt.first)
			}
			if p.Made || p.Paths != tt.paths {
				t.Errorf("%d paths, %+v", p.Paths, p)
			}
			for _, c := range p.Checks {
				if want, ok := tt.checks[c.Check]; ok && c.Verdict != want {
					t.Errorf("%s: %s, not %s", c.Check, c.Verdict, want)
				}
			}
			if len(p.Checks) != 8 {
				t.Errorf("%d checks: %+v", len(p.Checks), p.Checks)
			}
			var b strings.Builder
			must(t, r.WriteText(terminal.New(&b), false))
			if strings.Contains(b.String(), "verified") || !strings.Contains(b.String(), "made by another tool") {
				t.Error(b.String())
			}
			t.Log(b.String())
		})
	}
}
