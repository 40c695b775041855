package keyless

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssev1 "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const entriesPath = "/api/v1/log/entries"

// addToRekor records the signature of an envelope in a Rekor of version 1. The log stores the hashes
// of the envelope and of its content, the signature and the certificate, but not the content.
func (s *Signer) addToRekor(ctx context.Context, url string, e *dssev1.Envelope, cert *x509.Certificate) (*rekorv1.TransparencyLogEntry, error) {
	envelope, err := json.Marshal(dsse.Envelope{PayloadType: e.PayloadType, Payload: base64.StdEncoding.EncodeToString(e.Payload),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(e.Signatures[0].Sig)}}})
	if err != nil {
		return nil, err
	}
	type content struct {
		Envelope  string   `json:"envelope"`
		Verifiers [][]byte `json:"verifiers"`
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"proposedContent": content{string(envelope), [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})}}}})
	if err != nil {
		return nil, err
	}
	a, err := s.client.send(ctx, request{method: http.MethodPost, url: join(url, entriesPath), body: body, accept: []int{http.StatusCreated},
		header: map[string]string{"Content-Type": "application/json", "Accept": "application/json"}})
	if old, ok := errors.AsType[*statusError](err); ok && old.status == http.StatusConflict {
		a, err = s.recorded(ctx, url, old.header.Get("Location"))
	}
	if err != nil {
		return nil, err
	}
	return parseEntry(a.body)
}

// recorded reads an entry that is already in the log. The entry can exist because an earlier answer
// of the log was lost.
func (s *Signer) recorded(ctx context.Context, url, location string) (*answer, error) {
	uuid := location[strings.LastIndex(location, "/")+1:]
	if _, err := hex.DecodeString(uuid); err != nil || uuid == "" {
		return nil, fmt.Errorf("the log has the entry already, and its address %q is not valid", location)
	}
	return s.client.send(ctx, request{method: http.MethodGet, url: join(url, entriesPath+"/"+uuid), accept: []int{http.StatusOK},
		header: map[string]string{"Accept": "application/json"}})
}

// parseEntry reads the answer of a Rekor of version 1. The answer is an object with one entry.
func parseEntry(data []byte) (*rekorv1.TransparencyLogEntry, error) {
	var all map[string]struct {
		Body           string `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       int64  `json:"logIndex"`
		Verification   struct {
			SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
			InclusionProof       *struct {
				Checkpoint string   `json:"checkpoint"`
				Hashes     []string `json:"hashes"`
				LogIndex   int64    `json:"logIndex"`
				RootHash   string   `json:"rootHash"`
				TreeSize   int64    `json:"treeSize"`
			} `json:"inclusionProof"`
		} `json:"verification"`
	}
	if err := json.Unmarshal(data, &all); err != nil || len(all) != 1 {
		return nil, errors.New("the answer is not one log entry")
	}
	for _, in := range all {
		body, err := base64.StdEncoding.DecodeString(in.Body)
		if err != nil {
			return nil, errors.New("the body of the log entry is not base64")
		}
		entry, err := newEntry(body, in.LogID, in.LogIndex, in.IntegratedTime, in.Verification.SignedEntryTimestamp)
		if err != nil {
			return nil, err
		}
		p := in.Verification.InclusionProof
		if p == nil {
			return nil, errors.New("the log entry has no inclusion proof")
		}
		entry.InclusionProof = &rekorv1.InclusionProof{LogIndex: p.LogIndex, TreeSize: p.TreeSize, Checkpoint: &rekorv1.Checkpoint{Envelope: p.Checkpoint}}
		for n, text := range append([]string{p.RootHash}, p.Hashes...) {
			hash, err := hex.DecodeString(text)
			if err != nil {
				return nil, errors.New("a hash of the inclusion proof is not hexadecimal")
			}
			if n == 0 {
				entry.InclusionProof.RootHash = hash
			} else {
				entry.InclusionProof.Hashes = append(entry.InclusionProof.Hashes, hash)
			}
		}
		return entry, nil
	}
	return nil, nil
}

// addToRekor2 records the signature of an envelope in a Rekor of version 2. The log stores the hash
// of the signed content, the signature and the certificate.
func (s *Signer) addToRekor2(ctx context.Context, url string, e *dssev1.Envelope, cert *x509.Certificate) (*rekorv1.TransparencyLogEntry, error) {
	sum := sha256.Sum256(dsse.PAE(e.PayloadType, e.Payload))
	body, err := json.Marshal(map[string]any{"hashedRekordRequestV002": map[string]any{
		"digest": sum[:],
		"signature": map[string]any{
			"content": e.Signatures[0].Sig,
			"verifier": map[string]any{
				"x509Certificate": map[string]any{"rawBytes": cert.Raw},
				"keyDetails":      commonv1.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256.String(),
			},
		},
	}})
	if err != nil {
		return nil, err
	}
	a, err := s.client.send(ctx, request{method: http.MethodPost, url: join(url, "/api/v2/log/entries"), body: body, accept: []int{http.StatusOK, http.StatusCreated},
		header: map[string]string{"Content-Type": "application/json"}})
	if err != nil {
		return nil, err
	}
	entry := new(rekorv1.TransparencyLogEntry)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(a.body, entry); err != nil {
		return nil, errors.New("the answer is not a log entry") // protojson's error texts differ from build to build
	}
	if !bytes.Contains(entry.CanonicalizedBody, []byte(base64.StdEncoding.EncodeToString(sum[:]))) {
		return nil, errors.New("the log entry belongs to another signature")
	}
	return entry, nil
}
