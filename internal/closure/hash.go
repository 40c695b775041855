package closure

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash is a sha256 digest.
type Hash [sha256.Size]byte

const nix32Len = (sha256.Size*8-1)/5 + 1 // 52

// ParseHash reads every form that Nix has used for a sha256: "sha256:" with 64
// hexadecimal or 52 nixbase32 digits, and SRI ("sha256-" with base64).
func ParseHash(s string) (Hash, error) {
	var h Hash
	if b64, ok := strings.CutPrefix(s, "sha256-"); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(b64)
		if err != nil || len(b) != len(h) {
			return h, fmt.Errorf("hash %q: not 32 bytes of base64", s)
		}
		return Hash(b), nil
	}
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return h, fmt.Errorf("hash %q: not a sha256", s)
	}
	switch len(digits) {
	case hex.EncodedLen(len(h)):
		if _, err := hex.Decode(h[:], []byte(digits)); err != nil {
			return h, fmt.Errorf("hash %q: %w", s, err)
		}
		return h, nil
	case nix32Len:
		if !decodeNix32(h[:], digits) {
			return h, fmt.Errorf("hash %q: not nixbase32", s)
		}
		return h, nil
	}
	return h, fmt.Errorf("hash %q: %d digits, neither hexadecimal nor nixbase32", s, len(digits))
}

// decodeNix32 decodes s, in Nix's little-endian base 32, into dst. It returns false
// if s contains other characters than nixBase32, or more bits than dst can hold.
func decodeNix32(dst []byte, s string) bool {
	clear(dst)
	for n := range len(s) {
		digit := strings.IndexByte(nixBase32, s[len(s)-n-1])
		if digit < 0 {
			return false
		}
		bit := n * 5
		i, j := bit/8, bit%8
		if i >= len(dst) {
			return digit == 0
		}
		dst[i] |= byte(digit << j)
		if carry := digit >> (8 - j); i+1 < len(dst) {
			dst[i+1] |= byte(carry)
		} else if carry != 0 {
			return false
		}
	}
	return true
}

func encodeNix32(src []byte) string {
	n := (len(src)*8-1)/5 + 1
	var b strings.Builder
	b.Grow(n)
	for n--; n >= 0; n-- {
		bit := n * 5
		i, j := bit/8, bit%8
		c := src[i] >> j
		if i+1 < len(src) {
			c |= src[i+1] << (8 - j)
		}
		b.WriteByte(nixBase32[c&0x1f])
	}
	return b.String()
}

// Hex returns "sha256:" and 64 hexadecimal digits. The Nix database and OCI use this
// form.
func (h Hash) Hex() string { return "sha256:" + hex.EncodeToString(h[:]) }

// Nix32 returns "sha256:" and 52 nixbase32 digits. Narinfo files use this form.
func (h Hash) Nix32() string { return "sha256:" + encodeNix32(h[:]) }

// SRI returns "sha256-" and base64. Newer versions of Nix print this form.
func (h Hash) SRI() string { return "sha256-" + base64.StdEncoding.EncodeToString(h[:]) }

// String returns the same as SRI.
func (h Hash) String() string { return h.SRI() }
