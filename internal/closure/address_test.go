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
		{"input-addressed", Info{Path: dep}, nil, false, ""},
		{"text", Info{Path: text, CA: "text:" + contents.Nix32(), References: []StorePath{dep}}, &contents, true, ""},
		{"text with other contents", Info{Path: text, CA: "text:" + contents.Nix32(), References: []StorePath{dep}}, &other, false, "the hash of its contents"},
		{"text with other references", Info{Path: text, CA: "text:" + contents.Nix32()}, &contents, false, "gives another path"},
		{"text that is a directory", Info{Path: text, CA: "text:" + contents.Nix32(), References: []StorePath{dep}}, nil, false, "not one file"},
		{"flat", Info{Path: flat, CA: "fixed:" + contents.Nix32()}, &contents, true, ""},
		{"flat with other contents", Info{Path: flat, CA: "fixed:" + contents.Nix32()}, &other, false, "the hash of its contents"},
		{"recursive", Info{Path: recursive, CA: "fixed:r:" + nar.Nix32(), NarHash: nar}, nil, true, ""},
		{"recursive with other contents", Info{Path: recursive, CA: "fixed:r:" + nar.Nix32(), NarHash: other}, nil, false, "gives another path"},
		{"recursive of another path", Info{Path: dep, CA: "fixed:r:" + nar.Nix32(), NarHash: nar}, nil, false, "gives another path"},
		{"refers to itself", Info{Path: recursive, CA: "fixed:r:" + nar.Nix32(), References: []StorePath{recursive}}, nil, false, ""},
		{"sha1", Info{Path: dep, CA: "fixed:r:sha1:" + strings.Repeat("0", 32)}, nil, false, ""},
		{"nonsense", Info{Path: dep, CA: "nonsense"}, nil, false, "unknown method"},
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
