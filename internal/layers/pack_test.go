package layers

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/cputime"
	"github.com/nixoci/nixoci/internal/nar"
)

// sampleContent returns bytes for several blocks. Half of them are text, the other half is
// random.
func sampleContent(size int) []byte {
	if shared := sharedContent(); size <= len(shared) {
		return shared[:size:size]
	}
	return makeContent(size)
}

// sharedContent returns the content that most tests use. Tests must not change it.
var sharedContent = sync.OnceValue(func() []byte { return makeContent(9 << 20) })

// makeContent returns size bytes. The result for a smaller size is a prefix of the result for a larger
// size.
func makeContent(size int) []byte {
	rng := rand.New(rand.NewChaCha8([32]byte{1}))
	b := make([]byte, size)
	for i := range b {
		if i/50_000%2 == 0 {
			b[i] = "the store path of a closure \n"[rng.IntN(29)]
		} else {
			b[i] = byte(rng.Uint32())
		}
	}
	return b
}

func sampleLayer(comp Compression, content []byte) *Layer {
	return &Layer{Compression: comp, Content: func(_ context.Context, w *TarWriter) error {
		if err := w.storeRoot(); err != nil {
			return err
		}
		return w.File("nix/store/file", 0o444, int64(len(content)), bytes.NewReader(content))
	}}
}

var allCompressions = []string{"gzip:1", "gzip", "gzip:9", "zstd:1", "zstd", "zstd:7", "zstd:11", "none"}

func mustCompression(t testing.TB, s string) Compression {
	t.Helper()
	c, err := ParseCompression(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPackGolden compares the diffID and the digests with stored values. If it fails because
// a dependency or a constant changed, FormatVersion must be raised.
func TestPackGolden(t *testing.T) {
	content := sampleContent(5<<20 + 12345)
	const diffID = goldenDiffID
	for _, name := range allCompressions {
		var blob bytes.Buffer
		got, err := NewPacker(2).Pack(t.Context(), sampleLayer(mustCompression(t, name), content), &blob)
		if err != nil {
			t.Fatal(err)
		}
		if got.DiffID.String() != diffID {
			t.Errorf("%s: diffID %s, want %s", name, got.DiffID, diffID)
		}
		if want := goldenDigests[name]; got.Digest.String() != want {
			t.Errorf("%s: digest %s, want %s", name, got.Digest, want)
		}
		if got.Digest != digest.FromBytes(blob.Bytes()) || got.Size != int64(blob.Len()) {
			t.Errorf("%s: digest or size are not those of what was written", name)
		}
		mt, _ := mustCompression(t, name).MediaType(false)
		r, err := Decompress(&blob, mt)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		n, err := io.Copy(h, r)
		if err != nil || digest.NewDigest(digest.SHA256, h) != got.DiffID || n != got.UncompressedSize {
			t.Errorf("%s: decompressed %d bytes, %v: not what the diffID says", name, n, err)
		}
	}
}

// TestPackSameForAnyWorkers checks that the number of workers does not change the bytes. The
// source also returns its content in small pieces of odd sizes.
func TestPackSameForAnyWorkers(t *testing.T) {
	content := sampleContent(7 << 20)
	for _, name := range []string{"gzip:1", "zstd:1", "none"} {
		comp := mustCompression(t, name)
		want, err := NewPacker(1).Pack(t.Context(), sampleLayer(comp, content), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{2, 3, 8} {
			l := sampleLayer(comp, content)
			l.Content = func(_ context.Context, w *TarWriter) error {
				if err := w.storeRoot(); err != nil {
					return err
				}
				return w.File("nix/store/file", 0o444, int64(len(content)), iotest.HalfReader(bytes.NewReader(content)))
			}
			got, err := NewPacker(workers).Pack(t.Context(), l, io.Discard)
			if err != nil || got != want {
				t.Errorf("%s, %d workers: %+v, %v, want %+v", name, workers, got, err, want)
			}
		}
	}
}

// TestGzipIsOneMember checks that a blob is one gzip member, because some readers stop
// after the first member.
func TestGzipIsOneMember(t *testing.T) {
	content := sampleContent(3 << 20)
	var blob bytes.Buffer
	if _, err := NewPacker(2).Pack(t.Context(), sampleLayer(DefaultCompression(), content), &blob); err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(blob.Bytes())
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	if n, err := io.Copy(io.Discard, z); err != nil || n < int64(len(content)) || r.Len() != 0 {
		t.Errorf("the first member has %d bytes, %v; %d bytes are left", n, err, r.Len())
	}
}

// TestPackManyAtOnce packs so many layers at once that the packer does not have enough blocks
// for all.
func TestPackManyAtOnce(t *testing.T) {
	p := NewPacker(2)
	content := sampleContent(2 << 20)
	var wg sync.WaitGroup
	results := make([]Packed, 20)
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = p.Pack(t.Context(), sampleLayer(mustCompression(t, "gzip:1"), content), io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range results {
		if r != results[0] || r.Size == 0 {
			t.Errorf("got %+v and %+v for the same layer", r, results[0])
		}
	}
	checkIdle(t, p)
}

// oneAtATime behaves like a registry that reads one upload to its end before it reads
// another. go-containerregistry's pkg/registry does this.
type oneAtATime struct {
	lock *sync.Mutex
	held bool
}

func (w *oneAtATime) Write(b []byte) (int, error) {
	if !w.held {
		w.lock.Lock()
		w.held = true
	}
	return len(b), nil
}

// TestPackDoesNotWaitForOthers checks that a layer with a blocked writer does not stop other
// layers.
func TestPackDoesNotWaitForOthers(t *testing.T) {
	p := NewPacker(2)
	content := sampleContent(9 << 20)
	var lock sync.Mutex
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			w := &oneAtATime{lock: &lock}
			if _, err := p.Pack(t.Context(), sampleLayer(mustCompression(t, "zstd:1"), content), w); err != nil {
				t.Error(err)
			}
			lock.Unlock()
		})
	}
	wg.Wait()
	checkIdle(t, p)
}

// checkIdle fails if a block or a slot was not released. With such an error the packer would
// block sooner or later.
func checkIdle(t *testing.T, p *Packer) {
	t.Helper()
	if n := cap(p.free) - 2*ownBlocks - p.shared.places; n != 0 {
		t.Errorf("%d blocks are still in flight", n)
	}
	if n := p.perLayer - layerLookahead - p.slots.places; n != 0 {
		t.Errorf("%d slots are still taken", n)
	}
}

type failAfter struct{ n int }

var errSink = errors.New("connection reset")

func (f *failAfter) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, errSink
	}
	return len(b), nil
}

func TestPackFailures(t *testing.T) {
	content := sampleContent(9 << 20)
	errSource := errors.New("input/output error")
	for _, name := range []string{"gzip:1", "zstd:1", "none"} {
		comp := mustCompression(t, name)
		p := NewPacker(2)
		t.Run(name+" sink", func(t *testing.T) {
			for _, at := range []int{0, 1, 100_000, 3 << 20} {
				got, err := p.Pack(t.Context(), sampleLayer(comp, content), &failAfter{at})
				if !errors.Is(err, errSink) || got != (Packed{}) {
					t.Errorf("after %d bytes: %+v, %v", at, got, err)
				}
			}
			checkIdle(t, p)
		})
		t.Run(name+" source", func(t *testing.T) {
			l := sampleLayer(comp, content)
			l.Content = func(_ context.Context, w *TarWriter) error {
				return w.File("f", 0o444, 20<<20, io.MultiReader(bytes.NewReader(content), iotest.ErrReader(errSource)))
			}
			if got, err := p.Pack(t.Context(), l, io.Discard); !errors.Is(err, errSource) || got != (Packed{}) {
				t.Errorf("%+v, %v", got, err)
			}
			checkIdle(t, p)
		})
		t.Run(name+" cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("stop")
			l := sampleLayer(comp, content)
			l.Content = func(_ context.Context, w *TarWriter) error {
				for i := range 100 {
					if i == 3 {
						cancel(stop)
					}
					if err := w.File(fmt.Sprint(i), 0o444, int64(len(content)), bytes.NewReader(content)); err != nil {
						return err
					}
				}
				return nil
			}
			if _, err := p.Pack(ctx, l, io.Discard); !errors.Is(err, stop) {
				t.Errorf("%v", err)
			}
			checkIdle(t, p)
		})
	}
}

// TestPackChecksEveryNarHash checks that a wrong narHash stops the packing, no matter which
// path of the layer has it. The hash of a path is known only after later bytes were read.
func TestPackChecksEveryNarHash(t *testing.T) {
	for _, name := range []string{"gzip:1", "zstd:1", "none"} {
		for wrong := range 3 {
			src := &hashSource{content: sampleContent(5 << 18)}
			var infos []closure.Info
			var paths []closure.StorePath
			for i := range 3 {
				info := src.info(fmt.Sprintf("%032d-%d", i, i))
				if i == wrong {
					info.NarHash[0] ^= 1
				}
				infos, paths = append(infos, info), append(paths, info.Path)
			}
			c, err := closure.New(paths, infos)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Store(c, src, paths, mustCompression(t, name))
			if err != nil {
				t.Fatal(err)
			}
			p := NewPacker(2)
			got, err := p.Pack(t.Context(), l, io.Discard)
			mismatch, ok := errors.AsType[*closure.HashMismatchError](err)
			if !ok || mismatch.Path != paths[wrong] || got != (Packed{}) {
				t.Errorf("%s, path %d is wrong: %+v, %v", name, wrong, got, err)
			}
			checkIdle(t, p)
		}
	}
}

// hashSource provides store paths that are directories with the same file.
type hashSource struct{ content []byte }

func (s *hashSource) Closure(context.Context, []closure.StorePath) (*closure.Closure, error) {
	return nil, errors.New("not used")
}

func (s *hashSource) Tree(_ context.Context, _ *closure.Info, v nar.Visitor) error {
	if err := v.Directory(""); err != nil {
		return err
	}
	if err := v.File("a", true, int64(len(s.content)), bytes.NewReader(s.content)); err != nil {
		return err
	}
	if err := v.File("empty", false, 0, bytes.NewReader(nil)); err != nil {
		return err
	}
	return v.Symlink("link", "a")
}

// info returns the path with the hash that [nar.Writer] computes.
func (s *hashSource) info(base string) closure.Info {
	h := sha256.New()
	n := &countWriter{w: h}
	w := nar.NewWriter(n)
	if err := errors.Join(s.Tree(context.Background(), nil, w), w.Close()); err != nil {
		panic(err)
	}
	info := closure.Info{Path: closure.StorePath("/nix/store/" + base), NarSize: n.n}
	h.Sum(info.NarHash[:0])
	return info
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.w.Write(b)
}

func TestParseCompression(t *testing.T) {
	for in, want := range map[string]string{
		"gzip": fmt.Sprintf("gzip:%d", defaultGzipLevel), "gzip:9": "gzip:9", "zstd": "zstd:3", "zstd:2": "zstd:1",
		"zstd:19": "zstd:11", "none": "none",
	} {
		c, err := ParseCompression(in)
		if err != nil || c.String() != want {
			t.Errorf("%s: %s, %v, want %s", in, c, err, want)
		}
		if again, err := ParseCompression(c.String()); err != nil || again != c {
			t.Errorf("%s does not read back: %v, %v", c, again, err)
		}
	}
	for _, bad := range []string{"", "bzip2", "gzip:0", "gzip:10", "gzip:x", "zstd:23", "zstd:-1", "none:1", "gzip:"} {
		if c, err := ParseCompression(bad); err == nil {
			t.Errorf("%q: %v, no error", bad, c)
		}
	}
	if _, err := mustCompression(t, "zstd").MediaType(true); err == nil || !strings.Contains(err.Error(), "zstd") {
		t.Errorf("zstd in Docker's media types: %v", err)
	}
}

// BenchmarkPack measures the packer on all cores.
func BenchmarkPack(b *testing.B) {
	content := sampleContent(32 << 20)
	for _, name := range []string{"gzip:1", "gzip", "zstd:1", "zstd", "none"} {
		b.Run(name, func(b *testing.B) {
			p := NewPacker(0)
			l := sampleLayer(mustCompression(b, name), content)
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			defer cputime.Report(b)()
			for b.Loop() {
				if _, err := p.Pack(b.Context(), l, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
