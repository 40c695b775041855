package attest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// repository returns a repository in a new registry. writes is the number of requests so far that
// change the registry.
func repository(t *testing.T, options ...ggcr.Option) (repo *registry.Repository, writes *atomic.Int64) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	writes = new(atomic.Int64)
	h := ggcr.New(append(options, ggcr.Logger(log.New(io.Discard, "", 0)))...)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writes.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := name.NewRepository(u.Host + "/web")
	if err != nil {
		t.Fatal(err)
	}
	if repo, err = registry.Open(r, registry.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	return repo, writes
}

func keyPair(t *testing.T) (*PrivateKey, *PublicKey) {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := &PrivateKey{ec}
	data, err := private.Public()
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParsePublicKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func TestSignAndVerify(t *testing.T) {
	repo, writes := repository(t, ggcr.WithReferrersSupport(true))
	d := digest.FromString("an image")
	alice, alicePublic := keyPair(t)
	bob, bobPublic := keyPair(t)
	if _, err := Verify(t.Context(), repo, d, Signer{Key: alicePublic}); !errors.Is(err, ErrUnsigned) {
		t.Errorf("before: %v", err)
	}
	if err := Sign(t.Context(), repo, ocispec.Descriptor{Digest: d}, alice); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), repo, d, Signer{Key: bobPublic}); !errors.Is(err, ErrNoMatch) {
		t.Errorf("another key: %v", err)
	}
	if err := Sign(t.Context(), repo, ocispec.Descriptor{Digest: d}, bob); err != nil {
		t.Fatal(err)
	}
	for who, key := range map[string]*PublicKey{"alice": alicePublic, "bob": bobPublic} {
		sigs, err := Verify(t.Context(), repo, d, Signer{Key: key})
		if err != nil || len(sigs) != 1 || sigs[0].Digest != d || sigs[0].Repository != repo.Name() {
			t.Errorf("%s: %+v, %v", who, sigs, err)
		}
	}
	n := writes.Load()
	if err := Sign(t.Context(), repo, ocispec.Descriptor{Digest: d}, alice); err != nil || writes.Load() != n {
		t.Errorf("signed again: %v, %d writes", err, writes.Load()-n)
	}
}

// putSignatures puts a signed payload under the .sig tag of d.
func putSignatures(t *testing.T, repo *registry.Repository, d digest.Digest, payload []byte, signature string) {
	t.Helper()
	layer := ocispec.Descriptor{MediaType: payloadType, Digest: digest.FromBytes(payload), Size: int64(len(payload)),
		Annotations: map[string]string{signatureKey: signature}}
	config, err := signatureConfig([]ocispec.Descriptor{layer})
	if err != nil {
		t.Fatal(err)
	}
	m, err := oci.JSONBlob(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": config.Descriptor, "layers": []ocispec.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []oci.Blob{config, {Descriptor: layer, Data: payload}} {
		if err := repo.PutBlob(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := repo.PutManifest(t.Context(), m, signatureTag(d)); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// signedByCosign is the digest of the image that cosign signed for testdata. cosign 2.6.5 made the
// signatures, and cosign 3.1.3 made the bundle.
const signedByCosign = digest.Digest("sha256:72edf4afacffeeef905a21dddc73ec60182d78765637b0972106a09b028d1d3b")

func TestVerifyCosign(t *testing.T) {
	key, err := ParsePublicKey(readFile(t, "cosign-2.pub"))
	if err != nil {
		t.Fatal(err)
	}
	payload, signature := readFile(t, "cosign-2.payload.json"), string(readFile(t, "cosign-2.signature"))
	repo, _ := repository(t, ggcr.WithReferrersSupport(true))
	putSignatures(t, repo, signedByCosign, payload, signature)
	sigs, err := Verify(t.Context(), repo, signedByCosign, Signer{Key: key})
	if err != nil || len(sigs) != 1 || sigs[0].Repository != "127.0.0.1:5801/web" {
		t.Errorf("%+v, %v", sigs, err)
	}
	// A signature that was copied to the tag of another image must not be accepted.
	other := digest.FromString("another image")
	putSignatures(t, repo, other, payload, signature)
	if _, err := Verify(t.Context(), repo, other, Signer{Key: key}); !errors.Is(err, ErrNoMatch) {
		t.Errorf("signature of another image: %v", err)
	}
	for name, p := range map[string]string{
		"changed":  strings.Replace(string(payload), "5801", "5802", 1),
		"no type":  `{"critical":{"image":{"docker-manifest-digest":"` + signedByCosign.String() + `"}}}`,
		"not JSON": "x",
	} {
		putSignatures(t, repo, signedByCosign, []byte(p), signature)
		if _, err := Verify(t.Context(), repo, signedByCosign, Signer{Key: key}); !errors.Is(err, ErrNoMatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	putSignatures(t, repo, signedByCosign, payload, "!")
	if _, err := Verify(t.Context(), repo, signedByCosign, Signer{Key: key}); !errors.Is(err, ErrNoMatch) {
		t.Errorf("not base64: %v", err)
	}
}

func TestVerifyCosignBundle(t *testing.T) {
	key, err := ParsePublicKey(readFile(t, "cosign-3.pub"))
	if err != nil {
		t.Fatal(err)
	}
	_, stranger := keyPair(t)
	bundle := readFile(t, "cosign-3.bundle.json")
	for _, api := range []bool{true, false} {
		repo, _ := repository(t, ggcr.WithReferrersSupport(api))
		attach := func(d digest.Digest, data []byte) {
			t.Helper()
			_, err := repo.Attach(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: d, Size: 1},
				[]oci.Artifact{{Type: bundleType + ".v0.3+json", MediaType: bundleType + ".v0.3+json", Data: data}})
			if err != nil {
				t.Fatal(err)
			}
		}
		attach(signedByCosign, bundle)
		if sigs, err := Verify(t.Context(), repo, signedByCosign, Signer{Key: key}); err != nil || len(sigs) != 1 {
			t.Errorf("%+v, %v", sigs, err)
		}
		if claims, err := ClaimedSigners(t.Context(), repo, signedByCosign); err != nil || len(claims) != 1 || claims[0] != (ClaimedSigner{}) {
			t.Errorf("%+v, %v", claims, err)
		}
		if _, err := Verify(t.Context(), repo, signedByCosign, Signer{Key: stranger}); !errors.Is(err, ErrNoMatch) {
			t.Errorf("another key: %v", err)
		}
		other := digest.FromString("another image")
		attach(other, bundle)
		if _, err := Verify(t.Context(), repo, other, Signer{Key: key}); !errors.Is(err, ErrNoMatch) {
			t.Errorf("bundle of another image: %v", err)
		}
		if claims, err := ClaimedSigners(t.Context(), repo, other); err != nil || len(claims) != 0 {
			t.Errorf("bundle of another image: %+v, %v", claims, err)
		}
		broken := digest.FromString("broken")
		attach(broken, []byte("{}"))
		if _, err := Verify(t.Context(), repo, broken, Signer{Key: key}); !errors.Is(err, ErrUnsigned) {
			t.Errorf("no envelope: %v", err)
		}
	}
}

func TestPrivateKeys(t *testing.T) {
	no := func() ([]byte, error) { return nil, errors.New("asked for a password") }
	say := func(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }
	cosign := readFile(t, "cosign-2.key")
	key, err := ParsePrivateKey(cosign, say("secret"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public()
	if err != nil || string(public) != string(readFile(t, "cosign-2.pub")) {
		t.Errorf("public half %s, %v", public, err)
	}
	if _, err := ParsePrivateKey(cosign, say("guess")); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := ParsePrivateKey(cosign, no); err == nil || !strings.Contains(err.Error(), "asked for a password") {
		t.Errorf("no password: %v", err)
	}
	made, madePublic, err := GenerateKey([]byte("pass"))
	if err != nil {
		t.Fatal(err)
	}
	if key, err = ParsePrivateKey(made, say("pass")); err != nil {
		t.Fatal(err)
	}
	if public, _ := key.Public(); string(public) != string(madePublic) {
		t.Error("GenerateKey's halves do not fit")
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der})
	}
	sec1, err := x509.MarshalECPrivateKey(key.key)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data []byte
		want string // "" if the key must be accepted
	}{
		"openssl genpkey":  {pkcs8(key.key), ""},
		"openssl ecparam":  {pem.EncodeToMemory(&pem.Block{Type: pemEC, Bytes: sec1}), ""},
		"P-384":            {pkcs8(p384), "not ECDSA on P-256"},
		"Ed25519":          {pkcs8(ed), "not ECDSA on P-256"},
		"a public key":     {madePublic, `PEM type "PUBLIC KEY"`},
		"not PEM":          {[]byte("x"), "not a PEM file"},
		"broken":           {pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: []byte("x")}), "asn1"},
		"broken encrypted": {pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: []byte("{}")}), "asked for a password"},
	} {
		_, err := ParsePrivateKey(tt.data, no)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPublicKeyRefuses(t *testing.T) {
	good := string(readFile(t, "cosign-2.pub"))
	for name, data := range map[string]string{
		"empty":       "",
		"private key": string(readFile(t, "cosign-2.key")),
		"two keys":    good + good,
		"broken":      strings.Replace(good, "\nMF", "\nNF", 1),
	} {
		if _, err := ParsePublicKey([]byte(data)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
