package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
	"github.com/nixoci/nixoci/internal/oci"
)

// looseBundle is a bundle whose parts a test can change.
type looseBundle struct {
	MediaType string         `json:"mediaType"`
	Material  map[string]any `json:"verificationMaterial,omitempty"`
	Envelope  *looseEnvelope `json:"dsseEnvelope,omitempty"`
	Message   map[string]any `json:"messageSignature,omitempty"`
}

type looseEnvelope struct {
	Payload     string              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []map[string]string `json:"signatures"`
}

func parsed(t *testing.T, data []byte) *looseBundle {
	t.Helper()
	b := new(looseBundle)
	if err := json.Unmarshal(data, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// resign puts payload into b and signs it with key.
func (b *looseBundle) resign(t *testing.T, key *PrivateKey, payload string) {
	t.Helper()
	sig, err := key.sign(dsse.PAE(b.Envelope.PayloadType, []byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	b.Envelope.Payload = base64.StdEncoding.EncodeToString([]byte(payload))
	b.Envelope.Signatures = []map[string]string{{"sig": base64.StdEncoding.EncodeToString(sig)}}
}

// certificate returns a certificate for the signer who, which is valid until the time until. Nobody
// has its private key.
func certificate(t *testing.T, who string, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(who)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{}, URIs: []*url.URL{u}, NotBefore: until.Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestRefused checks that an attestation that proves nothing is refused, with the reason. The same
// attestation without the change must be trusted.
func TestRefused(t *testing.T) {
	alice, alicePublic := keyPair(t)
	mallory, _ := keyPair(t)
	keys := []Signer{{Name: "alice.pub", Key: alicePublic}}
	image, other := digest.FromString("an image"), digest.FromString("another image")
	const predicate = "https://example.org/tested"
	statement, err := Statement("example.org/web", image, predicate, map[string]any{"passed": true})
	if err != nil {
		t.Fatal(err)
	}
	good, err := Seal(t.Context(), statement, alice)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Seal(t.Context(), statement, alice)
	if err != nil || !bytes.Equal(again.Data, good.Data) {
		t.Errorf("sealed again: %v\n%s", err, again.Data)
	}
	with := func(edit func(b *looseBundle)) []byte {
		b := parsed(t, good.Data)
		edit(b)
		return asJSON(t, b)
	}
	signs := func(payload string) []byte { return with(func(b *looseBundle) { b.resign(t, alice, payload) }) }
	about := strings.Replace(string(statement), image.Encoded(), other.Encoded(), 1)
	signature, err := base64.StdEncoding.DecodeString(parsed(t, good.Data).Envelope.Signatures[0]["sig"])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"a statement about another image", signs(about), "it is about " + other.String() + ", not this image"},
		{"payload changed", with(func(b *looseBundle) {
			b.Envelope.Payload = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(statement), "true", "false", 1)))
		}), "names alice.pub as its key, but the signature does not match"},
		{"digest in the payload changed to this image's", with(func(b *looseBundle) {
			b.resign(t, alice, about)
			b.Envelope.Payload = base64.StdEncoding.EncodeToString(statement)
		}), "the signature does not match"},
		{"payload type changed", with(func(b *looseBundle) { b.Envelope.PayloadType = "text/plain" }), `the envelope holds "text/plain"`},
		{"signed by a foreign key", with(func(b *looseBundle) { b.resign(t, mallory, string(statement)); b.Material = nil }), "no given key has signed it"},
		{"signed by a foreign key that claims to be ours", with(func(b *looseBundle) { b.resign(t, mallory, string(statement)) }), "names alice.pub as its key"},
		{"the payload signed without its type", with(func(b *looseBundle) {
			sig, err := alice.sign(statement)
			if err != nil {
				t.Fatal(err)
			}
			b.Envelope.Signatures[0]["sig"] = base64.StdEncoding.EncodeToString(sig)
		}), "the signature does not match"},
		{"one bit of the signature", with(func(b *looseBundle) {
			sig := bytes.Clone(signature)
			sig[len(sig)-1] ^= 1
			b.Envelope.Signatures[0]["sig"] = base64.StdEncoding.EncodeToString(sig)
		}), "the signature does not match"},
		{"signature cut", with(func(b *looseBundle) {
			b.Envelope.Signatures[0]["sig"] = base64.StdEncoding.EncodeToString(signature[:40])
		}), "the signature does not match"},
		{"signature is not base64", with(func(b *looseBundle) { b.Envelope.Signatures[0]["sig"] = "!" }), "not a Sigstore bundle"},
		{"no signature", with(func(b *looseBundle) { b.Envelope.Signatures = nil }), "no signature"},
		{"too many signatures", with(func(b *looseBundle) {
			for range limit.Signatures {
				b.Envelope.Signatures = append(b.Envelope.Signatures, map[string]string{"sig": "AA=="})
			}
		}), "65 signatures, at most 64 are read"},
		{"expired certificate", with(func(b *looseBundle) {
			b.resign(t, mallory, string(statement))
			b.Material = map[string]any{"certificate": map[string]any{"rawBytes": certificate(t, "https://ci.example/job", time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC))}}
		}), "a certificate of https://ci.example/job that expired on 2020-02-03"},
		{"foreign certificate", with(func(b *looseBundle) {
			b.resign(t, mallory, string(statement))
			b.Material = map[string]any{"x509CertificateChain": map[string]any{"certificates": []any{map[string]any{"rawBytes": certificate(t, "https://ci.example/job", time.Now().Add(time.Hour))}}}}
		}), "a certificate of https://ci.example/job, not with a given key"},
		{"certificate is garbage", with(func(b *looseBundle) {
			b.resign(t, mallory, string(statement))
			b.Material = map[string]any{"certificate": map[string]any{"rawBytes": "AAAA"}}
		}), "a certificate that cannot be read"},
		{"cut short", good.Data[:len(good.Data)/2], "not a Sigstore bundle"},
		{"empty", []byte{}, "not a Sigstore bundle"},
		{"not JSON", []byte("signed, honestly"), "not a Sigstore bundle"},
		{"no envelope", []byte(`{"mediaType":"` + BundleV03 + `"}`), "no envelope"},
		{"signature of bytes and not of a statement", with(func(b *looseBundle) {
			b.Envelope, b.Message = nil, map[string]any{"signature": "AA=="}
		}), "no envelope"},
		{"payload is not a statement", signs(`{"a":1}`), "not an in-toto statement"},
		{"payload is not JSON", signs(`x`), "not an in-toto statement"},
		{"statement of another kind", signs(`{"_type":"https://example.org/Statement/v1"}`), "not an in-toto statement"},
		{"no predicate type", signs(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + image.Encoded() + `"}}]}`), "no predicate type"},
		{"no subject", signs(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.org/tested"}`), "no subject"},
		{"subject without sha256", signs(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[{"digest":{"sha512":"00"}}]}`), "no subject"},
		{"subject with half a digest", signs(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[{"digest":{"sha256":"` + image.Encoded()[:32] + `"}}]}`), "no subject"},
		{"too long", bytes.Repeat([]byte(" "), limit.Bundle+1), "at most 25165824 are read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := attestedBy(t, image, tt.data, keys)
			if a.Trusted() || !strings.Contains(a.Refused, tt.want) {
				t.Errorf("signed by %v: %q, want %q", a.SignedBy, a.Refused, tt.want)
			}
		})
	}
	if a := attestedBy(t, image, good.Data, keys); !a.Trusted() || a.PredicateType != predicate || a.SignedBy[0].Name != "alice.pub" || string(a.Predicate()) != `{"passed":true}` {
		t.Errorf("unchanged: %+v", a)
	}
	if a := attestedBy(t, image, good.Data, nil); a.Trusted() || !a.Signed || a.Refused == "" {
		t.Errorf("without a key: %+v", a)
	}
	two := append([]Signer{{Name: "bob.pub", Key: &PublicKey{&mallory.key.PublicKey}}}, keys...)
	both := with(func(b *looseBundle) {
		b.Envelope.Signatures = append([]map[string]string{{"sig": "AA=="}}, b.Envelope.Signatures...)
	})
	if a := attestedBy(t, image, both, two); !a.Trusted() || strings.Join(SignerNames(a.SignedBy), " ") != "alice.pub" {
		t.Errorf("two keys, two signatures: %+v", a)
	}
}

// TestBundleLength checks that nixoci reads a bundle of the largest allowed length, and refuses a
// longer one.
func TestBundleLength(t *testing.T) {
	alice, public := keyPair(t)
	image := digest.FromString("an image")
	statement, err := Statement("example.org/web", image, "https://example.org/tested", map[string]any{"passed": true})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(t.Context(), statement, alice)
	if err != nil {
		t.Fatal(err)
	}
	limittest.Around(t, limit.Bundle, "at most", func(n int) error {
		padded := append(bytes.Clone(sealed.Data), bytes.Repeat([]byte(" "), n-len(sealed.Data))...)
		if a := attestedBy(t, image, padded, []Signer{{Name: "alice.pub", Key: public}}); !a.Trusted() {
			return errors.New(a.Refused)
		}
		return nil
	})
}

// attestedBy attaches a bundle to the image d and reads it again.
func attestedBy(t *testing.T, d digest.Digest, bundle []byte, keys []Signer) Attestation {
	t.Helper()
	repo, _ := repository(t, ggcr.WithReferrersSupport(true))
	_, err := repo.Attach(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: d, Size: 1},
		[]oci.Artifact{{Type: BundleV03, MediaType: BundleV03, Data: bundle}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := Attestations(t.Context(), repo, d, keys)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

// TestTaggedEnvelopes checks the attestations that cosign 2 stores under a tag.
func TestTaggedEnvelopes(t *testing.T) {
	alice, public := keyPair(t)
	_, stranger := keyPair(t)
	image := digest.FromString("an image")
	statement, err := Statement("example.org/web", image, SPDXPredicate, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(t.Context(), statement, alice)
	if err != nil {
		t.Fatal(err)
	}
	envelope := asJSON(t, parsed(t, sealed.Data).Envelope)
	for _, tt := range []struct {
		name string
		data []byte
		key  *PublicKey
		want string // "" if it must be trusted
	}{
		{"signed", envelope, public, ""},
		{"by another key", envelope, stranger, "no given key has signed it"},
		{"cut", envelope[:50], public, "not an envelope"},
		{"payload is not base64", bytes.Replace(envelope, []byte(`"payload":"`), []byte(`"payload":"!`), 1), public, "not base64"},
		{"signature is not base64", bytes.Replace(envelope, []byte(`"sig":"`), []byte(`"sig":"!`), 1), public, "not base64"},
	} {
		repo, _ := repository(t, ggcr.WithReferrersSupport(true))
		layer := oci.Blob{Data: tt.data, Descriptor: ocispec.Descriptor{MediaType: envelopeType, Digest: digest.FromBytes(tt.data), Size: int64(len(tt.data))}}
		config, err := signatureConfig([]ocispec.Descriptor{layer.Descriptor})
		if err != nil {
			t.Fatal(err)
		}
		m, err := oci.JSONBlob(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
			"config": config.Descriptor, "layers": []ocispec.Descriptor{layer.Descriptor, config.Descriptor}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(repo.PutBlob(t.Context(), config), repo.PutBlob(t.Context(), layer), repo.PutManifest(t.Context(), m, cosignTag(image, attestationSuffix))); err != nil {
			t.Fatal(err)
		}
		all, err := Attestations(t.Context(), repo, image, []Signer{{Name: "k", Key: tt.key}})
		if err != nil || len(all) != 1 || all[0].Trusted() != (tt.want == "") || !strings.Contains(all[0].Refused, tt.want) {
			t.Errorf("%s: %+v, %v", tt.name, all, err)
		}
	}
}

func TestPredicateType(t *testing.T) {
	for name, want := range map[string]string{
		"spdx": SPDXPredicate, "slsaprovenance1": ProvenanceType, "https://example.org/x": "https://example.org/x",
		"sbomb": "", "": "", "example.org/x": "", "https:": "",
	} {
		if got, err := PredicateType(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}
