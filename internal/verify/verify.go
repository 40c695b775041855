package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/task"
)

// Options say what is verified. The zero value checks what the image says of
// itself.
type Options struct {
	Platforms []ocispec.Platform // empty: all
	KeepGoing bool               // look for all findings, not the first alone
	Jobs      int                // layers read at once; ≤0: GOMAXPROCS

	// DefaultSettings refuses an image that starts something else, or in another
	// way, than nixoci's default: entrypoint, command, environment, user,
	// directory, stop signal, ports, volumes.
	DefaultSettings bool

	// Init is what the image should have as /sbin/init; nil: what it has is said.
	Init *manifest.InitChoice

	// Closures are what the image should be made of, one for each platform that
	// is to be compared. An error of their source is an error, not a finding.
	Closures []*manifest.System

	// Keys are trusted to sign store paths; nil: signatures are not looked at.
	Keys    closure.TrustedKeys
	Require Required // "": RequireNone
	Against Known    // has signatures beside those that are attached to the image; nil: nobody

	// Progress, if any, is told how far it is. Its methods are called
	// concurrently.
	Progress Progress

	// Key must have signed what the reference names; nil: nobody need.
	Key *attest.PublicKey
}

// Progress is told what is read and made.
type Progress interface {
	More(layers int, bytes int64) // so many more are to be read, or made again
	Did(bytes int64)
	Layer(desc ocispec.Descriptor, done string) // one is done: "read" or "made"
}

type noProgress struct{}

func (noProgress) More(int, int64)                  {}
func (noProgress) Did(int64)                        {}
func (noProgress) Layer(ocispec.Descriptor, string) {}

type verifier struct {
	src        oci.Source
	noManifest bool
	o          Options

	report *Report
	top    findings // of the index
	images []*image
	index  *manifest.Index
	blob   oci.Blob // what the reference names

	checkedIndex bool

	keep   map[closure.StorePath]*os.File // NARs of the toplevels
	shared map[digest.Digest]*layerRead
	reads  []*layerRead
}

// one reports whether reading may stop at the first finding. With closures it
// may not: what differs from them names the place better, and comes first.
func (v *verifier) one() bool { return !v.o.KeepGoing && len(v.o.Closures) == 0 }

func (v *verifier) keepers() map[closure.StorePath]io.Writer {
	m := make(map[closure.StorePath]io.Writer, len(v.keep))
	for p, f := range v.keep {
		m[p] = f
	}
	return m
}

// Image verifies the image in src. The error says why nobody can know: the
// network, for instance. What is wrong with the image is in the report.
func Image(ctx context.Context, src *oci.OpenedSource, o Options) (*Report, error) {
	dir, err := os.MkdirTemp("", "nixoci-verify-")
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	defer os.RemoveAll(dir)
	v := &verifier{
		src: src.Source, noManifest: src.NoManifest, o: o,
		report: &Report{Ref: src.Name},
		keep:   map[closure.StorePath]*os.File{},
		shared: map[digest.Digest]*layerRead{},
	}
	if v.o.Progress == nil {
		v.o.Progress = noProgress{}
	}
	v.top.one = v.one()
	defer func() {
		for _, f := range v.keep {
			f.Close()
		}
	}()
	if err := v.run(ctx, src.Target, dir); err != nil && !errors.Is(err, errStop) {
		return nil, fmt.Errorf("verify %s: %w", src.Name, err)
	}
	v.finish()
	return v.report, nil
}

// run goes from the outside in, and back to the outside. A stage is skipped
// where the one before found something and the first finding is enough.
func (v *verifier) run(ctx context.Context, target, dir string) error {
	if err := v.open(ctx, target, dir); err != nil {
		return err
	}
	for _, stage := range []func(context.Context) error{v.checkKey, v.readSystems, v.readLayers, v.checkImages, v.compareClosures, v.checkIndex} {
		if v.enough() {
			return errStop
		}
		if err := stage(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) enough() bool {
	return v.top.enough() || slices.ContainsFunc(v.images, func(i *image) bool {
		return i.top.enough() || i.claims.enough() || i.system != nil && i.system.findings.enough()
	})
}

// open reads the index, the manifests and the configs.
func (v *verifier) open(ctx context.Context, target, dir string) error {
	blob, err := v.src.GetManifest(ctx, target)
	if what, ok := contentFinding(err); ok && !errors.Is(err, oci.ErrNotFound) {
		return v.top.addf(CheckDigests, "%s: %s", target, what)
	} else if err != nil {
		return err
	}
	v.blob = blob
	v.report.Digest, v.report.MediaType = blob.Descriptor.Digest, blob.Descriptor.MediaType
	if v.index, err = manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType); err != nil {
		if !errors.Is(err, manifest.ErrNotManifest) {
			return v.top.addf(CheckDigests, "index: %v", err)
		}
		v.index = nil
		i := v.newImage("", dir)
		v.images = append(v.images, i)
		return i.read(ctx, blob)
	}
	for n := range v.index.Manifests {
		d := &v.index.Manifests[n]
		name := ""
		if d.Platform != nil {
			name = manifest.FormatPlatform(*d.Platform)
		}
		if !v.wanted(d) {
			v.report.Skipped = append(v.report.Skipped, cmp.Or(name, d.Digest.String()))
			continue
		}
		i := v.newImage(name, filepath.Join(dir, strconv.Itoa(n)))
		i.entry = d
		v.images = append(v.images, i)
		if err := os.Mkdir(i.dir, 0o700); err != nil {
			return err
		}
		if err := i.open(ctx, *d); err != nil {
			return err
		}
	}
	if len(v.images) == 0 {
		return v.top.addf(CheckPlatform, "the index has no image for the platforms asked for")
	}
	return nil
}

func (v *verifier) newImage(name, dir string) *image {
	at := Finding{Platform: name}
	return &image{v: v, name: name, dir: dir, checked: map[Check]bool{}, result: PlatformReport{Platform: name},
		top: findings{one: v.one(), at: at}, claims: findings{one: v.one(), at: at}, after: findings{one: v.one(), at: at}}
}

func (v *verifier) wanted(d *ocispec.Descriptor) bool {
	if len(v.o.Platforms) == 0 {
		return true
	}
	return d.Platform != nil && slices.ContainsFunc(v.o.Platforms, func(p ocispec.Platform) bool { return manifest.SamePlatform(p, *d.Platform) })
}

// nixoci are the images that nixoci has made, as far as they say.
func (v *verifier) nixoci() []*image {
	var all []*image
	for _, i := range v.images {
		if i.made && i.m != nil && i.config != nil && len(i.cfg.RootFS.DiffIDs) == len(i.m.Layers) {
			all = append(all, i)
		}
	}
	return all
}

func (v *verifier) readSystems(ctx context.Context) error {
	group, ctx := task.WithContext(ctx)
	for _, i := range v.nixoci() {
		group.Go(func() error {
			err := i.readSystem(ctx)
			if errors.Is(err, errStop) {
				err = nil
			}
			return err
		})
	}
	return group.Wait()
}

// readLayers reads every layer but the system layers once, the largest first. After a finding
// that is enough, only layers before that one are of interest.
func (v *verifier) readLayers(ctx context.Context) error {
	for _, i := range v.nixoci() {
		if err := i.listLayers(); err != nil {
			return err
		}
	}
	// Which files are kept is known only now.
	for _, r := range v.reads {
		r.job.keep = v.keepers()
	}
	todo := slices.Clone(v.reads)
	var size int64
	for _, r := range todo {
		size += r.job.desc.Size
		r.job.did = v.o.Progress.Did
	}
	v.o.Progress.More(len(todo), size)
	slices.SortStableFunc(todo, func(a, b *layerRead) int { return cmp.Compare(b.job.desc.Size, a.job.desc.Size) })
	var mu sync.Mutex
	first := len(v.reads) // the first layer with a finding
	cancels := make([]context.CancelFunc, len(v.reads))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(v.jobs())
	for _, r := range todo {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			mu.Lock()
			if r.order > first {
				mu.Unlock()
				return nil
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			cancels[r.order] = cancel
			mu.Unlock()
			read := readStoreLayer
			if r.job.init {
				read = readInitLayer
			}
			c, err := read(ctx, v.src, r.job, v.one())
			mu.Lock()
			defer mu.Unlock()
			if r.order > first {
				return nil // it was cancelled
			}
			if err != nil {
				return fmt.Errorf("layer %s: %w", r.job.desc.Digest, err)
			}
			r.content = c
			v.o.Progress.Layer(r.job.desc, "read")
			if c.findings.enough() {
				first = r.order
				for _, stop := range cancels[first+1:] {
					if stop != nil {
						stop()
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (v *verifier) checkImages(ctx context.Context) error {
	for _, i := range v.images {
		err := i.check(ctx)
		if err != nil && !errors.Is(err, errStop) {
			return err
		}
		if i.after.enough() {
			return errStop
		}
	}
	return nil
}
