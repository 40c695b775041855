package closure

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/limit"
)

// Narinfo holds the content of one .narinfo file of a binary cache (Nix manual,
// ".narinfo Format").
type Narinfo struct {
	Info
	URL         string // URL of the NAR, relative to the cache
	Compression string // "xz", "none", …
	FileSize    int64  // bytes of the compressed NAR; 0 if unknown
}

// FieldError is an error in one field of a narinfo or of nix-cache-info.
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{field, fmt.Errorf(format, args...)}
}

// ParseNarinfo reads a narinfo. All its errors are of type [*FieldError]. It ignores
// unknown fields, as Nix does.
func ParseNarinfo(data []byte) (*Narinfo, error) {
	n := &Narinfo{Compression: "bzip2"} // default of Nix for a missing field
	seen := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fieldErrorf("line", "%.60q has no colon", line)
		}
		value = strings.TrimPrefix(value, " ")
		if seen[key] && key != "Sig" {
			return nil, fieldErrorf(key, "the field occurs twice")
		}
		seen[key] = true
		if err := n.set(key, value); err != nil {
			return nil, &FieldError{key, err}
		}
	}
	for _, key := range []string{"StorePath", "URL", "NarHash", "NarSize", "References"} {
		if !seen[key] {
			return nil, fieldErrorf(key, "it is missing")
		}
	}
	return n, nil
}

func (n *Narinfo) set(key, value string) (err error) {
	switch key {
	case "StorePath":
		n.Path, err = ParseStorePath(value)
	case "URL":
		n.URL = strings.Clone(value) // without Clone, n would keep the whole file in memory
		err = checkNARURL(value)
	case "Compression":
		n.Compression = strings.Clone(value)
		if value == "" {
			n.Compression = "bzip2"
		}
		if decoders[n.Compression] == nil {
			err = fmt.Errorf("%q is unknown", value)
		}
	case "FileSize":
		n.FileSize, err = strconv.ParseInt(value, 10, 64)
		if err == nil && n.FileSize < 0 {
			err = fmt.Errorf("%d is not a size", n.FileSize)
		}
	case "NarHash":
		n.NarHash, err = ParseHash(value)
	case "NarSize":
		n.NarSize, err = strconv.ParseInt(value, 10, 64)
		if err == nil && n.NarSize <= 0 {
			err = fmt.Errorf("%d is not a size", n.NarSize)
		}
	case "References":
		for base := range strings.FieldsSeq(value) {
			ref, err := ParseStoreBase(base)
			if err != nil {
				return err
			}
			n.References = append(n.References, ref)
		}
		slices.Sort(n.References)
		n.References = slices.Compact(n.References)
	case "Deriver":
		if value == "" || value == "unknown-deriver" {
			return nil
		}
		var deriver StorePath
		if deriver, err = ParseStoreBase(value); err == nil {
			n.Deriver = deriver.Base()
		}
	case "Sig":
		if _, _, err = parseSignature(value); err == nil {
			n.Signatures = append(n.Signatures, strings.Clone(value))
		}
		if len(n.Signatures) > limit.Signatures {
			err = fmt.Errorf("more than %d", limit.Signatures)
		}
	case "CA":
		if value != "" {
			n.CA = strings.Clone(value)
			_, err = parseCA(value)
		}
	}
	return err
}

// checkNARURL rejects URLs that point outside the cache. Both Nix and nixoci
// append this field to the URL of the cache.
func checkNARURL(s string) error {
	p, _, _ := strings.Cut(s, "?")
	switch {
	case p == "" || strings.HasPrefix(p, "/") || strings.Contains(p, "://"):
		return fmt.Errorf("%q is not relative to the cache", s)
	case path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("%q leaves the cache", s)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '#' || c == '\\' {
			return fmt.Errorf("%q is not a URL", s)
		}
	}
	return nil
}
