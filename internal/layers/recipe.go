package layers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// Recipe identifies the bytes of a layer by the inputs of the layer. Two layers with the same
// recipe have the same bytes.
type Recipe [sha256.Size]byte

// NewRecipe hashes the format version, the compression with its level, and the sorted
// list of store paths with their narHashes, one per line. So anyone can compute it with a
// shell:
//
//	nixoci-layer 1
//	gzip:5
//	/nix/store/…-a sha256:…
func NewRecipe(comp Compression, infos []closure.Info) Recipe {
	lines := make([]string, len(infos))
	for i, info := range infos {
		lines[i] = string(info.Path) + " " + info.NarHash.Hex() + "\n"
	}
	slices.Sort(lines)
	return recipeOf(comp, "nixoci-layer", FormatVersion, strings.Join(lines, ""))
}

// NewNamedRecipe returns the recipe of a layer that is not made from store paths. kind names
// the kind of layer, and version is the version of the rules for this kind. content must be a
// canonical text: two layers with the same content have the same text.
func NewNamedRecipe(comp Compression, kind string, version int, content string) Recipe {
	return recipeOf(comp, kind, version, content)
}

func recipeOf(comp Compression, kind string, version int, content string) Recipe {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d\n%s\n%s", kind, version, comp, content))
}

// String returns "sha256:" and 64 hexadecimal digits.
func (r Recipe) String() string { return "sha256:" + hex.EncodeToString(r[:]) }

// ParseRecipe parses the output of String.
func ParseRecipe(s string) (Recipe, error) {
	var r Recipe
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != hex.EncodedLen(len(r)) || digits != strings.ToLower(digits) {
		return r, fmt.Errorf("recipe %q: not sha256: and 64 hexadecimal digits", s)
	}
	if _, err := hex.Decode(r[:], []byte(digits)); err != nil {
		return r, fmt.Errorf("recipe %q: %w", s, err)
	}
	return r, nil
}
