package closure

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/nar"
)

// contentAddress is a parsed CA field, such as "text:sha256:…", "fixed:sha256:…" or
// "fixed:r:sha256:…".
type contentAddress struct {
	method    string // "text", "flat", "nar" or "git"
	algorithm string
	digest    []byte
}

func parseCA(s string) (contentAddress, error) {
	var ca contentAddress
	rest := s
	for _, p := range []struct{ prefix, method string }{
		{"text:", "text"}, {"fixed:r:", "nar"}, {"fixed:git:", "git"}, {"fixed:", "flat"},
	} {
		if after, ok := strings.CutPrefix(s, p.prefix); ok {
			ca.method, rest = p.method, after
			break
		}
	}
	if ca.method == "" {
		return ca, fmt.Errorf("content address %q: unknown method", s)
	}
	ca.algorithm, _, _ = strings.Cut(rest, ":")
	if i := strings.IndexByte(ca.algorithm, '-'); i >= 0 {
		ca.algorithm = ca.algorithm[:i] // cut the "-" and the base64 of an SRI hash
	}
	var err error
	if ca.digest, err = decodeDigest(ca.algorithm, rest); err != nil {
		return ca, fmt.Errorf("content address %q: %w", s, err)
	}
	return ca, nil
}

// caCheck tells how nixoci can check that a path has the content of its content
// address. After this check, the path needs no signature.
type caCheck int

const (
	caNone caCheck = iota // nixoci cannot check the content address
	caNAR                 // the content address is the narHash
	caFlat                // the tree must be one file, and its sha256 or sha512 must be the digest in the address
)

// checkCA checks that the hash in info.Path follows from info.CA and the references
// (Nix manual, "Complete Store Path Calculation"). It returns caNone for a path that
// refers to itself, because it does not compute the special hash of such a path. So
// such a path needs a signature.
func checkCA(info *Info) (caCheck, contentAddress) {
	ca, err := parseCA(info.CA)
	if err != nil || slices.Contains(info.References, info.Path) {
		return caNone, ca
	}
	var refs strings.Builder
	for _, r := range info.References {
		refs.WriteString(":" + string(r))
	}
	hexDigest := hex.EncodeToString(ca.digest)
	check, kind, inner := caNone, "output:out", ""
	switch {
	case ca.method == "text" && ca.algorithm == "sha256":
		check, kind, inner = caFlat, "text"+refs.String(), hexDigest
	case ca.method == "nar" && ca.algorithm == "sha256":
		check, kind, inner = caNAR, "source"+refs.String(), hexDigest
		if !bytes.Equal(ca.digest, info.NarHash[:]) {
			return caNone, ca
		}
	case ca.method == "flat" && (ca.algorithm == "sha256" || ca.algorithm == "sha512") && len(info.References) == 0:
		sum := sha256.Sum256([]byte("fixed:out:" + ca.algorithm + ":" + hexDigest + ":"))
		check, inner = caFlat, hex.EncodeToString(sum[:])
	default:
		return caNone, ca
	}
	if storeHash(kind, inner, info.Path.Name()) != info.Path.Hash() {
		return caNone, ca
	}
	return check, ca
}

// storeHash returns the hash part of a store path. Nix computes a sha256 and folds it
// to 160 bits.
func storeHash(kind, inner, name string) string {
	sum := sha256.Sum256([]byte(kind + ":sha256:" + inner + ":" + StoreDir + ":" + name))
	var folded [20]byte
	for i, b := range sum {
		folded[i%len(folded)] ^= b
	}
	return encodeNix32(folded[:])
}

// flatVerifier is a Visitor that checks that the tree is one file, and that the hash
// of this file is the digest in the content address.
type flatVerifier struct {
	nar.Visitor
	path StorePath
	ca   contentAddress
}

func (v *flatVerifier) mismatch(what string) error {
	return fmt.Errorf("%s: %s does not match its content address", v.path, what)
}

func (v *flatVerifier) Directory(string) error       { return v.mismatch("a directory") }
func (v *flatVerifier) Symlink(string, string) error { return v.mismatch("a symlink") }

func (v *flatVerifier) File(name string, executable bool, size int64, content io.Reader) error {
	if executable {
		return v.mismatch("an executable file")
	}
	var h hash.Hash = sha256.New()
	if v.ca.algorithm == "sha512" {
		h = sha512.New()
	}
	if err := v.Visitor.File(name, executable, size, io.TeeReader(content, h)); err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), v.ca.digest) {
		return v.mismatch("its contents")
	}
	return nil
}

// CheckAddress checks that the name of a content-addressed path follows from the
// path's content. info.NarHash must be the hash of the path's NAR. If the path is
// one file without the executable bit, contents must be the sha256 of this file.
// Otherwise contents must be nil.
//
// checked is false if info has no content address, or if the address is not a sha256 of
// the NAR or of the contents. For example, old paths have a sha1. If a path refers to
// itself, its address is the hash of a NAR in which zeros replace this reference.
func CheckAddress(info *Info, contents *Hash) (checked bool, err error) {
	if info.CA == "" {
		return false, nil
	}
	ca, err := parseCA(info.CA)
	if err != nil {
		return false, fmt.Errorf("%s: %w", info.Path, err)
	}
	if ca.method == "git" || ca.algorithm != "sha256" || slices.Contains(info.References, info.Path) {
		return false, nil
	}
	check, _ := checkCA(info)
	switch {
	case check == caNAR:
		return true, nil
	case check == caNone:
		return false, fmt.Errorf("%s: the name of the path does not follow from its content address %s", info.Path, info.CA)
	case contents == nil:
		return false, fmt.Errorf("%s: its content address %s is for a single file, but the path is not a single file", info.Path, info.CA)
	case !bytes.Equal(contents[:], ca.digest):
		return false, fmt.Errorf("%s: the hash of its contents is %s, its content address is %s", info.Path, contents.Nix32(), info.CA)
	}
	return true, nil
}
