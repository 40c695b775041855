package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// Names in the system layer that are read before it can be made again.
const (
	databaseName = "nix/var/nix/db/db.sqlite"
	profileName  = "nix/var/nix/profiles/system-1-link"
)

// maxImageInfo bounds the file that names the image's toplevel, in bytes.
const maxImageInfo = 64 << 10

// maxDatabase bounds a Nix database in bytes: some million store paths.
const maxDatabase = 1 << 30

// systemContent is what the system layer says: nothing of it is believed before
// the layer was made again from it.
type systemContent struct {
	*layerContent
	toplevel string // target of the system profile, "" where there is none
	database string // file that the database was copied to, "" where there is none
	info     []byte // of manifest.ImageFile, nil where there is none
}

// readSystemLayer reads a system layer and copies its database to dir.
func readSystemLayer(ctx context.Context, src oci.Source, j layerJob, dir string, one bool) (*systemContent, error) {
	s := &systemContent{}
	var err error
	s.layerContent, err = readLayer(ctx, src, j, one, func(t *tarStream, c *layerContent) error {
		tar := layers.NewTarReader(t, func(e *layers.FormatError) error {
			return c.findings.add(Finding{Check: CheckFormat, Path: e.Entry, What: e.What})
		})
		return s.read(tar, c, dir)
	})
	return s, err
}

func (s *systemContent) read(tar *layers.TarReader, c *layerContent, dir string) error {
	seen := map[string]bool{}
	for {
		e, err := tar.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if seen[e.Name] {
			if err := c.findings.add(Finding{Check: CheckFormat, Path: e.Name, What: "it is there a second time"}); err != nil {
				return err
			}
			continue
		}
		if len(seen) == maxSystemEntries {
			return c.findings.addf(CheckSystem, "more than %d entries", maxSystemEntries)
		}
		seen[e.Name] = true
		switch {
		case e.Name == profileName && e.Kind == closure.KindSymlink:
			s.toplevel = e.Target
		case e.Name == manifest.ImageFile && e.Kind == closure.KindFile && e.Size <= maxImageInfo:
			if s.info, err = io.ReadAll(tar); err != nil {
				return err
			}
		case e.Name == databaseName && e.Kind == closure.KindFile:
			if e.Size > maxDatabase {
				return c.findings.add(Finding{Check: CheckSystem, Path: e.Name, What: fmt.Sprintf("%d bytes, at most %d are read", e.Size, maxDatabase)})
			}
			if s.database, err = copyTo(filepath.Join(dir, "db.sqlite"), tar); err != nil {
				return err
			}
		}
	}
}

// maxSystemEntries bounds the system layer, which has some forty.
const maxSystemEntries = 10_000

func copyTo(file string, r io.Reader) (string, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	return file, errors.Join(err, f.Close())
}

// claims reads the toplevel and the database. What cannot be understood is a
// finding.
func (s *systemContent) claims(ctx context.Context, f *findings) (closure.StorePath, []closure.Info, error) {
	toplevel, err := closure.ParseStorePath(s.toplevel)
	switch {
	case s.toplevel == "":
		return "", nil, f.add(Finding{Check: CheckSystem, Path: profileName, What: "it is not there, or not a symlink"})
	case err != nil:
		return "", nil, f.add(Finding{Check: CheckSystem, Path: profileName, What: err.Error()})
	case s.database == "":
		return "", nil, f.add(Finding{Check: CheckSystem, Path: databaseName, What: "it is not there, or not a file"})
	}
	infos, err := closure.ReadDatabase(ctx, s.database)
	if err != nil {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		what := strings.ReplaceAll(err.Error(), s.database, "the database")
		return "", nil, f.add(Finding{Check: CheckPaths, Path: databaseName, What: what})
	}
	return toplevel, infos, nil
}
