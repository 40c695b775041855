package closure

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// PublicKey is a key that verifies signatures of store paths.
type PublicKey struct {
	Name string
	Key  ed25519.PublicKey
}

// DefaultPublicKey is the key of cache.nixos.org.
const DefaultPublicKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

// These errors are wrapped by the errors of [TrustedKeys.Verify].
var (
	ErrUnsigned     = errors.New("it has no signature")
	ErrUntrustedKey = errors.New("no trusted key has signed it")
	ErrBadSignature = errors.New("signature does not match")
)

// ParsePublicKey reads "name:base64", the form of Nix's trusted-public-keys.
func ParsePublicKey(s string) (PublicKey, error) {
	name, text, ok := strings.Cut(s, ":")
	if !ok || name == "" {
		return PublicKey{}, fmt.Errorf("public key %q: not name:base64", s)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key %q: %w", s, err)
	}
	if len(key) == ed25519.PrivateKeySize {
		// Do not print the text: it may be a secret.
		return PublicKey{}, fmt.Errorf("public key %q: this is a secret key", name)
	}
	if len(key) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("public key %q: %d bytes, not %d", s, len(key), ed25519.PublicKeySize)
	}
	return PublicKey{name, key}, nil
}

// parseSignature reads "name:base64".
func parseSignature(s string) (name string, sig []byte, err error) {
	name, text, ok := strings.Cut(s, ":")
	if !ok || name == "" {
		return "", nil, fmt.Errorf("signature %q: not name:base64", s)
	}
	sig, err = base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && len(sig) != ed25519.SignatureSize {
		err = fmt.Errorf("%d bytes, not %d", len(sig), ed25519.SignatureSize)
	}
	if err != nil {
		return "", nil, fmt.Errorf("signature %q: %w", s, err)
	}
	return name, sig, nil
}

// TrustedKeys maps the names of trusted keys to the keys.
type TrustedKeys map[string]ed25519.PublicKey

// NewTrustedKeys parses keys in the form "name:base64".
func NewTrustedKeys(keys ...string) (TrustedKeys, error) {
	t := TrustedKeys{}
	for _, s := range keys {
		k, err := ParsePublicKey(s)
		if err != nil {
			return nil, err
		}
		t[k.Name] = k.Key
	}
	return t, nil
}

// Fingerprint returns the text over which Nix computes the signatures of the store
// path.
func (i *Info) Fingerprint() string {
	var b strings.Builder
	b.WriteString("1;")
	b.WriteString(string(i.Path))
	b.WriteByte(';')
	b.WriteString(i.NarHash.Nix32())
	b.WriteByte(';')
	b.WriteString(strconv.FormatInt(i.NarSize, 10))
	sep := byte(';')
	for _, r := range i.References {
		b.WriteByte(sep)
		b.WriteString(string(r))
		sep = ','
	}
	if len(i.References) == 0 {
		b.WriteByte(sep)
	}
	return b.String()
}

// Verify returns nil if a trusted key has signed info. One valid signature is
// enough. The references of info must be sorted.
func (t TrustedKeys) Verify(info *Info) error {
	var unknown []string
	var bad string
	var signed []byte
	for _, s := range info.Signatures {
		name, sig, err := parseSignature(s)
		if err != nil {
			return fmt.Errorf("%s: %w", info.Path, err)
		}
		key, ok := t[name]
		if ok && signed == nil {
			signed = []byte(info.Fingerprint())
		}
		switch {
		case !ok:
			unknown = append(unknown, name)
		case ed25519.Verify(key, signed, sig):
			return nil
		default:
			bad = name
		}
	}
	const advice = "trust its key with --trusted-public-key NAME:BASE64, or every path with --no-require-signatures"
	switch {
	case bad != "":
		return fmt.Errorf("%s: %w: by %s", info.Path, ErrBadSignature, bad)
	case len(unknown) > 0:
		return hint.Add(fmt.Errorf("%s: %w, only %s", info.Path, ErrUntrustedKey, strings.Join(unknown, ", ")), advice)
	}
	return hint.Add(fmt.Errorf("%s: %w", info.Path, ErrUnsigned),
		"sign it with `nix store sign`, or accept every path with --no-require-signatures")
}
