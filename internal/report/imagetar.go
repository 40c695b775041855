package report

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// These files of a NixOS image describe the image.
const (
	databaseFile = "nix/var/nix/db/db.sqlite"
	schemaFile   = "nix/var/nix/db/schema"
	profileLink  = "nix/var/nix/profiles/system-1-link"
)

// maxDatabase limits the size of a database in another tool's image, in bytes. A database of
// 100,000 store paths has about 100 MB.
const maxDatabase = 512 << 20

// eachEntry calls f for each tar entry of a layer.
func eachEntry(ctx context.Context, src oci.Reader, l *ImageLayer, f func(name string, h *tar.Header, r io.Reader) error) (err error) {
	rc, err := src.GetBlob(ctx, l.Descriptor)
	if err != nil {
		return err
	}
	defer rc.Close()
	defer func() {
		if err != nil {
			err = fmt.Errorf("read layer %s: %w", l.Descriptor.Digest, err)
		}
	}()
	z, err := layers.Decompress(bufio.NewReaderSize(rc, 1<<20), l.Descriptor.MediaType)
	if err != nil {
		return err
	}
	defer z.Close()
	counter := &countReader{r: z}
	t := tar.NewReader(counter)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := f(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), h, t); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, counter); err != nil { // read what follows the end of the tar, if anything
		return err
	}
	if _, err := io.Copy(io.Discard, rc); err != nil { // read to the end of the blob, because the digest is checked there
		return err
	}
	l.TarSize = counter.n
	return nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// readDatabase reads the image's closure from a layer. For a NixOS system, it reads the
// closure of the system profile from the Nix database. For an application, it reads the
// closure from the file in which nixoci describes the image. If the layer has neither, c is
// nil. readDatabase also returns what the layer records about the image and its base image.
// SQLite needs a file, so readDatabase copies the database to a temporary file.
func readDatabase(ctx context.Context, src oci.Reader, l *ImageLayer) (c *closure.Closure, info manifest.ImageInfo, base *manifest.BaseInfo, err error) {
	dir, remove, err := atomicfile.TempDir(os.TempDir())
	if err != nil {
		return nil, info, nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(databaseFile)), 0o700); err != nil {
		return nil, info, nil, err
	}
	var toplevel string
	var database bool
	err = eachEntry(ctx, src, l, func(name string, h *tar.Header, r io.Reader) error {
		switch name {
		case profileLink:
			toplevel = h.Linkname
		case databaseFile, schemaFile:
			database = database || name == databaseFile
			return writeBounded(filepath.Join(dir, name), r)
		case manifest.ImageFile:
			data, err := io.ReadAll(io.LimitReader(r, manifest.MaxImageFile))
			if err != nil {
				return err
			}
			if app, infos, err := manifest.ParseApplicationInfo(data); err != nil {
				return err
			} else if app != nil {
				base = app.Base
				c, err = closure.New(app.Roots, infos)
				return err
			}
			if parsed, err := manifest.ParseImageInfo(data); err == nil { // ignore a file that cannot be parsed
				info = parsed
			}
		}
		return nil
	})
	if err != nil || c != nil || !database || toplevel == "" {
		return c, info, base, err
	}
	root, err := closure.ParseStorePath(toplevel)
	if err != nil {
		return nil, info, nil, fmt.Errorf("%s: %w", profileLink, err)
	}
	store, err := closure.OpenLocal(dir)
	if err != nil {
		return nil, info, nil, err
	}
	c, err = store.Closure(ctx, []closure.StorePath{root})
	return c, info, base, err
}

func writeBounded(file string, r io.Reader) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, maxDatabase+1))
	if err == nil && n > maxDatabase {
		err = fmt.Errorf("the Nix database is larger than %d bytes", maxDatabase)
	}
	return errors.Join(err, f.Close())
}

// readPaths reads each layer whose store paths are still unknown, and records the paths.
func (p *ImagePlatform) readPaths(ctx context.Context, src oci.Reader, reading func(int, int64)) error {
	var unknown []*ImageLayer
	var size int64
	for i := range p.Layers {
		if l := &p.Layers[i]; !l.PathsKnown {
			unknown = append(unknown, l)
			size += l.Descriptor.Size
		}
	}
	if len(unknown) > 0 && reading != nil {
		reading(len(unknown), size)
	}
	for _, l := range unknown {
		found := map[closure.StorePath]bool{}
		err := eachEntry(ctx, src, l, func(name string, _ *tar.Header, _ io.Reader) error {
			if path, _, ok := closure.SplitFile(name); ok {
				found[path] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		l.Paths, l.PathsKnown = slices.Sorted(maps.Keys(found)), true
	}
	return nil
}
