package closure_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nar"
)

// This example reads the graph and one tree of a closure from a binary cache.
// It needs no Nix and no store.
func ExampleOpen() {
	key, err := os.ReadFile("../../testdata/public-key")
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := closure.NewTrustedKeys(strings.TrimSpace(string(key)))
	if err != nil {
		fmt.Println(err)
		return
	}
	src, err := closure.Open([]string{"../../testdata/cache"}, closure.CacheOptions{Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	root, err := closure.ParseStorePath("/nix/store/7vdsikvm05m0xr0qxcqqbh9chfw27nf7-nixos-system-sample-24.05.20240531.debian12")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	c, err := src.Closure(ctx, []closure.StorePath{root})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(c.Paths), "store paths,", c.NarSize(), "bytes")
	// nar.NewWriter returns a visitor that writes the NAR. Walk checks the narHash.
	if err := closure.Walk(ctx, src, c.Info(root), nar.NewWriter(io.Discard)); err != nil {
		fmt.Println(err)
		return
	}
	version, err := closure.ReadFile(ctx, src, c.Info(root), "nixos-version", 100)
	fmt.Println(string(version), err)
	// Output:
	// 22 store paths, 4858880 bytes
	// 24.05.20240531.debian12 <nil>
}
