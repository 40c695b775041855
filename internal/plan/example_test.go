package plan_test

import (
	"fmt"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
)

// ExampleNew shows the example of the package's documentation. With three layers glibc and
// git share one. With four layers glibc has its own.
func ExampleNew() {
	const MB = 1_000_000
	path := func(letter, name string) closure.StorePath {
		return closure.StorePath("/nix/store/" + strings.Repeat(letter, 32) + "-" + name)
	}
	glibc, zlib, python, git, etc := path("a", "glibc"), path("b", "zlib"), path("c", "python"), path("d", "git"), path("f", "etc")
	system := path("g", "nixos-system-web")
	c, err := closure.New([]closure.StorePath{system}, []closure.Info{
		{Path: glibc, NarSize: 30 * MB},
		{Path: zlib, NarSize: 1 * MB, References: []closure.StorePath{glibc}},
		{Path: python, NarSize: 90 * MB, References: []closure.StorePath{zlib}},
		{Path: git, NarSize: 40 * MB, References: []closure.StorePath{zlib}},
		{Path: etc, NarSize: 1 * MB, References: []closure.StorePath{python, git}},
		{Path: system, NarSize: 1 * MB, References: []closure.StorePath{etc}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, layers := range []int{3, 4} {
		p, err := plan.New(c, plan.Options{MaxLayers: layers})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d layers:\n", layers)
		for _, g := range p.Groups {
			fmt.Print(" ")
			for _, p := range g.Paths {
				fmt.Print(" ", p.Name())
			}
			fmt.Println()
		}
	}
	// Output:
	// 3 layers:
	//   glibc zlib git
	//   python
	//   etc nixos-system-web
	// 4 layers:
	//   glibc
	//   zlib git
	//   python
	//   etc nixos-system-web
}
