package attest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

const workflow = "https://github.com/org/web/.github/workflows/release.yml@refs/tags/v1"

// sigstore starts a simulated deployment of Sigstore. author signs with certificates of this
// deployment. identity returns a signer with the given subject and the trust root of this deployment.
func sigstore(t *testing.T) (s *keylesstest.Sigstore, author *keyless.Signer, identity func(subject string) Signer) {
	t.Helper()
	s, err := keylesstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	root, err := keyless.ParseTrustRoot(s.TrustedRoot(keylesstest.Root{}))
	if err != nil {
		t.Fatal(err)
	}
	token, err := keyless.FindToken("", func(name string) string {
		return map[string]string{keyless.TokenVariable: s.Token(keylesstest.Claims{Subject: workflow})}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	author, err = keyless.New(keyless.Options{Services: &keyless.Services{Fulcio: s.URL(), Logs: []keyless.Log{{URL: s.URL(), Version: 1}}}, Token: token, Transport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	return s, author, func(subject string) Signer {
		i, err := keyless.NewIdentity(subject, s.URL())
		if err != nil {
			t.Fatal(err)
		}
		return Signer{Name: subject, Identity: &Identity{i, root}}
	}
}

// TestSignKeyless checks that a signature with a certificate counts only for the identity in the
// certificate. A signature of the same image with a key must count, too.
func TestSignKeyless(t *testing.T) {
	_, author, identity := sigstore(t)
	_, _, foreign := sigstore(t)
	repo, _ := repository(t, ggcr.WithReferrersSupport(true))
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("an image"), Size: 1}
	alice, alicePublic := keyPair(t)
	for _, by := range []Author{author, alice} {
		if err := Sign(t.Context(), repo, d, by); err != nil {
			t.Fatal(err)
		}
	}
	sigs, err := Verify(t.Context(), repo, d.Digest, identity("https://github.com/org/web/*"), Signer{Name: "alice", Key: alicePublic})
	if err != nil || len(sigs) != 2 || sigs[0].Signer.Name != "alice" || sigs[1].Signer.Name != workflow {
		t.Errorf("%+v, %v", sigs, err)
	}
	strange := foreign(workflow)
	strange.Identity.Identity = identity(workflow).Identity.Identity // the same issuer, but another trust root
	for name, tt := range map[string]struct {
		signer Signer
		want   string
	}{
		"another identity": {identity("https://github.com/org/other/*"), "signed by " + workflow + ", who is not a given identity"},
		"another issuer":   {foreign(workflow), "its certificate comes from an authority that the trust root does not list"},
		"another root":     {strange, "its certificate comes from an authority that the trust root does not list"},
	} {
		_, err := Verify(t.Context(), repo, d.Digest, tt.signer)
		e, ok := errors.AsType[*NoMatchError](err)
		if !ok || len(e.Why) != 1 || !strings.Contains(e.Why[0], tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if uri, err := AuthorURI(t.Context(), author); err != nil || uri != workflow {
		t.Errorf("the author is %s, %v", uri, err)
	}
}

// TestCosignKeyless checks signatures and statements with a certificate, as cosign 1 and 2 store them
// under their tags. verify must refuse each wrong signature, and name the reason.
func TestCosignKeyless(t *testing.T) {
	s, author, identity := sigstore(t)
	other, _, _ := sigstore(t)
	image := digest.FromString("an image")
	payload := func(d digest.Digest) []byte {
		return []byte(`{"critical":{"identity":{"docker-reference":"web"},"image":{"docker-manifest-digest":"` + d.String() + `"},"type":"cosign container image signature"},"optional":null}`)
	}
	signed := func(s *keylesstest.Sigstore) (string, map[string]string) {
		sig, annotations, err := s.SignAsCosign(t.Context(), workflow, payload(image))
		if err != nil {
			t.Fatal(err)
		}
		return sig, annotations
	}
	sig, good := signed(s)
	_, second := signed(s)
	foreignSig, foreign := signed(other)
	with := func(key, value string) map[string]string {
		changed := map[string]string{keyless.CertificateKey: good[keyless.CertificateKey], "dev.sigstore.cosign/bundle": good["dev.sigstore.cosign/bundle"]}
		changed[key] = value
		return changed
	}
	const entry = "dev.sigstore.cosign/bundle"
	for name, tt := range map[string]struct {
		payload     []byte
		sig         string
		annotations map[string]string
		want        string // "" if the signature must count
	}{
		"right":                    {payload(image), sig, good, ""},
		"another deployment":       {payload(image), foreignSig, foreign, "its certificate comes from an authority that the trust root does not list"},
		"another payload":          {[]byte(strings.Replace(string(payload(image)), "null", `{"a":1}`, 1)), sig, good, "its log entry belongs to another signature"},
		"another signature":        {payload(image), sig, second, "its log entry belongs to another signature"},
		"no log entry":             {payload(image), sig, with(entry, ""), "it has no entry in a transparency log"},
		"a log entry cut short":    {payload(image), sig, with(entry, good[entry][:40]), "its log entry is not valid"},
		"log entry of another log": {payload(image), sig, with(entry, foreign[entry]), "its log entry comes from a log that the trust root does not list"},
		"another certificate":      {payload(image), sig, with(keyless.CertificateKey, second[keyless.CertificateKey]), "its log entry belongs to another signature"},
	} {
		repo, _ := repository(t, ggcr.WithReferrersSupport(true))
		tt.annotations[signatureKey] = tt.sig
		tagged(t, repo, cosignTag(image, signatureSuffix), payloadType, tt.payload, tt.annotations)
		sigs, err := Verify(t.Context(), repo, image, identity(workflow))
		e, _ := errors.AsType[*NoMatchError](err)
		switch {
		case tt.want == "" && (err != nil || len(sigs) != 1):
			t.Errorf("%s: %+v, %v", name, sigs, err)
		case tt.want != "" && (e == nil || len(e.Why) != 1 || !strings.Contains(e.Why[0], tt.want)):
			t.Errorf("%s: %+v, %v, want %q", name, e, err, tt.want)
		}
	}

	// cosign stores a statement under the tag .att, with the same annotations as a signature.
	statement, err := Statement("web", image, SPDXPredicate, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(t.Context(), statement, author)
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseBundle(sealed.Data)
	if err != nil {
		t.Fatal(err)
	}
	in := e.bundle.VerificationMaterial.TlogEntries[0]
	bundle, err := json.Marshal(map[string]any{"SignedEntryTimestamp": in.InclusionPromise.SignedEntryTimestamp, "Payload": map[string]any{
		"body": in.CanonicalizedBody, "integratedTime": in.IntegratedTime, "logIndex": in.LogIndex, "logID": digest.NewDigestFromBytes(digest.SHA256, in.LogId.KeyId).Encoded()}})
	if err != nil {
		t.Fatal(err)
	}
	annotations := map[string]string{keyless.CertificateKey: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: keyless.Certificate(e.bundle)})), entry: string(bundle)}
	envelope := parsed(t, sealed.Data).Envelope
	changed := *envelope
	changed.Payload = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(statement), `"web"`, `"wob"`, 1)))
	for name, tt := range map[string]struct {
		envelope *looseEnvelope
		want     string
	}{
		"right":             {envelope, ""},
		"another statement": {&changed, "its log entry belongs to another signature"},
	} {
		repo, _ := repository(t, ggcr.WithReferrersSupport(true))
		tagged(t, repo, cosignTag(image, attestationSuffix), envelopeType, asJSON(t, tt.envelope), annotations)
		all, err := Attestations(t.Context(), repo, image, []Signer{identity(workflow)})
		if err != nil || len(all) != 1 || all[0].Trusted() != (tt.want == "") || !strings.Contains(all[0].Refused, tt.want) {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
}

// tagged stores a layer with annotations as an image under tag.
func tagged(t *testing.T, repo *registry.Repository, tag, mediaType string, data []byte, annotations map[string]string) {
	t.Helper()
	layer := oci.Blob{Data: data, Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data)), Annotations: annotations}}
	config, err := signatureConfig([]ocispec.Descriptor{layer.Descriptor})
	if err != nil {
		t.Fatal(err)
	}
	m, err := oci.JSONBlob(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config.Descriptor, "layers": []ocispec.Descriptor{layer.Descriptor}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(repo.PutBlob(t.Context(), config), repo.PutBlob(t.Context(), layer), repo.PutManifest(t.Context(), m, tag)); err != nil {
		t.Fatal(err)
	}
}
