package keylesstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
)

// SignAsCosign signs a payload in the form that cosign 1 and 2 store under their tags. It returns the
// signature in base64, and the annotations with the certificate and the log entry.
func (s *Sigstore) SignAsCosign(ctx context.Context, subject string, payload []byte) (signature string, annotations map[string]string, err error) {
	key, err := newKey()
	if err != nil {
		return "", nil, err
	}
	cert, err := s.issue(&key.PublicKey, &tokenClaims{Issuer: s.URL(), Subject: subject})
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return "", nil, err
	}
	proposed, err := json.Marshal(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}},
		"signature": map[string]any{"content": sig, "publicKey": map[string]any{"content": []byte(inPEM(cert))}}}})
	if err != nil {
		return "", nil, err
	}
	canonical, err := canonicalEntry(ctx, proposed)
	if err != nil {
		return "", nil, err
	}
	entry, err := s.record(ctx, canonical)
	if err != nil {
		return "", nil, err
	}
	set := entry["verification"].(map[string]any)["signedEntryTimestamp"]
	delete(entry, "verification")
	bundle, err := json.Marshal(map[string]any{"SignedEntryTimestamp": set, "Payload": entry})
	return base64.StdEncoding.EncodeToString(sig), map[string]string{"dev.sigstore.cosign/certificate": inPEM(cert), "dev.sigstore.cosign/bundle": string(bundle)}, err
}
