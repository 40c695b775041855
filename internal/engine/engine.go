package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/oci"
)

// Program is the name of an engine's program.
type Program string

// The engines.
const (
	Docker Program = "docker"
	Podman Program = "podman"
)

// maxKept limits the memory for layers that the engine is about to pull. Most layers that a
// developer's change affects are smaller.
const maxKept = 64 << 20 // bytes

// schemes contains the names that skopeo and other tools use for the stores of the engines.
var schemes = map[string]Program{"docker-daemon": Docker, "containers-storage": Podman}

// IsDestination reports whether s names the store of an engine.
func IsDestination(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	return found && schemes[scheme] != ""
}

// Parse parses docker-daemon:NAME[:TAG] or containers-storage:NAME[:TAG].
func Parse(s string) (program Program, tag string, err error) {
	scheme, rest, _ := strings.Cut(s, ":")
	if program = schemes[scheme]; program == "" {
		return "", "", fmt.Errorf("parse destination %q: unknown kind %q", s, scheme)
	}
	if tag, err = layout.DockerName(rest); err != nil {
		return "", "", hint.Add(fmt.Errorf("parse destination %q: %w", s, err), "name the image: "+scheme+":web:1.2")
	}
	return program, tag, nil
}

// Engine puts an image into the store of Docker or podman. The image appears there when
// Commit is called.
type Engine struct {
	program Program
	command string // name of the program; tests set another name

	// Platform is the platform to pull from an image for several platforms: os/arch or
	// os/arch/variant.
	Platform string

	// Warn, if not nil, is called with the reason if the engine got an archive.
	Warn func(error)

	mu        sync.Mutex
	layers    map[digest.Digest]*layer
	order     []digest.Digest // digests of the layers, in the order in which they were added
	manifests map[digest.Digest]oci.Blob
	blobs     map[digest.Digest]oci.Blob
	top       digest.Digest
	names     []string
	kept      int64 // bytes of layers in memory
	pulled    Pulled
	making    int           // number of layers that are being made for the engine
	madeSince time.Time     // when making became more than 0
	made      time.Duration // how long making was more than 0
}

var (
	_ oci.Destination = (*Engine)(nil)
	_ oci.Lazy        = (*Engine)(nil)
)

// layer is a layer that the engine may ask for.
type layer struct {
	ocispec.Descriptor
	pack oci.PackFunc
	data []byte // if nil, pack makes the bytes again
}

// New returns a destination for the engine with this program.
func New(program Program) *Engine {
	return &Engine{program: program, command: string(program), layers: map[digest.Digest]*layer{}, manifests: map[digest.Digest]oci.Blob{}, blobs: map[digest.Digest]oci.Blob{}}
}

// Name returns the engine's name for messages.
func (e *Engine) Name() string { return string(e.program) }

// Resolve implements [oci.Destination]. It does not ask the engine and finds nothing. If the
// engine already has the image, the pull needs only a request for the image's digest.
func (e *Engine) Resolve(context.Context, string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, oci.ErrNotFound
}

// HasBlob implements [oci.Destination].
func (e *Engine) HasBlob(_ context.Context, d ocispec.Descriptor) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.layers[d.Digest] != nil, nil
}

// Offer implements [oci.Lazy].
func (e *Engine) Offer(d ocispec.Descriptor, pack oci.PackFunc) {
	e.add(&layer{Descriptor: d, pack: pack})
}

func (e *Engine) add(l *layer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.layers[l.Digest] == nil {
		e.order = append(e.order, l.Digest)
		e.layers[l.Digest] = l
	}
}

// PutLayer implements [oci.Destination]. It packs the layer to compute the digest. A small
// layer, such as one that a developer has just changed, stays in memory. A larger layer is
// packed again when the engine asks for it. This takes less time than writing the layer to a
// file and reading it.
func (e *Engine) PutLayer(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	k := &keeper{engine: e}
	packed, err := pack(ctx, k)
	if err == nil && want != nil && packed != *want {
		err = oci.OtherContent(want.Digest, packed.Digest)
	}
	if err != nil {
		k.drop()
		return layers.Packed{}, err
	}
	l := &layer{Descriptor: ocispec.Descriptor{Digest: packed.Digest, Size: packed.Size}, pack: pack}
	if !k.full {
		l.data = k.data.Bytes()
	}
	e.add(l)
	return packed, nil
}

// keeper keeps the bytes that are written to it, until the layers in memory exceed maxKept.
type keeper struct {
	engine *Engine
	data   bytes.Buffer
	full   bool
}

func (k *keeper) Write(p []byte) (int, error) {
	if k.full {
		return len(p), nil
	}
	k.engine.mu.Lock()
	fits := k.engine.kept+int64(len(p)) <= maxKept
	if fits {
		k.engine.kept += int64(len(p))
	}
	k.engine.mu.Unlock()
	if !fits {
		k.drop()
		return len(p), nil
	}
	return k.data.Write(p)
}

// drop removes the bytes from memory.
func (k *keeper) drop() {
	k.engine.mu.Lock()
	k.engine.kept -= int64(k.data.Len())
	k.engine.mu.Unlock()
	k.data, k.full = bytes.Buffer{}, true
}

// PutBlob implements [oci.Destination].
func (e *Engine) PutBlob(_ context.Context, b oci.Blob) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.blobs[b.Descriptor.Digest] = b
	return nil
}

// PutManifest implements [oci.Destination].
func (e *Engine) PutManifest(_ context.Context, b oci.Blob, tag string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.manifests[b.Descriptor.Digest] = b
	if tag != "" {
		e.top = b.Descriptor.Digest
		if !slices.Contains(e.names, tag) {
			e.names = append(e.names, tag)
		}
	}
	return nil
}

// Commit implements [oci.Destination]. The engine pulls the image and gives it its names.
func (e *Engine) Commit(ctx context.Context) error {
	if e.top == "" {
		return errors.New("load: the image has no name")
	}
	slices.Sort(e.names) // tags are put concurrently, in any order
	if _, err := e.lookup(); err != nil {
		return err
	}
	err := e.pull(ctx)
	if unreached, ok := errors.AsType[*unreachedError](err); ok {
		if e.Warn != nil {
			e.Warn(fmt.Errorf("%s did not ask for the image, and gets it with all layers: %w", e.program, unreached))
		}
		err = e.load(ctx)
	}
	if err != nil {
		return fmt.Errorf("load into %s: %w", e.program, err)
	}
	return nil
}

// Pulled describes what the engine has pulled.
type Pulled struct {
	Layers int
	Bytes  int64
	Time   time.Duration // how long the engine's programs ran, without the time in which nixoci made layers
}

// Pulled returns what the engine has pulled so far.
func (e *Engine) Pulled() Pulled {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pulled
	p.Time = max(0, p.Time-e.made)
	return p
}

func (e *Engine) ran(since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pulled.Time += time.Since(since)
}

func (e *Engine) sent(l *layer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pulled.Layers++
	e.pulled.Bytes += l.Size
}

// makes adds n to the number of layers that are being made.
func (e *Engine) makes(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch e.making += n; {
	case n > 0 && e.making == 1:
		e.madeSince = time.Now()
	case e.making == 0:
		e.made += time.Since(e.madeSince)
	}
}

// Close implements [oci.Destination].
func (e *Engine) Close() error { return nil }

// write writes the bytes of a layer, and checks them against its digest.
func (l *layer) write(ctx context.Context, w io.Writer) (layers.Packed, error) {
	if l.data != nil {
		_, err := w.Write(l.data)
		return layers.Packed{Digest: l.Digest, Size: l.Size}, err
	}
	packed, err := l.pack(ctx, w)
	if err == nil && packed.Digest != l.Digest {
		err = oci.OtherContent(l.Digest, packed.Digest)
	}
	return packed, err
}
