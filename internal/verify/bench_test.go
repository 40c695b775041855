package verify

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/nixoci/nixoci/internal/cputime"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
)

// benchImage returns the layout or archive that NIXOCI_BENCH_IMAGE names. If the variable is empty,
// it returns the sample.
func benchImage(b *testing.B) string {
	if source := os.Getenv("NIXOCI_BENCH_IMAGE"); source != "" {
		return source
	}
	return newSampleOf(b, whole, layers.None, "x86_64-linux", "aarch64-linux").layout()
}

// BenchmarkImage measures a verification. Compare it with BenchmarkDecompressAndHash, which does
// only the work that every check of blobs and diffIDs must do.
func BenchmarkImage(b *testing.B) {
	source := benchImage(b)
	defer cputime.Report(b)()
	for b.Loop() {
		r := verified(b, source, Options{})
		if !r.OK {
			b.Fatal(r.Findings)
		}
		var size int64
		for _, p := range r.Platforms {
			size += p.NarSize
		}
		b.SetBytes(size)
	}
}

func BenchmarkDecompressAndHash(b *testing.B) {
	source := benchImage(b)
	defer cputime.Report(b)()
	for b.Loop() {
		src, err := layout.OpenImage(source)
		must(b, err)
		var index ocispec.Index
		blob, err := src.GetManifest(b.Context(), src.TagOrDigest)
		must(b, err)
		must(b, json.Unmarshal(blob.Data, &index))
		var todo []ocispec.Descriptor
		for _, d := range index.Manifests {
			blob, err := src.GetManifest(b.Context(), d.Digest.String())
			must(b, err)
			var m ocispec.Manifest
			must(b, json.Unmarshal(blob.Data, &m))
			todo = append(todo, m.Layers...)
		}
		slices.SortFunc(todo, func(a, b ocispec.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
		var group errgroup.Group
		group.SetLimit(runtime.GOMAXPROCS(0))
		var size atomic.Int64
		for _, d := range todo {
			group.Go(func() error {
				r, err := src.GetBlob(b.Context(), d)
				if err != nil {
					return err
				}
				defer r.Close()
				z, err := layers.Decompress(r, d.MediaType)
				if err != nil {
					return err
				}
				n, err := io.CopyBuffer(onlyWriter{sha256.New()}, onlyReader{z}, make([]byte, chunkSize))
				size.Add(n)
				return err
			})
		}
		must(b, group.Wait())
		must(b, src.Close())
		b.SetBytes(size.Load())
	}
}

type onlyWriter struct{ io.Writer }
