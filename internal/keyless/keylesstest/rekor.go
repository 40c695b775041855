package keylesstest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/digitorus/timestamp"
	"github.com/go-openapi/runtime"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	tilesnote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"         // register this kind of entries
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1" // register this kind, too
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.2"       // register this kind, too
	rekorutil "github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
)

// treeID is the ID of the tree in the checkpoints of Rekor 1.
const treeID = 42

// firstIndex is the index of the first entry. As in the public Rekor, older trees of the log contain
// the entries before it.
const firstIndex = 1000

// addEntry answers requests to add an entry to Rekor 1. Rekor's own library checks the entry.
func (s *Sigstore) addEntry(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	canonical, err := canonicalEntry(r.Context(), data)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	uuid := hex.EncodeToString(leafHash(canonical))
	s.mu.Lock()
	_, twice := s.stored[uuid]
	s.mu.Unlock()
	if twice {
		w.Header().Set("Location", "/api/v1/log/entries/"+uuid)
		refuse(w, http.StatusConflict, errors.New("an equivalent entry already exists"))
		return
	}
	entry, err := s.record(r.Context(), canonical)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	answer, err := json.Marshal(map[string]any{uuid: entry})
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	s.mu.Lock()
	s.stored[uuid] = answer
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", uuid)
	w.Header().Set("Location", "/api/v1/log/entries/"+uuid)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer)
}

func canonicalEntry(ctx context.Context, data []byte) ([]byte, error) {
	proposed, err := models.UnmarshalProposedEntry(bytes.NewReader(data), runtime.JSONConsumer())
	if err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	return types.CanonicalizeEntry(ctx, entry)
}

func (s *Sigstore) getEntry(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer, ok := s.stored[r.PathValue("uuid")]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, errors.New("entry not found"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer)
}

// add adds a leaf to the log. It returns the index of the leaf and the inclusion proof.
func (s *Sigstore) add(entry []byte) (index int, root []byte, hashes [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaves = append(s.leaves, [32]byte(leafHash(entry)))
	index = len(s.leaves) - 1
	return index, treeHash(s.leaves), inclusion(s.leaves, index)
}

// record adds an entry to Rekor 1, and returns the answer.
func (s *Sigstore) record(ctx context.Context, entry []byte) (map[string]any, error) {
	index, root, hashes := s.add(entry)
	signer, err := signature.LoadECDSASignerVerifier(s.rekor, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	checkpoint, err := rekorutil.CreateAndSignCheckpoint(ctx, "rekor.localhost", treeID, uint64(index+1), root, signer)
	if err != nil {
		return nil, err
	}
	promised := map[string]any{"body": base64.StdEncoding.EncodeToString(entry), "integratedTime": s.LogTime().Unix(), "logID": hex.EncodeToString(keyID(s.rekor)), "logIndex": firstIndex + index}
	data, err := json.Marshal(promised)
	if err != nil {
		return nil, err
	}
	canonical, err := jsoncanonicalizer.Transform(data)
	if err != nil {
		return nil, err
	}
	set, err := signer.SignMessage(bytes.NewReader(canonical))
	if err != nil {
		return nil, err
	}
	hex64 := []string{}
	for _, h := range hashes {
		hex64 = append(hex64, hex.EncodeToString(h))
	}
	promised["verification"] = map[string]any{"signedEntryTimestamp": set, "inclusionProof": map[string]any{
		"checkpoint": string(checkpoint), "hashes": hex64, "logIndex": index, "rootHash": hex.EncodeToString(root), "treeSize": index + 1}}
	return promised, nil
}

// addEntry2 answers requests to add an entry to Rekor 2.
func (s *Sigstore) addEntry2(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	q := new(tiles.CreateEntryRequest)
	if err == nil {
		err = protojson.Unmarshal(data, q)
	}
	in := q.GetHashedRekordRequestV002()
	if err == nil && in == nil {
		err = errors.New("only hashedrekord entries are accepted")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	entry, err := s.record2(r.Context(), in)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(protoJSON(entry))
}

func (s *Sigstore) record2(ctx context.Context, in *tiles.HashedRekordRequestV002) (*rekorv1.TransparencyLogEntry, error) {
	loose := protoJSON(&tiles.Entry{Kind: "hashedrekord", ApiVersion: "0.0.2", Spec: &tiles.Spec{Spec: &tiles.Spec_HashedRekordV002{HashedRekordV002: &tiles.HashedRekordLogEntryV002{
		Data: &commonv1.HashOutput{Algorithm: commonv1.HashAlgorithm_SHA2_256, Digest: in.Digest}, Signature: in.Signature}}}})
	body, err := jsoncanonicalizer.Transform(loose)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		return nil, err
	}
	index, root, hashes := s.add(body)
	signer, err := signature.LoadECDSASignerVerifier(s.rekor, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	noteSigner, err := tilesnote.NewNoteSigner(ctx, u.Hostname(), signer)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", u.Hostname(), index+1, base64.StdEncoding.EncodeToString(root))
	checkpoint, err := note.Sign(&note.Note{Text: text}, noteSigner)
	if err != nil {
		return nil, err
	}
	return &rekorv1.TransparencyLogEntry{LogIndex: int64(index), LogId: &commonv1.LogId{KeyId: keyID(s.rekor)}, KindVersion: &rekorv1.KindVersion{Kind: "hashedrekord", Version: "0.0.2"}, CanonicalizedBody: body,
		InclusionProof: &rekorv1.InclusionProof{LogIndex: int64(index), TreeSize: int64(index + 1), RootHash: root, Hashes: hashes, Checkpoint: &rekorv1.Checkpoint{Envelope: string(checkpoint)}}}, nil
}

// leafHash and nodeHash are the hashes of RFC 6962, section 2.1.
func leafHash(data []byte) []byte {
	sum := sha256.Sum256(append([]byte{0}, data...))
	return sum[:]
}

func nodeHash(left, right []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{1}, left...), right...))
	return sum[:]
}

// half returns the largest power of two that is smaller than n.
func half(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

func treeHash(leaves [][32]byte) []byte {
	if len(leaves) == 1 {
		return leaves[0][:]
	}
	k := half(len(leaves))
	return nodeHash(treeHash(leaves[:k]), treeHash(leaves[k:]))
}

// inclusion returns the hashes that prove that leaf n is in the tree, in the order from the leaf to
// the root.
func inclusion(leaves [][32]byte, n int) [][]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := half(len(leaves))
	if n < k {
		return append(inclusion(leaves[:k], n), treeHash(leaves[k:]))
	}
	return append(inclusion(leaves[k:], n-k), treeHash(leaves[:k]))
}

// stamp answers requests for timestamps (RFC 3161).
func (s *Sigstore) stamp(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	q, err := timestamp.ParseRequest(data)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	t := timestamp.Timestamp{HashAlgorithm: q.HashAlgorithm, HashedMessage: q.HashedMessage, Time: s.StampTime(), Nonce: q.Nonce, Policy: []int{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: q.Certificates}
	answer, err := t.CreateResponseWithOpts(s.stamps.leaf, s.stamps.leafKey, crypto.SHA256)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer)
}
