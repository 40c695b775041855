package verify

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

func sampleKeys(t testing.TB) closure.TrustedKeys {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(testdata, "public-key"))
	must(t, err)
	keys, err := closure.NewTrustedKeys(strings.TrimSpace(string(key)))
	must(t, err)
	return keys
}

func defaultKeys(t testing.TB) closure.TrustedKeys {
	t.Helper()
	keys, err := closure.NewTrustedKeys(closure.DefaultPublicKey)
	must(t, err)
	return keys
}

// attached pushes a sample to a registry and attaches a closure statement. edit first changes the
// paths in the statement. attached returns the image's reference.
func attached(t testing.TB, edit func(infos []closure.Info)) string {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	name := strings.TrimPrefix(server.URL, "http://") + "/sample:v1"
	ref, err := registry.ParseReference(name)
	must(t, err)
	repo, err := registry.Open(ref.Repository, registry.Options{})
	must(t, err)
	pushTo(t, repo, "none", manifest.Settings{}, "sample-x86_64-linux")
	repo, err = registry.Open(ref.Repository, registry.Options{})
	must(t, err)
	top, err := repo.GetManifest(t.Context(), "v1")
	must(t, err)
	index, err := manifest.ParseIndex(top.Data, top.Descriptor.MediaType)
	must(t, err)
	sys := sampleSystem(t, sampleSource(t), "sample-x86_64-linux").System
	edit(sys.Closure.Paths)
	data, err := attest.Closure(sys.Closure, "x86_64-linux")
	must(t, err)
	_, err = repo.Attach(t.Context(), index.Manifests[0], []oci.Artifact{{Type: attest.ClosureType, MediaType: attest.ClosureType, Data: data}})
	must(t, err)
	return name
}

func TestSignatures(t *testing.T) {
	whole := attached(t, func([]closure.Info) {})
	unsigned := attached(t, func(infos []closure.Info) { infos[7].Signatures = nil })
	none := attached(t, func(infos []closure.Info) {
		for k := range infos {
			infos[k].Signatures = nil
		}
	})
	swapped := attached(t, func(infos []closure.Info) { infos[7].Signatures = infos[8].Signatures })
	forged := attached(t, func(infos []closure.Info) { infos[7].NarHash[0] ^= 1 })
	layout := newSample(t, "x86_64-linux").layout()
	dir, err := filepath.Abs(filepath.Join(testdata, "cache"))
	must(t, err)
	cache, err := closure.OpenBinaryCache("file://"+dir, closure.CacheOptions{NoSignatures: true})
	must(t, err)
	for _, tt := range []struct {
		name, source string
		o            Options
		signed       int
		want         string // text in the finding; "" if there must be none
	}{
		{name: "attached", source: whole, o: Options{Keys: sampleKeys(t), Require: RequireAll}, signed: 22},
		{name: "attached, by nobody that is trusted", source: whole, o: Options{Keys: defaultKeys(t), Require: RequireAll}, want: "no trusted key has signed it, only nixoci-testdata-1"},
		{name: "attached, by nobody, but one would do", source: whole, o: Options{Keys: defaultKeys(t), Require: RequireAny}, want: "no trusted key has signed any"},
		{name: "attached, by nobody, and nobody need", source: whole, o: Options{Keys: defaultKeys(t)}},
		{name: "one path is not signed", source: unsigned, o: Options{Keys: sampleKeys(t), Require: RequireAll}, want: "it has no signature"},
		{name: "one path is not signed, one would do", source: unsigned, o: Options{Keys: sampleKeys(t), Require: RequireAny}, signed: 21},
		{name: "no path is signed", source: none, o: Options{Keys: sampleKeys(t), Require: RequireAny}, want: "no trusted key has signed any"},
		{name: "no path is signed, but a cache has signatures", source: none, o: Options{Keys: sampleKeys(t), Require: RequireAll, Against: cache}, signed: 22},
		{name: "signature of another path", source: swapped, o: Options{Keys: sampleKeys(t)}, want: "signature does not match"},
		{name: "statement of another narHash", source: forged, o: Options{Keys: sampleKeys(t), Require: RequireAll}, want: "it has no signature"},
		{name: "nothing is attached", source: layout, o: Options{Keys: sampleKeys(t), Require: RequireAll}, want: "it has no signature"},
		{name: "nothing is attached, but a cache has signatures", source: layout, o: Options{Keys: sampleKeys(t), Require: RequireAll, Against: cache}, signed: 22},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verified(t, tt.source, tt.o)
			switch {
			case r.OK != (tt.want == ""):
				t.Error(r.Findings)
			case !r.OK && (r.Findings[0].Check != CheckSignatures || !strings.Contains(r.Findings[0].String(), tt.want) || r.Findings[0].Path == ""):
				t.Errorf("%v, no %q", r.Findings, tt.want)
			case r.OK && len(r.Inputs()) > 0 != (tt.o.Require != "" && tt.source != layout):
				t.Errorf("it follows from %v", r.Inputs())
			case r.OK && r.Platforms[0].Signed != tt.signed:
				t.Errorf("%d paths are signed, not %d", r.Platforms[0].Signed, tt.signed)
			}
		})
	}
}

func signedBy(count int, keys ...attest.Signer) Options {
	return Options{Signatures: []RequiredSignatures{{Signers: keys, Count: count}}}
}

func TestImageKey(t *testing.T) {
	source := attached(t, func([]closure.Info) {})
	ref, err := registry.ParseReference(source)
	must(t, err)
	repo, err := registry.Open(ref.Repository, registry.Options{})
	must(t, err)
	top, err := repo.GetManifest(t.Context(), "v1")
	must(t, err)
	var public [2]*attest.PublicKey
	for n := range public {
		secret, pem, err := attest.GenerateKey([]byte("x"))
		must(t, err)
		public[n], err = attest.ParsePublicKey(pem)
		must(t, err)
		if n > 0 {
			continue
		}
		if r := verified(t, source, signedBy(1, attest.Signer{Name: "a", Key: public[0]})); r.OK || !strings.Contains(r.Findings[0].String(), "no signature") {
			t.Errorf("unsigned: %v", r.Findings)
		}
		key, err := attest.ParsePrivateKey(secret, func() ([]byte, error) { return []byte("x"), nil })
		must(t, err)
		must(t, attest.Sign(t.Context(), repo, top.Descriptor, key))
	}
	if r := verified(t, source, signedBy(1, attest.Signer{Name: "a", Key: public[0]})); !r.OK || !r.Signed {
		t.Errorf("signed: %v", r.Findings)
	}
	if r := verified(t, source, signedBy(1, attest.Signer{Name: "b", Key: public[1]})); r.OK || !strings.Contains(r.Findings[0].String(), "no signature by b") {
		t.Errorf("signed by another key: %v", r.Findings)
	}
	both := []attest.Signer{{Name: "b", Key: public[1]}, {Name: "a", Key: public[0]}}
	if r := verified(t, source, signedBy(1, both...)); !r.OK || strings.Join(r.Origin, "") != "a has signed it" {
		t.Errorf("one of two keys: %v, %v", r.Findings, r.Origin)
	}
	if r := verified(t, source, signedBy(2, both...)); r.OK || !strings.Contains(r.Findings[0].String(), "only a has signed it, and 2 of b, a must have signed it") {
		t.Errorf("both keys: %v", r.Findings)
	}
	again := append(both, attest.Signer{Name: "a, copied", Key: public[0]})
	if r := verified(t, source, signedBy(2, again...)); r.OK || !strings.Contains(r.Findings[0].String(), "only a (also a, copied) has signed it") {
		t.Errorf("the same key twice: %v", r.Findings)
	}
}
