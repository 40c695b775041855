package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/task"
)

// Names in the system layer that are read before it can be made again.
const (
	databaseName = "nix/var/nix/db/db.sqlite"
	profileName  = "nix/var/nix/profiles/system-1-link"
)

// maxDatabase bounds a Nix database in bytes: some million store paths.
const maxDatabase = 1 << 30

// systemContent is what the last layer says, a system layer or a root layer:
// nothing of it is believed before the layer was made again from it.
type systemContent struct {
	*layerContent
	form     form
	toplevel closure.StorePath // "" where there is none that can be read
	infos    []closure.Info    // of the Nix database, or of an application's file; nil as above

	application *manifest.ApplicationInfo // nil: it is a NixOS system, or nobody can tell
	base        *manifest.Base            // nil: there is none

	identityFindings []Finding // of toplevel and database
}

// readSystems is the second stage: of each image that is ours the system layer,
// with the database in it.
func (v *verification) readSystems(ctx context.Context, docs *documents) ([]*systemContent, error) {
	all := make([]*systemContent, len(docs.images))
	group, ctx := task.WithContext(ctx)
	for n, doc := range docs.images {
		if !doc.ours() {
			continue
		}
		group.Go(func() (err error) {
			all[n], err = v.readSystem(ctx, doc, filepath.Join(v.dir, fmt.Sprintf("db-%d.sqlite", n)))
			return err
		})
	}
	return all, group.Wait()
}

// readSystem reads one system layer. Its database is copied to file.
func (v *verification) readSystem(ctx context.Context, doc *document, file string) (*systemContent, error) {
	last := len(doc.manifest.Layers) - 1
	files := &systemFiles{databaseCopy: file}
	j := layerJob{desc: doc.manifest.Layers[last], platform: doc.platform, number: last + 1, stopAtFirst: v.stopAtFirst()}
	c, err := readLayer(ctx, v.src, j, files.read)
	if err != nil {
		return nil, err
	}
	c.findings = append(c.findings, doc.checkDiffID(last, c)...)
	s := &systemContent{layerContent: c, form: doc.form}
	if c.damaged || v.stopAtFirst() && len(c.findings) > 0 {
		return s, nil
	}
	if doc.noManifest { // the image's own files say what the manifest would
		s.form = files.form()
	}
	if s.form.application {
		s.identityFindings = s.identifyApplication(files, doc)
		return s, nil
	}
	s.toplevel, s.infos, s.identityFindings, err = files.identify(ctx, doc.place(last))
	return s, err
}

// form is what the files say of it, where no manifest does.
func (s *systemFiles) form() form {
	if app, _, err := manifest.ParseApplicationInfo(s.info); app != nil || err != nil {
		f := form{version: manifest.CurrentFormat, application: true}
		if app != nil && app.Base != nil {
			f.base = app.Base.Count
		}
		return f
	}
	if info, err := manifest.ParseImageInfo(s.info); err == nil {
		return form{version: manifest.Format2, hasInit: info.Program != ""}
	}
	return form{version: manifest.Format1}
}

// identifyApplication reads what an application's image says that it was made of.
// What cannot be understood is a finding.
func (s *systemContent) identifyApplication(files *systemFiles, doc *document) (found []Finding) {
	place := doc.place(len(doc.manifest.Layers) - 1)
	place.Path = manifest.ImageFile
	app, infos, err := manifest.ParseApplicationInfo(files.info)
	switch {
	case err != nil:
		return []Finding{place.of(CheckSystem, "%v", err)}
	case app == nil:
		return []Finding{place.of(CheckSystem, "it is not there, or not one of an application")}
	}
	if app.Base != nil {
		if s.base, err = manifest.RecordedBase(*app.Base, doc.manifest, &doc.config); err != nil {
			return []Finding{place.of(CheckSystem, "%v", err)}
		}
	}
	if n := s.baseLayers(); n != s.form.base {
		return []Finding{place.of(CheckSystem, "%d layers are of the base image, the manifest says %d", n, s.form.base)}
	}
	s.application, s.infos, s.toplevel = app, infos, app.Roots[0]
	return nil
}

func (s *systemContent) baseLayers() int {
	if s.base == nil {
		return 0
	}
	return s.base.Count
}

// systemFiles are the files of a system layer that say what the image is.
type systemFiles struct {
	databaseCopy string // where the database is copied to
	toplevel     string // target of the system profile, "" where there is none
	hasDatabase  bool
	info         []byte // of manifest.ImageFile, nil where there is none
}

func (s *systemFiles) read(t *tarStream, _ *layerContent, found *collector) error {
	tar := layers.NewTarReader(t, func(e *layers.FormatError) error {
		return found.add(Finding{Path: e.Entry}.of(CheckFormat, "%s", e.What))
	})
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
			if err := found.add(Finding{Path: e.Name}.of(CheckFormat, "it is there a second time")); err != nil {
				return err
			}
			continue
		}
		if len(seen) == maxSystemEntries {
			return found.addf(CheckSystem, "more than %d entries", maxSystemEntries)
		}
		seen[e.Name] = true
		switch {
		case e.Name == profileName && e.Kind == closure.KindSymlink:
			s.toplevel = e.Target
		case e.Name == manifest.ImageFile && e.Kind == closure.KindFile && e.Size <= manifest.MaxImageFile:
			if s.info, err = io.ReadAll(tar); err != nil {
				return err
			}
		case e.Name == databaseName && e.Kind == closure.KindFile:
			if e.Size > maxDatabase {
				return found.add(Finding{Path: e.Name}.of(CheckSystem, "%d bytes, at most %d are read", e.Size, maxDatabase))
			}
			if err := copyTo(s.databaseCopy, tar); err != nil {
				return err
			}
			s.hasDatabase = true
		}
	}
}

// maxSystemEntries bounds a system layer, which has some forty, and a root layer,
// which has as many as an application may have.
const maxSystemEntries = 2 * application.MaxEntries

func copyTo(file string, r io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// identify reads the toplevel and the database. What cannot be understood is a
// finding.
func (s *systemFiles) identify(ctx context.Context, place Finding) (closure.StorePath, []closure.Info, []Finding, error) {
	at := func(name string) Finding { f := place; f.Path = name; return f }
	toplevel, err := closure.ParseStorePath(s.toplevel)
	switch {
	case s.toplevel == "":
		return "", nil, []Finding{at(profileName).of(CheckSystem, "it is not there, or not a symlink")}, nil
	case err != nil:
		return "", nil, []Finding{at(profileName).of(CheckSystem, "%v", err)}, nil
	case !s.hasDatabase:
		return "", nil, []Finding{at(databaseName).of(CheckSystem, "it is not there, or not a file")}, nil
	}
	infos, err := closure.ReadDatabase(ctx, s.databaseCopy)
	if err != nil {
		if ctx.Err() != nil {
			return "", nil, nil, context.Cause(ctx)
		}
		what := strings.ReplaceAll(err.Error(), s.databaseCopy, "the database")
		return "", nil, []Finding{at(databaseName).of(CheckPaths, "%s", what)}, nil
	}
	return toplevel, infos, nil, nil
}
