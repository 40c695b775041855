package verify

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/task"
)

// foreignLayer is the content of a layer that another tool made.
type foreignLayer struct {
	*layerContent
	whole    map[closure.StorePath]string // reason why the NAR of a path could not be made again; "" if it was made
	database string                       // file with a copy of the layer's Nix database; "" if the layer has none
}

// checkForeign checks an image of another tool. It reports which checks pass, which fail, and which
// do not apply. It always adds a finding that nixoci has not made the image. Otherwise an image
// would pass if somebody removed its annotations.
func (v *verification) checkForeign(ctx context.Context, c *content) (*checks, error) {
	done := v.newChecks(c.doc)
	if !c.doc.complete() {
		return done, nil // the findings of c.doc report why
	}
	all, err := v.readForeign(ctx, c.doc)
	if err != nil {
		return nil, err
	}
	f := &foreignResults{failed: map[Check]bool{}}
	for n, l := range all {
		f.found(l.findings...)
		f.found(c.doc.checkDiffID(n, l.layerContent)...)
	}
	f.result(CheckDigests, true, "%d blobs match their digests and sizes", len(all)+1)
	f.result(CheckFormat, f.failed[CheckFormat], "nixoci knows no canonical form for layers of another tool")
	if done.paths, err = f.checkPaths(ctx, all); err != nil {
		return nil, err
	}
	for _, c := range []Check{CheckSystem, CheckConfig, CheckManifest} {
		f.result(c, false, "cannot be made again, because nixoci has not made the image")
	}
	what := "the manifest has no annotation " + manifest.AnnotationFormat
	if v.noManifest {
		what = "the config has no label " + manifest.AnnotationToplevel
	}
	f.found(Finding{Digest: c.doc.blob.Descriptor.Digest}.of(CheckManifest, "not made by nixoci: %s", what))
	done.record(f.findings)
	done.foreign = f.results
	return done, nil
}

// foreignResults collects the results of the checks of an image that another tool made.
type foreignResults struct {
	results  []CheckResult
	findings []Finding
	failed   map[Check]bool
}

func (r *foreignResults) found(all ...Finding) {
	for _, f := range all {
		r.failed[f.Check] = true
		r.findings = append(r.findings, f)
	}
}

func (r *foreignResults) result(c Check, applies bool, format string, args ...any) {
	res := CheckResult{Check: c, Verdict: Holds, Detail: fmt.Sprintf(format, args...)}
	switch {
	case !applies:
		res.Verdict = Without
	case r.failed[c]:
		res.Verdict = Fails
	}
	r.results = append(r.results, res)
}

// foreignPaths holds the store paths in all layers of an image.
type foreignPaths struct {
	contents map[closure.StorePath]pathContent // result for each path whose NAR was made again
	why      map[closure.StorePath]string      // reason why the NAR of a path cannot be made again; "" if there is none
	database string                            // file with a copy of the Nix database; "" if no layer has one
}

func foreignPathsOf(all []*foreignLayer) foreignPaths {
	paths := foreignPaths{contents: map[closure.StorePath]pathContent{}, why: map[closure.StorePath]string{}}
	for _, l := range all {
		for p, reason := range l.whole {
			if _, twice := paths.why[p]; twice {
				reason = "several layers contain parts of it"
			}
			paths.why[p] = reason
		}
		for _, p := range l.paths {
			paths.contents[p.path] = p
		}
		if l.database != "" {
			paths.database = l.database
		}
	}
	return paths
}

// checkPaths compares the store paths with the Nix database, if the image has one.
func (r *foreignResults) checkPaths(ctx context.Context, all []*foreignLayer) (count pathCount, err error) {
	paths := foreignPathsOf(all)
	const none = "the image has no Nix database to compare them with"
	if paths.database == "" {
		r.result(CheckPaths, false, "%d store paths; %s", len(paths.why), none)
		r.result(CheckNarHashes, false, none)
		r.result(CheckReferences, false, none)
		return count, nil
	}
	infos, err := closure.ReadDatabase(ctx, paths.database)
	if err != nil {
		if ctx.Err() != nil {
			return count, context.Cause(ctx)
		}
		r.found(Finding{Path: databaseName}.of(CheckPaths, "%s", strings.ReplaceAll(err.Error(), paths.database, "the database")))
		r.result(CheckPaths, true, "")
		return count, nil
	}
	inDatabase := map[closure.StorePath]bool{}
	apart := 0
	for k := range infos {
		info := &infos[k]
		inDatabase[info.Path] = true
		reason, there := paths.why[info.Path]
		p := paths.contents[info.Path]
		place := Finding{Path: string(info.Path)}
		switch {
		case !there:
			r.found(place.of(CheckPaths, "the Nix database lists this path, but no layer contains it"))
		case reason != "":
			apart++
		case p.narHash != info.NarHash:
			r.found(place.of(CheckNarHashes, "narHash is %s, the Nix database has %s", p.narHash, info.NarHash))
		default:
			count.paths++
			count.narSize += p.narSize
		}
	}
	extra := 0
	for p := range paths.why {
		if !inDatabase[p] {
			extra++
		}
	}
	r.result(CheckPaths, true, "the layers hold the %d store paths of the Nix database, and %d more", len(infos), extra)
	detail := fmt.Sprintf("%s, of %d bytes", human.Count(count.paths, "narHash"), count.narSize)
	if apart > 0 {
		detail += fmt.Sprintf("; the NARs of %d paths cannot be made again from their tar entries", apart)
	}
	r.result(CheckNarHashes, count.paths > 0 || r.failed[CheckNarHashes], "%s", detail)
	if _, err := closure.New(nil, infos); err != nil {
		r.found(Finding{}.of(CheckReferences, "%s", strings.TrimPrefix(err.Error(), "closure: ")))
	}
	r.result(CheckReferences, true, "closed under references")
	return count, nil
}

// readForeign reads all layers. It does not require the canonical form.
func (v *verification) readForeign(ctx context.Context, doc *document) ([]*foreignLayer, error) {
	all := make([]*foreignLayer, len(doc.manifest.Layers))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(v.jobs())
	for n := range all {
		group.Go(func() (err error) {
			all[n], err = v.readForeignLayer(ctx, layerToRead{desc: doc.manifest.Layers[n], platform: doc.platform, number: n + 1})
			return err
		})
	}
	return all, group.Wait()
}

func (v *verification) readForeignLayer(ctx context.Context, todo layerToRead) (*foreignLayer, error) {
	l := &foreignLayer{layerContent: &layerContent{}, whole: map[closure.StorePath]string{}}
	found := func(c Check, format string, args ...any) {
		l.findings = append(l.findings, todo.place().of(c, format, args...))
	}
	dir, err := os.MkdirTemp(v.dir, "foreign-")
	if err != nil {
		return nil, err
	}
	t := openTar(ctx, countingReader{v.src, todo.progress}, todo.desc, false)
	defer t.Close()
	err = l.read(t, filepath.Join(dir, "db.sqlite"))
	format := err // report this error only if the blob is right
	if err = t.drain(); err == nil {
		l.diffID, l.tarSize = t.diffID, t.size
		if format != nil {
			found(CheckFormat, "not a tar: %v", format)
		}
		return l, nil
	}
	if what, ok := contentFinding(err); ok {
		found(CheckDigests, "%s", what)
	} else if f, ok := errors.AsType[*layers.FormatError](err); ok {
		found(CheckFormat, "%s", f.What)
	} else {
		return nil, err
	}
	return l, nil
}

func (l *foreignLayer) read(r io.Reader, db string) error {
	tr := tar.NewReader(r)
	var open *openPath
	end := func() error {
		p := open
		open = nil
		if p == nil || p.nar == nil {
			return nil
		}
		if err := p.nar.Close(); err != nil {
			return err
		}
		c := pathContent{path: p.path, narSize: p.size}
		p.sha.Sum(c.narHash[:0])
		l.paths = append(l.paths, c)
		return nil
	}
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return end()
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == databaseName && h.Typeflag == tar.TypeReg && h.Size <= maxDatabase {
			if err = copyTo(db, tr); err != nil {
				return err
			}
			l.database = db
			continue
		}
		p, file, ok := closure.SplitFile(name)
		if !ok {
			continue
		}
		if open == nil || open.path != p {
			if err := end(); err != nil {
				return err
			}
			open = &openPath{base: p.Base(), path: p, sha: sha256.New()}
			if _, again := l.whole[p]; again {
				l.whole[p] = "its entries are not together"
			} else {
				l.whole[p] = ""
				open.nar = nar.NewWriter(open)
			}
		}
		if open.nar == nil {
			continue
		}
		if reason := open.add(file, h, tr); reason != nil {
			if !errors.Is(reason, nar.ErrMalformed) && !errors.Is(reason, errNoNAR) {
				return reason
			}
			l.whole[p], open.nar = reason.Error(), nil
		}
	}
}

// errNoNAR reports an entry that a NAR cannot contain. Examples are a device, and a hard link to a
// file earlier in the tar.
var errNoNAR = errors.New("not an entry of a NAR")

// add adds an entry to the NAR. It ignores the mode of the entry, except the owner's executable
// bit.
func (p *openPath) add(name string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return p.nar.Directory(name)
	case tar.TypeSymlink:
		return p.nar.Symlink(name, h.Linkname)
	case tar.TypeReg:
		return p.nar.File(name, h.Mode&0o100 != 0, h.Size, content)
	}
	return errNoNAR
}
