package closure

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// CheckAddress checks that a content-addressed path, whose NAR has
// info.NarHash, is at the path that its content gives. contents is the sha256
// of the contents of a path that is one file without the executable bit, nil of
// any other. Checked is false where info has no content address, or one that
// says something else than sha256 of the NAR or of the contents: a path that
// refers to itself has a hash modulo itself, old ones have sha1.
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
		return false, fmt.Errorf("%s: its content address %s gives another path", info.Path, info.CA)
	case contents == nil:
		return false, fmt.Errorf("%s: not one file, as its content address %s says", info.Path, info.CA)
	case !bytes.Equal(contents[:], ca.digest):
		return false, fmt.Errorf("%s: the hash of its contents is %s, its content address is %s", info.Path, contents.Nix32(), info.CA)
	}
	return true, nil
}

// Known returns what the cache says of those of paths that it has, in any order.
func (c *Cache) Known(ctx context.Context, paths []StorePath) ([]Info, error) {
	return c.known(ctx, paths)
}
