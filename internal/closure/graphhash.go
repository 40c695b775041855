package closure

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// graphHash is a hash in the form of a JSON object. Nix writes the fields algorithm,
// format and hash. Determinate Nix writes the fields algo and base16.
type graphHash struct {
	Algorithm string `json:"algorithm"`
	Format    string `json:"format"`
	Hash      string `json:"hash"`

	Algo   string `json:"algo"`
	Base16 string `json:"base16"`
}

// parseGraphHash converts a hash from any of its JSON forms to text. If algorithm is
// "sha256", ParseHash can read the text.
func parseGraphHash(raw json.RawMessage) (algorithm, text string, err error) {
	if len(raw) == 0 {
		return "", "", errors.New("it is missing")
	}
	if json.Unmarshal(raw, &text) == nil {
		algorithm, _, _ = strings.Cut(text, ":")
		if algorithm == text {
			algorithm, _, _ = strings.Cut(text, "-")
		}
		return algorithm, text, nil
	}
	var h graphHash
	if err := json.Unmarshal(raw, &h); err != nil {
		return "", "", err
	}
	switch {
	case h.Algo != "":
		return h.Algo, h.Algo + ":" + h.Base16, nil
	case h.Format == "base64":
		return h.Algorithm, h.Algorithm + "-" + h.Hash, nil
	case h.Format == "base16" || h.Format == "nix32":
		return h.Algorithm, h.Algorithm + ":" + h.Hash, nil
	}
	return "", "", fmt.Errorf("hash in an unknown format %q", h.Format)
}

// parseGraphSignature returns a signature as "key:base64". In newer forms of a graph,
// a signature is an object with the fields keyName and sig.
func parseGraphSignature(raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, nil
	}
	var o struct {
		KeyName string `json:"keyName"`
		Sig     string `json:"sig"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", err
	}
	return o.KeyName + ":" + o.Sig, nil
}

// parseGraphCA returns a content address in the form of the Nix database. In newer
// forms of a graph, a content address is an object with the fields method and hash.
// The method is "flat", "nar", "text" or "git".
func parseGraphCA(raw json.RawMessage) (string, error) {
	var s *string
	if len(raw) == 0 {
		return "", nil
	}
	if json.Unmarshal(raw, &s) == nil {
		if s == nil {
			return "", nil
		}
		return *s, nil
	}
	var o struct {
		Method string          `json:"method"`
		Hash   json.RawMessage `json:"hash"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", err
	}
	algorithm, text, err := parseGraphHash(o.Hash)
	if err != nil {
		return "", err
	}
	digest, err := decodeDigest(algorithm, text)
	if err != nil {
		return "", err
	}
	prefix, ok := map[string]string{"text": "text:", "flat": "fixed:", "nar": "fixed:r:", "git": "fixed:git:"}[o.Method]
	if !ok {
		return "", fmt.Errorf("unknown method %q", o.Method)
	}
	return prefix + algorithm + ":" + encodeNix32(digest), nil
}

// digestSizes maps Nix's hash algorithms to the size of their digests in bytes.
var digestSizes = map[string]int{"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}

// decodeDigest returns the digest in the text of a hash. The text is "algorithm:"
// with hexadecimal, nixbase32 or base64 digits, or "algorithm-" with base64.
func decodeDigest(algorithm, text string) ([]byte, error) {
	size, ok := digestSizes[algorithm]
	if !ok || len(text) <= len(algorithm) {
		return nil, fmt.Errorf("hash %q: unknown algorithm", text)
	}
	digits := text[len(algorithm)+1:]
	var b []byte
	var err error
	switch len(digits) {
	case hex.EncodedLen(size):
		b, err = hex.DecodeString(digits)
	case base64.StdEncoding.EncodedLen(size):
		b, err = base64.StdEncoding.Strict().DecodeString(digits)
	case (size*8-1)/5 + 1:
		if b = make([]byte, size); !decodeNix32(b, digits) {
			err = errors.New("not nixbase32")
		}
	default:
		err = fmt.Errorf("%d digits", len(digits))
	}
	if err == nil && len(b) != size {
		err = fmt.Errorf("%d bytes", len(b))
	}
	if err != nil {
		return nil, fmt.Errorf("hash %q: %w", text, err)
	}
	return b, nil
}
