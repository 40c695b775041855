package layers_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/nixoci/nixoci/internal/layers"
)

// ExamplePacker_Pack shows that a layer has the same bytes for any number of workers.
func ExamplePacker_Pack() {
	comp, err := layers.ParseCompression("zstd")
	if err != nil {
		fmt.Println(err)
		return
	}
	l := &layers.Layer{Compression: comp, Content: func(_ context.Context, w *layers.TarWriter) error {
		return w.File("motd", 0o444, 6, strings.NewReader("hello\n"))
	}}
	var first []byte
	for _, workers := range []int{1, 8} {
		var b bytes.Buffer
		packed, err := layers.NewPacker(workers).Pack(context.Background(), l, &b)
		if err != nil {
			fmt.Println(err)
			return
		}
		if packed.Size != int64(b.Len()) {
			fmt.Println("a wrong size:", packed.Size)
		}
		if first == nil {
			first = b.Bytes()
		}
		fmt.Println("same bytes:", bytes.Equal(first, b.Bytes()))
	}
	// Output:
	// same bytes: true
	// same bytes: true
}
