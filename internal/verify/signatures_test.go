package verify

import (
	"fmt"
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
	"github.com/nixoci/nixoci/internal/layers"
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

// attached pushes the sample to one repository for each edit, and attaches a closure statement to
// each image. The edit first changes the paths in the statement. attached returns the references of
// the images.
func attached(t testing.TB, edits ...func(infos []closure.Info)) (refs []string) {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	var top, image oci.Blob
	for n, edit := range edits {
		ref, err := registry.ParseReference(fmt.Sprintf("%s/sample%d:v1", strings.TrimPrefix(server.URL, "http://"), n))
		must(t, err)
		repo, err := registry.Open(ref.Repository, registry.Options{})
		must(t, err)
		if n == 0 {
			whole.pushTo(t, repo, "none", manifest.Settings{}, "sample-x86_64-linux")
			repo, err = registry.Open(ref.Repository, registry.Options{})
			must(t, err)
			top, err = repo.GetManifest(t.Context(), "v1")
			must(t, err)
			index, err := manifest.ParseIndex(top.Data, top.Descriptor.MediaType)
			must(t, err)
			image, err = repo.GetManifest(t.Context(), index.Manifests[0].Digest.String())
			must(t, err)
		} else { // the repositories of this registry share their blobs
			must(t, repo.PutManifest(t.Context(), image, ""))
			must(t, repo.PutManifest(t.Context(), top, "v1"))
		}
		sys := whole.system(t, "sample-x86_64-linux").System
		edit(sys.Closure.Paths)
		data, err := attest.Closure(sys.Closure, "x86_64-linux")
		must(t, err)
		_, err = repo.Attach(t.Context(), image.Descriptor, []oci.Artifact{{Type: attest.ClosureType, MediaType: attest.ClosureType, Data: data}})
		must(t, err)
		refs = append(refs, ref.String())
	}
	return refs
}

func TestSignatures(t *testing.T) {
	images := attached(t,
		func([]closure.Info) {},
		func(infos []closure.Info) { infos[7].Signatures = nil },
		func(infos []closure.Info) {
			for k := range infos {
				infos[k].Signatures = nil
			}
		},
		func(infos []closure.Info) { infos[7].Signatures = infos[8].Signatures },
		func(infos []closure.Info) { infos[7].NarHash[0] ^= 1 },
	)
	signed, unsigned, none, swapped, forged := images[0], images[1], images[2], images[3], images[4]
	layout := newSampleOf(t, whole, layers.None, "x86_64-linux").layout()
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
		{name: "attached", source: signed, o: Options{Keys: sampleKeys(t), Require: RequireAll}, signed: 22},
		{name: "attached, by nobody that is trusted", source: signed, o: Options{Keys: defaultKeys(t), Require: RequireAll}, want: "no trusted key has signed it, only nixoci-testdata-1"},
		{name: "attached, by nobody, but one would do", source: signed, o: Options{Keys: defaultKeys(t), Require: RequireAny}, want: "no trusted key has signed any"},
		{name: "attached, by nobody, and nobody need", source: signed, o: Options{Keys: defaultKeys(t)}},
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
			case r.OK && len(r.inputDocuments()) > 0 != (tt.o.Require != "" && tt.source != layout):
				t.Errorf("it follows from %v", r.inputDocuments())
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
	source := attached(t, func([]closure.Info) {})[0]
	ref, err := registry.ParseReference(source)
	must(t, err)
	repo, err := registry.Open(ref.Repository, registry.Options{})
	must(t, err)
	top, err := repo.GetManifest(t.Context(), "v1")
	must(t, err)
	a, b := newPerson(t, "a"), newPerson(t, "b")
	if r := verified(t, source, signedBy(1, a.named)); r.OK || !strings.Contains(r.Findings[0].String(), "no signature") {
		t.Errorf("unsigned: %v", r.Findings)
	}
	must(t, attest.Sign(t.Context(), repo, top.Descriptor, a.private))
	if r := verified(t, source, signedBy(1, a.named)); !r.OK || !r.Signed {
		t.Errorf("signed: %v", r.Findings)
	}
	if r := verified(t, source, signedBy(1, b.named)); r.OK || !strings.Contains(r.Findings[0].String(), "no signature by b") {
		t.Errorf("signed by another key: %v", r.Findings)
	}
	both := []attest.Signer{b.named, a.named}
	if r := verified(t, source, signedBy(1, both...)); !r.OK || strings.Join(r.Origin, "") != "a has signed the image" {
		t.Errorf("one of two keys: %v, %v", r.Findings, r.Origin)
	}
	if r := verified(t, source, signedBy(2, both...)); r.OK || !strings.Contains(r.Findings[0].String(), "only a has signed the image, and 2 of b, a must have signed it") {
		t.Errorf("both keys: %v", r.Findings)
	}
	again := append(both, attest.Signer{Name: "a, copied", Key: a.named.Key})
	if r := verified(t, source, signedBy(2, again...)); r.OK || !strings.Contains(r.Findings[0].String(), "only a (also a, copied) has signed the image") {
		t.Errorf("the same key twice: %v", r.Findings)
	}
}
