package layers

import (
	"cmp"
	"context"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nar"
)

// simRead, simSHA256 and simCompress are the times that a processor of the simulated machine
// needs for a megabyte of tar. They were measured with gzip:3 on a machine with sha256 in
// hardware (docs/benchmarks.md).
const (
	simRead     = 410 * time.Microsecond
	simSHA256   = 700 * time.Microsecond
	simCompress = 4970 * time.Microsecond
	simRatio    = 2.5 // bytes of tar for each byte of blob
	simMegabyte = 1_000_000
)

// machine simulates a machine with some processors. Work on the machine takes time, but
// computes nothing. It must be used in a synctest bubble, where waiting takes no real time.
type machine struct{ processors chan struct{} }

func (m machine) work(bytes int, perMegabyte time.Duration) {
	m.processors <- struct{}{}
	time.Sleep(time.Duration(bytes) * perMegabyte / simMegabyte)
	<-m.processors
}

// packer returns a packer whose compressors and hashes run on m.
func (m machine) packer() *Packer {
	p := NewPacker(cap(m.processors))
	p.newEncoder = func(Compression) (encoder, error) { return simEncoder{m}, nil }
	p.newHash = func() hash.Hash { return simHash{m} }
	return p
}

type simEncoder struct{ machine }

func (e simEncoder) encode(dst, block []byte) ([]byte, error) {
	e.work(len(block), simCompress)
	size := int(float64(len(block)) / simRatio)
	return slices.Grow(dst, size)[:size], nil
}

type simHash struct{ machine }

func (h simHash) Write(b []byte) (int, error) { h.work(len(b), simSHA256); return len(b), nil }
func (simHash) Sum(b []byte) []byte           { return append(b, make([]byte, 32)...) }
func (simHash) Reset()                        {}
func (simHash) Size() int                     { return 32 }
func (simHash) BlockSize() int                { return 64 }

// simSource provides store paths that consist of one file each.
type simSource struct{ machine }

func (simSource) Closure(context.Context, []closure.StorePath) (*closure.Closure, error) {
	panic("not needed")
}

func (s simSource) Tree(_ context.Context, info *closure.Info, v nar.Visitor) error {
	return v.File("", false, info.NarSize-narOverhead, simContent(s))
}

// narOverhead is the size of the NAR of an empty file.
const narOverhead = 112

type simContent struct{ machine }

func (c simContent) Read(p []byte) (int, error) {
	c.work(len(p), simRead)
	return len(p), nil
}

// makespan packs layers with these sizes, and returns the time that this takes. Like a push
// to a registry, it begins with the largest layer and packs as many layers at once as
// oci.Transfers allows.
func makespan(t *testing.T, processors int, sizes []int64) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		m := machine{make(chan struct{}, processors)}
		p := m.packer()
		sizes = slices.SortedFunc(slices.Values(sizes), func(a, b int64) int { return cmp.Compare(b, a) })
		begin := time.Now()
		uploads := make(chan struct{}, max(4, processors))
		var all sync.WaitGroup
		for i, size := range sizes {
			path := closure.StorePath(fmt.Sprintf("/nix/store/%032d-layer", i))
			c, err := closure.New([]closure.StorePath{path}, []closure.Info{{Path: path, NarSize: narOverhead + size&^7}})
			if err != nil {
				t.Fatal(err)
			}
			l, err := Store(c, simSource{m}, []closure.StorePath{path}, DefaultCompression())
			if err != nil {
				t.Fatal(err)
			}
			uploads <- struct{}{}
			all.Go(func() {
				if _, err := p.Pack(t.Context(), l, io.Discard); err != nil {
					t.Error(err)
				}
				<-uploads
			})
		}
		all.Wait()
		took = time.Since(begin)
		checkIdle(t, p)
	})
	return took
}

// TestMakespan compares the time for packing with a lower bound. No order of work can take
// less than all work divided by the number of processors, or less than one sha256 over the
// largest layer.
func TestMakespan(t *testing.T) {
	const mb = simMegabyte
	var even, falling []int64
	for i := range 100 {
		even = append(even, 5*mb)
		falling = append(falling, int64(100*mb/(i+1))) // 100 MB, 50 MB, 33 MB …
	}
	for _, tc := range []struct {
		name   string
		layers []int64
		most   float64 // limit, as a multiple of the lower bound
	}{
		{"one path of 500 MB", []int64{500 * mb}, 1.01},
		{"one layer of 50 MB", []int64{50 * mb}, 1.04},
		{"100 equal layers", even, 1.02},
		{"100 layers, some large", falling, 1.04},
		{"one layer as large as 99 others", append([]int64{500 * mb}, even[1:]...), 1.12},
	} {
		for _, processors := range []int{1, 2, 4, 16} {
			var total int64
			for _, n := range tc.layers {
				total += n
			}
			const perMB = simRead + 2*simSHA256 + simCompress + simSHA256*2/5
			work := time.Duration(total/mb) * perMB / time.Duration(processors)
			largest := time.Duration(slices.Max(tc.layers)/mb) * simSHA256
			took := makespan(t, processors, tc.layers)
			ratio := took.Seconds() / max(work, largest).Seconds()
			t.Logf("%-32s %2d processors: %6.3f s, %.3f of the bound (all work %6.3f s, largest layer %.3f s)", tc.name, processors, took.Seconds(), ratio, work.Seconds(), largest.Seconds())
			if ratio > tc.most {
				t.Errorf("%s, %d processors: %.3f of the bound, want at most %.2f", tc.name, processors, ratio, tc.most)
			}
			if ratio < 0.99 {
				t.Errorf("%s, %d processors: %.3f of the bound: the bound is wrong", tc.name, processors, ratio)
			}
		}
	}
}
