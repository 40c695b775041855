package closure

import (
	"fmt"
	"strings"
)

// StoreDir is the only store directory that nixoci supports. Paths in another store
// directory have other hashes, so nixoci cannot mix them with paths in StoreDir.
const StoreDir = "/nix/store"

// Sizes of a store path's parts (Nix manual, "Store Path").
const (
	storeHashLen    = 32  // nixbase32 characters, 160 bits
	maxStoreNameLen = 211 // bytes
)

// nixBase32 contains the digits of Nix's base 32. The letters e, o, u and t are no
// digits.
const nixBase32 = "0123456789abcdfghijklmnpqrsvwxyz"

// StorePath is a valid absolute store path, /nix/store/<hash>-<name>. It does not
// name a file below the store path. Use [ParseStorePath] to make a StorePath.
type StorePath string

// ParseStorePath returns s as a StorePath. An error contains s and the fault.
func ParseStorePath(s string) (StorePath, error) {
	base, ok := strings.CutPrefix(s, StoreDir+"/")
	if !ok {
		return "", fmt.Errorf("store path %q: not below %s", s, StoreDir)
	}
	return ParseStoreBase(base)
}

// ParseStoreBase returns the store path for <hash>-<name>. Narinfo files use this
// form in the fields References and Deriver.
func ParseStoreBase(base string) (StorePath, error) {
	hash, name, ok := strings.Cut(base, "-")
	if !ok {
		return "", fmt.Errorf("store path %q: no - after the hash", base)
	}
	if len(hash) != storeHashLen {
		return "", fmt.Errorf("store path %q: hash has %d characters, not %d", base, len(hash), storeHashLen)
	}
	if i := strings.IndexFunc(hash, func(r rune) bool { return !strings.ContainsRune(nixBase32, r) }); i >= 0 {
		return "", fmt.Errorf("store path %q: hash has a character that is not base-32: %q", base, hash[i])
	}
	switch {
	case name == "":
		return "", fmt.Errorf("store path %q: no name after the hash", base)
	case len(name) > maxStoreNameLen:
		return "", fmt.Errorf("store path %q: name is longer than %d bytes", base, maxStoreNameLen)
	case name == "." || name == ".." || strings.HasPrefix(name, ".-") || strings.HasPrefix(name, "..-"):
		return "", fmt.Errorf("store path %q: name %q is not allowed", base, name)
	}
	for i := range len(name) {
		if !storeNameByte(name[i]) {
			return "", fmt.Errorf("store path %q: name has a forbidden character %q", base, name[i])
		}
	}
	return StorePath(StoreDir + "/" + base), nil
}

// SplitFile splits the name of a file in the store into the store path and the name of the file below
// it. The first slash of file may be missing, as in a tar. The name is "" for the store path itself.
func SplitFile(file string) (p StorePath, name string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(file, "/"), StoreDir[1:]+"/")
	if !ok {
		return "", "", false
	}
	base, name, _ := strings.Cut(rest, "/")
	p, err := ParseStoreBase(base)
	return p, name, err == nil
}

func storeNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+-._?=", c) >= 0
}

// Base returns the last element of the path, <hash>-<name>.
func (p StorePath) Base() string { return string(p[len(StoreDir)+1:]) }

// Hash returns the 32 nixbase32 characters before the name.
func (p StorePath) Hash() string { return string(p[len(StoreDir)+1 : len(StoreDir)+1+storeHashLen]) }

// Name returns the part after the hash, for instance "nginx-1.26.1".
func (p StorePath) Name() string { return string(p[len(StoreDir)+1+storeHashLen+1:]) }

// NamedAsSystem reports whether the path has the name that NixOS gives the toplevel of a system.
func (p StorePath) NamedAsSystem() bool { return strings.HasPrefix(p.Name(), "nixos-system-") }

// SplitName does the same as builtins.parseDrvName in Nix. The version starts after
// the first dash whose next character is not a letter.
func SplitName(s string) (name, version string) {
	for i := 0; i+1 < len(s); i++ {
		if c := s[i+1] | 0x20; s[i] == '-' && (c < 'a' || c > 'z') {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
