package keyless

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// cosign 1 and 2 store the certificate, the log entry and the timestamp of a signature in these
// annotations of a layer (sigstore/cosign, specs/SIGNATURE_SPEC.md).
const (
	CertificateKey = "dev.sigstore.cosign/certificate"
	entryKey       = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
)

// bundleV01 is the media type of bundles with log entries that need no inclusion proof. The log
// entries in annotations have none.
const bundleV01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// FromAnnotations makes a bundle from the annotations of cosign 1 and 2. The caller must add the
// signature to the bundle. If the annotations contain no certificate, FromAnnotations returns nil.
func FromAnnotations(annotations map[string]string) (*bundlev1.Bundle, error) {
	block, _ := pem.Decode([]byte(annotations[CertificateKey]))
	if block == nil {
		return nil, nil
	}
	m := &bundlev1.VerificationMaterial{Content: &bundlev1.VerificationMaterial_X509CertificateChain{
		X509CertificateChain: &commonv1.X509CertificateChain{Certificates: []*commonv1.X509Certificate{{RawBytes: block.Bytes}}}}}
	if text := annotations[entryKey]; text != "" {
		entry, err := annotatedEntry([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("its log entry is not valid: %w", err)
		}
		m.TlogEntries = []*rekorv1.TransparencyLogEntry{entry}
	}
	if text := annotations[timestampKey]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if json.Unmarshal([]byte(text), &stamp) != nil {
			return nil, errors.New("its timestamp is not valid")
		}
		m.TimestampVerificationData = &bundlev1.TimestampVerificationData{
			Rfc3161Timestamps: []*commonv1.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}}}
	}
	b := &bundlev1.Bundle{MediaType: bundleV01, VerificationMaterial: m}
	return b, CheckSize(b)
}

// annotatedEntry reads a log entry from an annotation.
func annotatedEntry(data []byte) (*rekorv1.TransparencyLogEntry, error) {
	var in struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           string `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, errors.New("not JSON")
	}
	body, err := base64.StdEncoding.DecodeString(in.Payload.Body)
	if err != nil {
		return nil, errors.New("the body is not base64")
	}
	return newEntry(body, in.Payload.LogID, in.Payload.LogIndex, in.Payload.IntegratedTime, in.SignedEntryTimestamp)
}

// newEntry makes an entry of Rekor v1 without an inclusion proof.
func newEntry(body []byte, logID string, index, seconds int64, promise []byte) (*rekorv1.TransparencyLogEntry, error) {
	id, err := hex.DecodeString(logID)
	if err != nil {
		return nil, errors.New("the ID of the log is not hexadecimal")
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(body, &kind); err != nil {
		return nil, errors.New("the body is not JSON")
	}
	return &rekorv1.TransparencyLogEntry{
		LogIndex: index, LogId: &commonv1.LogId{KeyId: id}, IntegratedTime: seconds, CanonicalizedBody: body,
		KindVersion:      &rekorv1.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		InclusionPromise: &rekorv1.InclusionPromise{SignedEntryTimestamp: promise},
	}, nil
}
