package attest

import (
	"encoding/json"
	"os"
	"testing"
)

// FuzzBundle reads bundles from anybody. If the key's signature is valid, the statement must be
// about the image that cosign 3 signed.
func FuzzBundle(f *testing.F) {
	data, err := os.ReadFile("testdata/cosign-3.bundle.json")
	if err != nil {
		f.Fatal(err)
	}
	pem, err := os.ReadFile("testdata/cosign-3.pub")
	if err != nil {
		f.Fatal(err)
	}
	key, err := ParsePublicKey(pem)
	if err != nil {
		f.Fatal(err)
	}
	keys := []Signer{{Name: "cosign-3.pub", Key: key}}
	genuine, err := parseBundle(data)
	if err != nil {
		f.Fatal(err)
	}
	if by, why := genuine.signedBy(keys); len(by) != 1 || len(genuine.statement.digests()) != 1 {
		f.Fatalf("%+v, %s", genuine, why)
	}
	want := genuine.statement.digests()[0]
	f.Add(data)
	f.Add([]byte(`{"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"!"}]}}`))
	f.Add([]byte(`{"verificationMaterial":{"x509CertificateChain":{"certificates":[]}},"dsseEnvelope":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBundle(data)
		if err != nil {
			return
		}
		by, why := b.signedBy(keys)
		if (len(by) == 0) == (why == "") {
			t.Errorf("signed by %v, reason %q", by, why)
		}
		if len(by) == 0 {
			return
		}
		if d := b.statement.digests(); len(d) != 1 || d[0] != want {
			t.Errorf("the key signed %s, not %v", want, d)
		}
	})
}

// FuzzSignaturePayload reads payloads in the format that cosign 2 signs. A payload must stay the
// same when it is written and read again.
func FuzzSignaturePayload(f *testing.F) {
	f.Add([]byte(`{"critical":{"identity":{"docker-reference":"a/b"},"image":{"docker-manifest-digest":"sha256:72edf4afacffeeef905a21dddc73ec60182d78765637b0972106a09b028d1d3b"},"type":"cosign container image signature"},"optional":{"a":1}}`), "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
	f.Add([]byte(`{"critical":null}`), "")
	f.Fuzz(func(t *testing.T, data []byte, certificate string) {
		signerOf(certificateOf(certificate))
		var p payload
		if json.Unmarshal(data, &p) != nil {
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q payload
		if err := json.Unmarshal(again, &q); err != nil || q.Critical != p.Critical {
			t.Errorf("%+v is read again as %+v: %v", p, q, err)
		}
	})
}

// FuzzSummary reads verification summaries from anybody. If nixoci accepts a summary, it must stay
// the same when it is written and read again.
func FuzzSummary(f *testing.F) {
	good, err := json.Marshal(testSummary())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"verifier":{"id":"x"},"timeVerified":"0001-01-01T00:00:00.5-23:00","resourceUri":"x","policy":{"uri":"x"},"verificationResult":"FAILED","verifiedLevels":null}`))
	f.Add([]byte(`{"timeVerified":"9999-12-31T23:59:59-23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseVerificationSummary(data)
		if err != nil {
			return
		}
		if s.Rebuilt() && s.Result != Passed {
			t.Errorf("%+v was made again", s)
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := ParseVerificationSummary(again); err != nil || second.String() != s.String() || second.Rebuilt() != s.Rebuilt() {
			t.Errorf("%+v, %v, was %+v", second, err, s)
		}
	})
}
