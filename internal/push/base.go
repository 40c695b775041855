package push

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// baseLayer is a layer of a base image during a push. The push copies its blob unchanged and never
// unpacks it into files.
type baseLayer struct {
	manifest.BaseLayer
	source  oci.Reader
	outcome Outcome
	shown   *layers.Layer // the layer as [Progress] shows it
}

// BaseResult describes what a push did with one layer of a base image.
type BaseResult struct {
	ocispec.Descriptor
	Outcome Outcome // [Present], [Mounted] or [Copied]
}

// addBase adds the layers of b to the push. A layer that several platforms share is added once.
func (p *pusher) addBase(b *manifest.Base) {
	if b == nil {
		return
	}
	for _, l := range b.Layers {
		if !p.hasBase[l.Digest] {
			p.hasBase[l.Digest] = true
			shown := &layers.Layer{Size: l.Size, Comment: "layer of the base image"}
			p.base = append(p.base, &baseLayer{BaseLayer: l, source: b.Source, shown: shown})
		}
	}
}

// putBase stores the layers of base images in the destination. If the destination has a layer
// already, putBase sends nothing. If it can, the registry mounts the layer from the base's
// repository. Otherwise putBase copies the layer.
func (p *pusher) putBase(ctx context.Context) error {
	uploads := p.opts.Uploads
	if _, ordered := p.dst.(oci.Ordered); ordered {
		uploads = 1
	}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(uploads)
	for _, l := range p.base {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := p.putBaseLayer(ctx, l); err != nil {
				return fmt.Errorf("layer %s of the base image: %w", l.Digest, err)
			}
			p.opts.Progress.Done(LayerResult{Layer: l.shown, Packed: layers.Packed{Digest: l.Digest, Size: l.Size, UncompressedSize: l.Size}, Outcome: l.outcome})
			return nil
		})
	}
	return group.Wait()
}

func (p *pusher) putBaseLayer(ctx context.Context, l *baseLayer) error {
	if p.listed[l.Digest] && p.opts.ReuseCheck <= 0 {
		l.outcome = Present
		return nil
	}
	if dst, ok := p.dst.(oci.Lazy); ok {
		dst.Offer(l.Descriptor, func(ctx context.Context, w io.Writer) (layers.Packed, error) { return l.copy(ctx, w, func(int) {}) })
		l.outcome = Present
		return nil
	}
	if dst, ok := p.dst.(oci.Mounter); ok {
		if mounted, err := dst.Mount(ctx, l.Digest, l.source); err != nil || mounted {
			l.outcome = Mounted
			return err
		}
	}
	if has, err := p.dst.HasBlob(ctx, l.Descriptor); err != nil || has {
		l.outcome = Present
		return err
	}
	l.outcome = Copied
	_, err := p.dst.PutLayer(ctx, nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) {
		return l.copy(ctx, w, func(n int) { p.opts.Progress.Packing(l.shown, n) })
	})
	return err
}

// copy writes the layer's blob to w. It also checks the digest of the blob, and the diffID of the
// tar inside.
func (l *baseLayer) copy(ctx context.Context, w io.Writer, did func(int)) (layers.Packed, error) {
	blob, err := l.source.GetBlob(ctx, l.Descriptor)
	if err != nil {
		return layers.Packed{}, err
	}
	defer blob.Close()
	defer context.AfterFunc(ctx, func() { blob.Close() })() // closing the blob ends a blocked read when ctx is cancelled
	sent := io.TeeReader(blob, writerFunc(func(p []byte) error {
		_, err := w.Write(p)
		did(len(p))
		return err
	}))
	tarSize, diffID, tarErr := hashTar(sent, l.MediaType)
	if _, err := io.Copy(io.Discard, sent); err != nil { // report a wrong digest rather than tarErr
		return layers.Packed{}, errors.Join(context.Cause(ctx), err)
	}
	if tarErr != nil {
		return layers.Packed{}, fmt.Errorf("cannot be decompressed: %w", tarErr)
	}
	if diffID != l.DiffID {
		return layers.Packed{}, oci.ContentErrorf("its diffID is %s, but the config of the base has %s", diffID, l.DiffID)
	}
	return layers.Packed{DiffID: diffID, Digest: l.Digest, Size: l.Size, UncompressedSize: tarSize}, nil
}

type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// hashTar returns the size and the diffID of the tar inside a blob.
func hashTar(blob io.Reader, mediaType string) (size int64, diffID digest.Digest, err error) {
	tar, err := layers.Decompress(blob, mediaType)
	if err != nil {
		return 0, "", err
	}
	defer tar.Close()
	h := sha256.New()
	if size, err = io.Copy(h, tar); err != nil {
		return 0, "", err
	}
	return size, digest.NewDigest(digest.SHA256, h), nil
}

// baseMoved warns if the tag of the base image now names another image. It compares the base of
// this push with the base of the image that the push replaces.
func (p *pusher) baseMoved(ctx context.Context) {
	if len(p.base) == 0 || len(p.opts.Tags) == 0 {
		return
	}
	r := p.remoteOf(p.opts.Tags[0])
	if r == nil {
		return
	}
	top, err := r.Index(ctx)
	if err != nil || top.Index == nil {
		return
	}
	now := p.images[0].draft.System.Base
	name, was := top.Index.Annotations[ocispec.AnnotationBaseImageName], top.Index.Annotations[ocispec.AnnotationBaseImageDigest]
	if now != nil && name == now.Name && name != "" && was != now.Digest.String() {
		p.warn(fmt.Errorf("base image %s has changed: it is %s now, and was %s when %s was pushed", name, now.Digest, was, r))
	}
}
