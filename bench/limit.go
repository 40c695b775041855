package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
)

// limit describes the least processor time that a push needs. Each field holds the seconds of
// one step over the same bytes, alone in one thread. The compressor is one stream of the
// library that nixoci uses, at nixoci's default level.
type limit struct {
	TarSize int64                `json:"tarSize"`
	Read    float64              `json:"read"`   // reading every file of the closure into one buffer
	SHA256  float64              `json:"sha256"` // hashing the tar; a push does this twice: for narHash and diffID
	Comp    map[string]compLimit `json:"compressors"`
}

type compLimit struct {
	Size     int64   `json:"size"`
	Compress float64 `json:"compress"`
	SHA256   float64 `json:"sha256"` // hashing the compressed bytes
}

// seconds returns the limit of a push in processor seconds, without the registry. The digest
// of an uncompressed layer is its diffID, so it needs no additional hash.
func (l limit) seconds(comp string) float64 {
	c := l.Comp[comp]
	return l.Read + 2*l.SHA256 + c.Compress + c.SHA256
}

// threadCPU runs f and returns the processor time of the thread that ran f, in seconds.
func threadCPU(f func() error) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			return 0
		}
		return time.Duration(t.Nano())
	}
	begin := now()
	err := f()
	return (now() - begin).Seconds(), err
}

// source opens the large system in the same way as nixoci.
func (l *lab) source() (*closure.Closure, closure.Source, error) {
	src, err := closure.Open([]string{l.large}, closure.CacheOptions{})
	if err != nil {
		return nil, nil, err
	}
	c, err := src.Closure(l.ctx, []closure.StorePath{closure.StorePath(l.systems[system1])})
	return c, src, err
}

func (l *lab) describe() (system, error) {
	c, _, err := l.source()
	if err != nil {
		return system{}, err
	}
	s := system{Paths: len(c.Paths)}
	for _, info := range c.Paths {
		s.NarSize += info.NarSize
	}
	return s, nil
}

// writeTar writes all files of the closure into one tar file.
func (l *lab) writeTar(name string) error {
	c, src, err := l.source()
	if err != nil {
		return err
	}
	var paths []closure.StorePath
	for _, info := range c.Paths {
		paths = append(paths, info.Path)
	}
	layer, err := layers.Store(c, src, paths, layers.Compression{Algorithm: layers.None})
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = layers.NewPacker(0).Pack(l.ctx, layer, f)
	return errors.Join(err, f.Close())
}

// reader reads every file of a tree and discards the contents.
type reader struct{ buf []byte }

func (reader) Directory(string) error       { return nil }
func (reader) Symlink(string, string) error { return nil }
func (r reader) File(_ string, _ bool, size int64, content io.Reader) error {
	for size > 0 {
		n, err := content.Read(r.buf[:min(size, int64(len(r.buf)))])
		if size -= int64(n); err != nil && size > 0 {
			return err
		}
	}
	return nil
}

// pieceSize is the number of bytes that one step processes before the next step starts. With
// small pieces, all steps share the processor's caches, as they do in a push.
const pieceSize = 8 << 20

func (l *lab) limit() (limit, error) {
	c, src, err := l.source()
	if err != nil {
		return limit{}, err
	}
	lim := limit{Comp: map[string]compLimit{}}
	readAll := func() error {
		for i := range c.Paths {
			if err := src.Tree(context.WithoutCancel(l.ctx), &c.Paths[i], reader{make([]byte, 1<<20)}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := readAll(); err != nil { // reads the files once, so that they are in the page cache
		return limit{}, err
	}
	if lim.Read, err = threadCPU(readAll); err != nil {
		return limit{}, err
	}
	name := filepath.Join(l.dir, "limit.tar")
	if err := l.writeTar(name); err != nil {
		return limit{}, err
	}
	defer os.Remove(name)
	lim.Comp["none"] = compLimit{}
	for _, comp := range []string{"gzip", "zstd"} {
		size, err := lim.compressor(name, comp)
		if err != nil {
			return limit{}, err
		}
		lim.TarSize = size
	}
	lim.Comp["none"] = compLimit{Size: lim.TarSize}
	return lim, nil
}

// compressor measures hashing and one compressor, over the tar file called name.
func (lim *limit) compressor(name, comp string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var out pieces
	var w io.WriteCloser
	parsed, err := layers.ParseCompression(comp)
	if err != nil {
		return 0, err
	}
	if comp == "gzip" {
		w, err = gzip.NewWriterLevel(&out, parsed.Level)
	} else {
		w, err = zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(parsed.Level)), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	}
	if err != nil {
		return 0, err
	}
	var cl compLimit
	hash := sha256.New()
	buf := make([]byte, pieceSize)
	var total int64
	var hashed float64
	for {
		n, err := io.ReadFull(f, buf)
		if n == 0 && err == io.EOF {
			break
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		total += int64(n)
		s, _ := threadCPU(func() error { hash.Write(buf[:n]); return nil })
		hashed += s
		s, err = threadCPU(func() error { _, err := w.Write(buf[:n]); return err })
		if err != nil {
			return 0, err
		}
		cl.Compress += s
		cl.hash(&out)
	}
	s, err := threadCPU(w.Close)
	cl.Compress += s
	cl.hash(&out)
	lim.Comp[comp], lim.SHA256 = cl, hashed
	return total, err
}

// hash hashes and then discards the output of the compressor.
func (cl *compLimit) hash(out *pieces) {
	s, _ := threadCPU(func() error { sha256.Sum256(out.b); return nil })
	cl.SHA256 += s
	cl.Size += int64(len(out.b))
	out.b = out.b[:0]
}

type pieces struct{ b []byte }

func (p *pieces) Write(b []byte) (int, error) {
	p.b = append(p.b, b...)
	return len(b), nil
}
