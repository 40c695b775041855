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

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// Kind is an engine, by the name of its program.
type Kind string

// The engines.
const (
	Docker Kind = "docker"
	Podman Kind = "podman"
)

// maxKept bounds the memory for layers that the engine is about to pull. The layers that a
// developer's change affects are mostly smaller.
const maxKept = 64 << 20 // bytes

// schemes are the names that skopeo and other tools have for the stores of the engines.
var schemes = map[string]Kind{"docker-daemon": Docker, "containers-storage": Podman}

// IsDestination reports whether s names the store of an engine.
func IsDestination(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	return found && schemes[scheme] != ""
}

// Parse parses docker-daemon:NAME[:TAG] or containers-storage:NAME[:TAG].
func Parse(s string) (kind Kind, tag string, err error) {
	scheme, rest, _ := strings.Cut(s, ":")
	if kind = schemes[scheme]; kind == "" {
		return "", "", fmt.Errorf("parse destination %q: unknown kind %q", s, scheme)
	}
	if tag, err = ParseName(rest); err != nil {
		return "", "", hint.Add(fmt.Errorf("parse destination %q: %w", s, err), "name the image: "+scheme+":web:1.2")
	}
	return kind, tag, nil
}

// ParseName completes NAME[:TAG] to the name that the engine shows in its list of images.
func ParseName(s string) (string, error) {
	ref, err := name.NewTag(s)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(s, ":"+ref.TagStr()) + ":" + ref.TagStr(), nil
}

// Engine puts an image into the store of an engine. The image appears with Commit.
type Engine struct {
	kind    Kind
	program string // for tests; the kind's name otherwise

	// Platform is the platform to pull, of an image that has several: os/arch or
	// os/arch/variant.
	Platform string

	// Warn, if not nil, is told why the engine got an archive.
	Warn func(error)

	mu        sync.Mutex
	layers    map[digest.Digest]*layer
	order     []digest.Digest // of the layers as they came
	manifests map[digest.Digest]oci.Blob
	blobs     map[digest.Digest]oci.Blob
	top       digest.Digest
	names     []string
	kept      int64 // bytes of layers in memory
	pulled    Pulled
	making    int           // layers that are made for the engine now
	madeSince time.Time     // when the first of them began
	made      time.Duration // while at least one was made
}

var (
	_ oci.Destination = (*Engine)(nil)
	_ oci.Lazy        = (*Engine)(nil)
)

// layer is a layer that the engine may ask for.
type layer struct {
	ocispec.Descriptor
	pack oci.PackFunc
	data []byte // nil: pack makes it again
}

// New returns a destination for an engine of that kind.
func New(kind Kind) *Engine {
	return &Engine{kind: kind, program: string(kind), layers: map[digest.Digest]*layer{}, manifests: map[digest.Digest]oci.Blob{}, blobs: map[digest.Digest]oci.Blob{}}
}

// Name returns the engine's name for messages.
func (e *Engine) Name() string { return string(e.kind) }

// Resolve implements [oci.Destination]. The engine is not asked: an image that it has
// takes no more than the request for its digest.
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

// PutLayer implements [oci.Destination]. It packs the layer to learn its digest. A small
// layer, such as the one that a developer has just changed, stays in memory. Another one is
// packed again when the engine asks for it, because that takes less time than writing it
// to a file and reading it.
func (e *Engine) PutLayer(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	k := &keeper{engine: e}
	packed, err := pack(ctx, k)
	if err == nil && want != nil && packed != *want {
		err = fmt.Errorf("layer %s: made again, it has digest %s: %w", want.Digest, packed.Digest, oci.ErrOtherContent)
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

// keeper keeps what is written to it while the engine's layers have room in memory.
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

// drop gives back the memory.
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

// Commit implements [oci.Destination]: the engine pulls the image and names it.
func (e *Engine) Commit(ctx context.Context) error {
	if e.top == "" {
		return errors.New("load: the image has no name")
	}
	slices.Sort(e.names) // tags come concurrently
	if _, err := e.lookup(); err != nil {
		return err
	}
	err := e.pull(ctx)
	if unreached, ok := errors.AsType[*unreachedError](err); ok {
		if e.Warn != nil {
			e.Warn(fmt.Errorf("%s did not ask for the image, and gets it with all layers: %w", e.kind, unreached))
		}
		err = e.load(ctx)
	}
	if err != nil {
		return fmt.Errorf("load into %s: %w", e.kind, err)
	}
	return nil
}

// Pulled is what the engine has asked for.
type Pulled struct {
	Layers int
	Bytes  int64
	Time   time.Duration // that the engine's programs ran while nixoci did not make a layer
}

// Pulled returns what the engine has asked for so far.
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

// makes counts the layers that are made now.
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

// write writes the bytes of a layer, and checks that they are those of its digest.
func (l *layer) write(ctx context.Context, w io.Writer) (layers.Packed, error) {
	if l.data != nil {
		_, err := w.Write(l.data)
		return layers.Packed{Digest: l.Digest, Size: l.Size}, err
	}
	packed, err := l.pack(ctx, w)
	if err == nil && packed.Digest != l.Digest {
		err = fmt.Errorf("layer %s: made again, it has digest %s: %w", l.Digest, packed.Digest, oci.ErrOtherContent)
	}
	return packed, err
}
