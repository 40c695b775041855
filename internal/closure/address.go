package closure

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

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

// Infos returns the infos of those paths that the cache contains, in any order.
func (c *BinaryCache) Infos(ctx context.Context, paths []StorePath) ([]Info, error) {
	return c.known(ctx, paths)
}
