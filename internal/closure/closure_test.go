package closure

import (
	"slices"
	"strings"
	"testing"
)

// TestSubsetShares checks that a subset with all paths shares the slice Paths with
// the closure. A smaller subset must contain only the paths that are reachable from
// its roots.
func TestSubsetShares(t *testing.T) {
	path := func(name string) StorePath { return StorePath("/nix/store/" + strings.Repeat("0", 32) + "-" + name) }
	c, err := New(nil, []Info{{Path: path("a"), References: []StorePath{path("b")}}, {Path: path("b")}, {Path: path("c"), References: []StorePath{path("b")}}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Subset(path("c"), path("a"), path("c"))
	if err != nil {
		t.Fatal(err)
	}
	if &all.Paths[0] != &c.Paths[0] || !slices.Equal(all.Roots, c.Roots) || all.Info(path("b")) == nil {
		t.Errorf("a subset with all paths: %+v", all)
	}
	part, err := c.Subset(path("a"))
	if err != nil {
		t.Fatal(err)
	}
	if len(part.Paths) != 2 || part.Info(path("c")) != nil || !slices.Equal(part.Roots, []StorePath{path("a")}) {
		t.Errorf("a smaller subset: %+v", part)
	}
}
