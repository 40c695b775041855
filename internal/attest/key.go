package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/nixoci/nixoci/internal/hint"
)

// These are the PEM types of key files. Cosign's own type contains a PKCS #8 key, encrypted as in
// The Update Framework: JSON with the parameters of scrypt and a NaCl secret box.
const (
	pemSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign   = "ENCRYPTED COSIGN PRIVATE KEY" // used before cosign 2.0
	pemPKCS8    = "PRIVATE KEY"
	pemEC       = "EC PRIVATE KEY"
	pemPublic   = "PUBLIC KEY"
)

// ErrWrongPassword reports that a key file could not be decrypted.
var ErrWrongPassword = errors.New("wrong password")

// makeKey is the advice to a user whose private key cannot be used.
const makeKey = "make one with `cosign generate-key-pair`, or openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"

// PrivateKey signs images with ECDSA on P-256. cosign's keys use the same algorithm.
type PrivateKey struct{ key *ecdsa.PrivateKey }

// ParsePrivateKey reads a key file in PEM. It accepts cosign's own type, and the types PKCS #8 and
// SEC 1 that openssl writes. It calls password only for an encrypted key.
func ParsePrivateKey(data []byte, password func() ([]byte, error)) (*PrivateKey, error) {
	fail := func(err error) (*PrivateKey, error) { return nil, fmt.Errorf("read private key: %w", err) }
	block, _ := pem.Decode(data)
	if block == nil {
		return fail(hint.Add(errors.New("not a PEM file"), makeKey))
	}
	der := block.Bytes
	switch block.Type {
	case pemSigstore, pemCosign:
		p, err := password()
		if err != nil {
			return fail(err)
		}
		if der, err = encrypted.Decrypt(block.Bytes, p); err != nil {
			return fail(hint.Add(ErrWrongPassword, "set COSIGN_PASSWORD to the password of the key, or unset it to be asked"))
		}
	case pemPKCS8:
	case pemEC:
		key, err := x509.ParseECPrivateKey(der)
		if err != nil {
			return fail(err)
		}
		return newPrivateKey(key)
	default:
		return fail(hint.Add(fmt.Errorf("PEM type %q is not a supported private key", block.Type), makeKey))
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return fail(err)
	}
	return newPrivateKey(key)
}

// IsPrivateKey reports whether data, the content of a key file, is a private key.
func IsPrivateKey(data []byte) bool {
	block, _ := pem.Decode(data)
	return block != nil && strings.HasSuffix(block.Type, pemPKCS8)
}

func newPrivateKey(key any) (*PrivateKey, error) {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, hint.Add(errors.New("read private key: not ECDSA on P-256"), makeKey)
	}
	return &PrivateKey{ec}, nil
}

// GenerateKey makes a key. It returns the private key in the format of cosign's key files,
// encrypted with password, and the public key.
func GenerateKey(password []byte) (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	box, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt private key: %w", err)
	}
	public, err = (&PrivateKey{key}).Public()
	return pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: box}), public, err
}

// Public returns the public key in PEM.
func (k *PrivateKey) Public() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&k.key.PublicKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), nil
}

// sign signs the sha256 of message. The call passes no source of randomness, so crypto/ecdsa
// follows RFC 6979: the same message always gets the same signature.
func (k *PrivateKey) sign(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	return k.key.Sign(nil, sum[:], crypto.SHA256)
}

// PublicKey is a key that checks signatures.
type PublicKey struct{ key crypto.PublicKey }

// ID returns the SHA-256 of the key in DER, in base64. A Sigstore bundle uses this ID to name its
// key. Two keys with the same ID are the same key.
func (k *PublicKey) ID() string {
	id, err := hintOf(k.key)
	if err != nil {
		panic(fmt.Sprintf("attest: public key of type %T: %v", k.key, err)) // impossible, because ParsePublicKey has read the key from DER
	}
	return id
}

// ParsePublicKey reads a public key in PEM, in the form that cosign and openssl write. It accepts
// ECDSA, Ed25519 and RSA.
func ParsePublicKey(data []byte) (*PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemPublic {
		err := errors.New("read public key: not a public key in PEM")
		if block != nil && bytes.Contains([]byte(block.Type), []byte(pemPKCS8)) {
			err = hint.Add(err, "this is a private key: give the public one, such as cosign.pub")
		}
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, hint.Add(errors.New("read public key: more than one key in the file"), "put each key into its own file")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	switch key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey, *rsa.PublicKey:
		return &PublicKey{key}, nil
	}
	return nil, fmt.Errorf("read public key: %T is not ECDSA, Ed25519 or RSA", key)
}

// verify reports whether sig is k's signature of message. It tries two hashes: SHA-256, which
// cosign uses with every key that it makes, and the usual hash for the type of the key.
func (k *PublicKey) verify(message, sig []byte) bool {
	check := func(v signature.Verifier, err error) bool {
		return err == nil && v.VerifySignature(bytes.NewReader(sig), bytes.NewReader(message)) == nil
	}
	return check(signature.LoadVerifier(k.key, crypto.SHA256)) || check(signature.LoadDefaultVerifier(k.key))
}

// hint returns the ID by which a Sigstore bundle names the key.
func (k *PrivateKey) hint() (string, error) { return hintOf(&k.key.PublicKey) }

// hintOf returns the sha256 of the key in DER, in base64.
func hintOf(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}
