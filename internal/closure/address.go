package closure

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// CheckAddress checks that the content of a content-addressed path gives the
// path's name. info.NarHash must be the hash of its NAR. If the path is one
// file without the executable bit, contents is the sha256 of that file;
// otherwise it is nil.
//
// checked is false if there is nothing to compare: info has no content address,
// or its address is not a sha256 of the NAR or of the contents. A path that
// refers to itself has a hash modulo itself, and old paths have sha1.
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

// Known returns the infos of those paths that the cache has, in any order.
func (c *BinaryCache) Known(ctx context.Context, paths []StorePath) ([]Info, error) {
	return c.known(ctx, paths)
}
