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

// verify reads these two files of the system layer before it can make the layer again.
const (
	databaseName = "nix/var/nix/db/db.sqlite"
	profileName  = "nix/var/nix/profiles/system-1-link"
)

// maxDatabase is the largest size of a Nix database, in bytes. It is enough for millions of store
// paths.
const maxDatabase = 1 << 30

// systemContent holds the content of the last layer, which is a system layer or a root layer. Its
// content is not trusted until the layer was made again and compared.
type systemContent struct {
	*layerContent
	form     form
	toplevel closure.StorePath // "" if the layer contains no valid toplevel
	infos    []closure.Info    // from the Nix database or an application's file; nil if neither could be read

	application *manifest.ApplicationInfo // nil for a NixOS system, or if the application could not be read
	base        *manifest.Base            // the base image as the image records it; nil if there is none

	identityFindings []Finding // findings about the toplevel and the database
}

// readSystems is a stage of [Image]. It reads the last layer of each image that nixoci
// made, and the database in it.
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

// readSystem reads one system layer. It copies the database to file.
func (v *verification) readSystem(ctx context.Context, doc *document, file string) (*systemContent, error) {
	last := len(doc.manifest.Layers) - 1
	files := &systemFiles{databaseCopy: file}
	todo := layerToRead{desc: doc.manifest.Layers[last], platform: doc.platform, number: last + 1, stopAtFirst: v.stopAtFirst()}
	c, err := readLayer(ctx, v.src, todo, files.read)
	if err != nil {
		return nil, err
	}
	c.findings = append(c.findings, doc.checkDiffID(last, c)...)
	s := &systemContent{layerContent: c, form: doc.form}
	if c.damaged || v.stopAtFirst() && len(c.findings) > 0 {
		return s, nil
	}
	if doc.noManifest { // without a manifest, the image's own files show its form
		s.form = files.form()
	}
	if s.form.application {
		s.identityFindings = s.identifyApplication(files, doc)
		return s, nil
	}
	s.toplevel, s.infos, s.identityFindings, err = files.identify(ctx, doc.place(last))
	return s, err
}

// form returns the form that these files show. It is used for an image without a manifest.
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

// identifyApplication reads the application's record of its roots, choices and base. If it cannot
// understand a part of the record, it returns a finding.
func (s *systemContent) identifyApplication(files *systemFiles, doc *document) (found []Finding) {
	place := doc.place(len(doc.manifest.Layers) - 1)
	place.Path = manifest.ImageFile
	app, infos, err := manifest.ParseApplicationInfo(files.info)
	switch {
	case err != nil:
		return []Finding{place.of(CheckSystem, "%v", err)}
	case app == nil:
		return []Finding{place.of(CheckSystem, "it is missing, or does not describe an application")}
	}
	if app.Base != nil {
		if s.base, err = manifest.RecordedBase(*app.Base, doc.manifest, &doc.config); err != nil {
			return []Finding{place.of(CheckSystem, "%v", err)}
		}
	}
	if n := s.baseLayers(); n != s.form.base {
		return []Finding{place.of(CheckSystem, "%d layers belong to the base image, but the manifest records %d", n, s.form.base)}
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

// systemFiles holds the files of a system layer that show what the image contains.
type systemFiles struct {
	databaseCopy string // name of the file to which the database is copied
	toplevel     string // target of the system profile; "" if there is no profile
	hasDatabase  bool
	info         []byte // content of manifest.ImageFile; nil if there is none
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
			if err := found.add(Finding{Path: e.Name}.of(CheckFormat, "it occurs a second time")); err != nil {
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

// maxSystemEntries is the largest number of entries in a last layer. A system layer has about
// forty. A root layer has as many as an application may have.
const maxSystemEntries = 2 * application.MaxEntries

func copyTo(file string, r io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// identify reads the toplevel and the database. If it cannot understand one of them, it returns a
// finding.
func (s *systemFiles) identify(ctx context.Context, place Finding) (closure.StorePath, []closure.Info, []Finding, error) {
	at := func(name string) Finding { f := place; f.Path = name; return f }
	toplevel, err := closure.ParseStorePath(s.toplevel)
	switch {
	case s.toplevel == "":
		return "", nil, []Finding{at(profileName).of(CheckSystem, "it is missing, or not a symlink")}, nil
	case err != nil:
		return "", nil, []Finding{at(profileName).of(CheckSystem, "%v", err)}, nil
	case !s.hasDatabase:
		return "", nil, []Finding{at(databaseName).of(CheckSystem, "it is missing, or not a file")}, nil
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
