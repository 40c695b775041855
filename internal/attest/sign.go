package attest

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// These names belong to cosign's signatures (sigstore/cosign, specs/SIGNATURE_SPEC.md). cosign
// stores the signatures of an image as another image, under the tag sha256-….sig. Each layer of
// this other image is a signed payload, and an annotation of the layer contains the signature.
const (
	payloadType     = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureKey    = "dev.cosignproject.cosign/signature"
	signatureSuffix = ".sig"
	payloadCritical = "cosign container image signature"
	maxPayload      = 1 << 20 // bytes
	maxSignatures   = 1000    // number for each image
)

// payload is the signed document, in Red Hat's format "simple signing" (containers/image,
// docs/containers-signature.5.md).
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// Signature describes a valid signature.
type Signature struct {
	Signer     Signer         // who made the signature
	Digest     digest.Digest  // digest of the signed manifest or index
	Repository string         // the image's repository, as the signer names it
	Optional   map[string]any // other signed fields
}

// The error of Verify wraps ErrUnsigned if the image has no signature at all. It wraps [ErrNoMatch]
// if the image has signatures, but none by the given keys.
var (
	ErrUnsigned = errors.New("no signature")
	ErrNoMatch  = errors.New("no signature by this key")
)

func signatureTag(d digest.Digest) string { return cosignTag(d, signatureSuffix) }

func cosignTag(d digest.Digest, suffix string) string {
	return d.Algorithm().String() + "-" + d.Encoded() + suffix
}

// Sign signs the manifest or index d in repo, and stores the signature beside the existing
// signatures. If the same key signs d again, nothing changes. For an author with a certificate, Sign
// attaches a Sigstore bundle to d. Each call then attaches another bundle.
func Sign(ctx context.Context, repo *registry.Repository, d ocispec.Descriptor, by Author) (err error) {
	if key, ok := by.(*PrivateKey); ok {
		err = sign(ctx, repo, d.Digest, key)
	} else {
		err = attachSignature(ctx, repo, d, by)
	}
	if err != nil {
		return fmt.Errorf("sign %s@%s: %w", repo.Name(), d.Digest, err)
	}
	return nil
}

// attachSignature attaches a signature to d, in the form of cosign 3: the signature of a statement
// without content.
func attachSignature(ctx context.Context, repo *registry.Repository, d ocispec.Descriptor, by Author) error {
	statement, err := Statement(repo.Name(), d.Digest, signPredicate, struct{}{})
	if err != nil {
		return err
	}
	sealed, err := Seal(ctx, statement, by)
	if err != nil {
		return err
	}
	_, err = repo.Attach(ctx, d, []oci.Artifact{sealed})
	return err
}

func sign(ctx context.Context, repo *registry.Repository, d digest.Digest, key *PrivateKey) error {
	var p payload
	p.Critical.Identity.Reference = repo.Name()
	p.Critical.Image.Digest = d
	p.Critical.Type = payloadCritical
	data, err := oci.Marshal(p)
	if err != nil {
		return err
	}
	sig, err := key.sign(data)
	if err != nil {
		return err
	}
	layer := ocispec.Descriptor{MediaType: payloadType, Digest: digest.FromBytes(data), Size: int64(len(data)),
		Annotations: map[string]string{signatureKey: base64.StdEncoding.EncodeToString(sig)}}
	if err := putBlob(ctx, repo, oci.Blob{Descriptor: layer, Data: data}); err != nil {
		return err
	}
	return repo.EditTag(ctx, signatureTag(d), func(old *oci.Blob) (*oci.Blob, error) {
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
		if old != nil {
			if m, err = signatureManifest(*old); err != nil {
				return nil, err
			}
		}
		if slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool {
			return l.Digest == layer.Digest && l.Annotations[signatureKey] == layer.Annotations[signatureKey]
		}) {
			return nil, nil
		}
		m.Layers = append(m.Layers, layer)
		config, err := signatureConfig(m.Layers)
		if err != nil {
			return nil, err
		}
		if err := putBlob(ctx, repo, config); err != nil {
			return nil, err
		}
		m.Config = config.Descriptor
		b, err := oci.JSONBlob(ocispec.MediaTypeImageManifest, m)
		return &b, err
	})
}

func putBlob(ctx context.Context, repo *registry.Repository, b oci.Blob) error {
	has, err := repo.HasBlob(ctx, b.Descriptor)
	if err == nil && !has {
		err = repo.PutBlob(ctx, b)
	}
	return err
}

// signatureConfig returns the image config that cosign writes for signatures. Registries treat it
// as the config of an image without a platform.
func signatureConfig(ls []ocispec.Descriptor) (oci.Blob, error) {
	config := struct {
		Architecture string           `json:"architecture"`
		Created      string           `json:"created"`
		History      []map[string]any `json:"history"`
		OS           string           `json:"os"`
		RootFS       ocispec.RootFS   `json:"rootfs"`
		Config       struct{}         `json:"config"`
	}{Created: noTime, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, l := range ls {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
		config.History = append(config.History, map[string]any{"created": noTime})
	}
	return oci.JSONBlob(ocispec.MediaTypeImageConfig, config)
}

const noTime = "0001-01-01T00:00:00Z"

func signatureManifest(b oci.Blob) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(b.Data, &m); err != nil {
		return m, fmt.Errorf("read signatures %s: %w", b.Descriptor.Digest, err)
	}
	if len(m.Layers) > maxSignatures {
		return m, fmt.Errorf("read signatures: manifest %s has %d, at most %d are read", b.Descriptor.Digest, len(m.Layers), maxSignatures)
	}
	return m, nil
}

// taggedManifest reads the manifest under a tag of cosign. If the tag does not exist,
// taggedManifest returns a manifest without layers.
func taggedManifest(ctx context.Context, src oci.Reader, tag string) (oci.Blob, ocispec.Manifest, error) {
	b, err := src.GetManifest(ctx, tag)
	if errors.Is(err, oci.ErrNotFound) {
		return b, ocispec.Manifest{}, nil
	}
	if err != nil {
		return b, ocispec.Manifest{}, err
	}
	m, err := signatureManifest(b)
	return b, m, err
}

// NoMatchError reports that an image has signatures, but none by a given signer. It wraps
// [ErrNoMatch].
type NoMatchError struct {
	Why []string // reasons why the signatures do not count; nil if no identity is given
}

func (e *NoMatchError) Error() string { return ErrNoMatch.Error() }

// Unwrap returns ErrNoMatch.
func (e *NoMatchError) Unwrap() error { return ErrNoMatch }

// Verify returns the signatures of d by signers. d is a manifest or index in src. If there is no such
// signature, the error wraps [ErrUnsigned] or is a [*NoMatchError]. A copy of an image keeps its
// signatures, so the caller must check whether a signature names the right repository.
func Verify(ctx context.Context, src oci.Reader, d digest.Digest, signers ...Signer) ([]Signature, error) {
	sigs, why, found, err := verifyTag(ctx, src, d, signers)
	if err == nil {
		var all []Attestation
		all, err = bundles(ctx, src, d, signers)
		for i := range all {
			if !all[i].Signed || !all[i].IsSignature() {
				continue
			}
			found++
			for _, s := range all[i].TrustedBy(signers) {
				sigs = append(sigs, Signature{Signer: s, Digest: d})
			}
			if all[i].Refused != "" {
				why = append(why, all[i].Refused)
			}
		}
	}
	switch {
	case err != nil:
	case found == 0:
		err = ErrUnsigned
	case len(sigs) == 0:
		if !slices.ContainsFunc(signers, func(s Signer) bool { return s.Identity != nil }) {
			why = nil // with keys alone, there is only one reason
		}
		err = &NoMatchError{why}
	}
	if err != nil {
		return nil, fmt.Errorf("verify signature of %s: %w", d, err)
	}
	return sigs, nil
}

// verifyTag checks the signatures under the .sig tag. found is the number of all signatures under
// this tag. why contains the reasons why signatures with a certificate do not count.
func verifyTag(ctx context.Context, src oci.Reader, d digest.Digest, signers []Signer) (sigs []Signature, why []string, found int, err error) {
	_, m, err := taggedManifest(ctx, src, signatureTag(d))
	if err != nil {
		return nil, nil, 0, err
	}
	for _, l := range m.Layers {
		if l.MediaType != payloadType {
			continue
		}
		found++
		sig, err := decodeBase64(l.Annotations[signatureKey])
		if err != nil || l.Size > maxPayload {
			continue // the signature cannot be used
		}
		data, err := readBlob(ctx, src, l)
		if err != nil {
			return nil, nil, 0, err
		}
		var p payload
		if json.Unmarshal(data, &p) != nil || p.Critical.Type != payloadCritical || p.Critical.Image.Digest != d {
			continue
		}
		by, reason := payloadSigners(data, sig, l.Annotations, signers)
		for _, s := range by {
			sigs = append(sigs, Signature{s, d, p.Critical.Identity.Reference, p.Optional})
		}
		if reason != "" {
			why = append(why, reason)
		}
	}
	return sigs, why, found, nil
}

// payloadSigners returns those of signers who have made sig, a signature of payload. If the signature
// has a certificate that matches none of signers, why contains the reason.
func payloadSigners(payload, sig []byte, annotations map[string]string, signers []Signer) (by []Signer, why string) {
	for _, s := range signers {
		if s.Key != nil && s.Key.verify(payload, sig) {
			by = append(by, s)
		}
	}
	b, err := payloadBundle(annotations, payload, sig)
	if err != nil {
		return by, err.Error()
	}
	if b == nil {
		return by, ""
	}
	certified, why := certifiedBy(b, payload, signers)
	if by = append(by, certified...); len(by) > 0 {
		return by, ""
	}
	return nil, why
}

func readBlob(ctx context.Context, src oci.Reader, d ocispec.Descriptor) ([]byte, error) {
	rc, err := src.GetBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// ClaimedSigner names the signer of a signature that nixoci has not checked.
type ClaimedSigner struct {
	Repository string `json:"repository,omitempty"` // the image's repository, as the signer names it
	Signer     string `json:"signer,omitempty"`     // name in the certificate; "" for a plain key
}

// ClaimedSigners returns the signers of all signatures of the manifest or index d, under cosign's
// .sig tag and in bundles. It checks none of these signatures.
func ClaimedSigners(ctx context.Context, src oci.Reader, d digest.Digest) ([]ClaimedSigner, error) {
	all, err := taggedSigners(ctx, src, d)
	if err != nil {
		return nil, err
	}
	attached, err := bundles(ctx, src, d, nil)
	if err != nil {
		return nil, err
	}
	for i := range attached {
		if a := &attached[i]; a.IsSignature() && a.statement != nil && slices.Contains(a.statement.digests(), d) {
			all = append(all, ClaimedSigner{Signer: a.Signer})
		}
	}
	return all, nil
}

// taggedSigners returns the claimed signers of the signatures under cosign's .sig tag.
func taggedSigners(ctx context.Context, src oci.Reader, d digest.Digest) (all []ClaimedSigner, err error) {
	_, m, err := taggedManifest(ctx, src, signatureTag(d))
	if err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		if l.MediaType != payloadType || l.Size > maxPayload {
			continue
		}
		data, err := readBlob(ctx, src, l)
		if err != nil {
			return nil, err
		}
		var p payload
		if json.Unmarshal(data, &p) != nil || p.Critical.Image.Digest != d {
			continue // the signature is about another image
		}
		all = append(all, ClaimedSigner{p.Critical.Identity.Reference, signerOf(certificateOf(l.Annotations[keyless.CertificateKey]))})
	}
	return all, nil
}

// certificateOf returns the bytes, in DER, of the first PEM block in text. If there is none, it
// returns nil.
func certificateOf(text string) []byte {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	return block.Bytes
}

// signerOf returns the addresses and URIs in a certificate. If there are none, or if the certificate is
// too long, it returns "".
func signerOf(der []byte) string {
	if len(der) > limit.Proofs {
		return ""
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return ""
	}
	names := slices.Clone(c.EmailAddresses)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return strings.Join(names, ", ")
}
