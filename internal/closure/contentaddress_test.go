package closure

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	contents := Hash(sha256.Sum256([]byte("hello")))
	other := Hash(sha256.Sum256([]byte("other")))
	nar := Hash(sha256.Sum256([]byte("nar")))
	at := func(kind, inner string) StorePath {
		return StorePath(StoreDir + "/" + storeHash(kind, inner, "x") + "-x")
	}
	dep := StorePath(StoreDir + "/00000000000000000000000000000000-dep")
	text := at("text:"+string(dep), hex.EncodeToString(contents[:]))
	recursive := at("source", hex.EncodeToString(nar[:]))
	sum := sha256.Sum256([]byte("fixed:out:sha256:" + hex.EncodeToString(contents[:]) + ":"))
	flat := at("output:out", hex.EncodeToString(sum[:]))
	for _, tt := range []struct {
		name     string
		info     Info
		contents *Hash
		checked  bool
		want     string
	}{
		{name: "input-addressed", info: Info{Path: dep}},
		{name: "text", info: Info{Path: text, CA: "text:" + contents.Nix32(), References: []StorePath{dep}}, contents: &contents, checked: true},
		{name: "text with other contents", info: Info{Path: text, CA: "text:" + contents.Nix32(), References: []StorePath{dep}}, contents: &other, want: "the hash of its contents"},
		{name: "text with other references", info: Info{Path: text, CA: "text:" + contents.Nix32()}, contents: &contents, want: "does not follow from"},
		{name: "text that is a directory", info: Info{Path: text, CA: "text:" + contents.Nix32(), References: []StorePath{dep}}, want: "not a single file"},
		{name: "flat", info: Info{Path: flat, CA: "fixed:" + contents.Nix32()}, contents: &contents, checked: true},
		{name: "flat with other contents", info: Info{Path: flat, CA: "fixed:" + contents.Nix32()}, contents: &other, want: "the hash of its contents"},
		{name: "recursive", info: Info{Path: recursive, CA: "fixed:r:" + nar.Nix32(), NarHash: nar}, checked: true},
		{name: "recursive with other contents", info: Info{Path: recursive, CA: "fixed:r:" + nar.Nix32(), NarHash: other}, want: "does not follow from"},
		{name: "recursive of another path", info: Info{Path: dep, CA: "fixed:r:" + nar.Nix32(), NarHash: nar}, want: "does not follow from"},
		{name: "refers to itself", info: Info{Path: recursive, CA: "fixed:r:" + nar.Nix32(), References: []StorePath{recursive}}},
		{name: "sha1", info: Info{Path: dep, CA: "fixed:r:sha1:" + strings.Repeat("0", 32)}},
		{name: "nonsense", info: Info{Path: dep, CA: "nonsense"}, want: "unknown method"},
	} {
		checked, err := CheckAddress(&tt.info, tt.contents)
		switch {
		case checked != tt.checked || (err == nil) != (tt.want == ""):
			t.Errorf("%s: %v, %v", tt.name, checked, err)
		case err != nil && !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: %v, no %q in it", tt.name, err, tt.want)
		}
	}
}
