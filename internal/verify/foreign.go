package verify

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/task"
)

// foreignLayer is what a layer of another tool turned out to hold.
type foreignLayer struct {
	*layerContent
	whole    map[closure.StorePath]string // why a path's NAR cannot be put together, "" where it was
	database string                       // file that its Nix database was copied to, "" without one
}

// checkForeign gives an image that another tool has made an honest answer: which
// checks hold, which do not, and which do not apply. That nixoci has not made it
// is a finding in any case: taking away what says so must not make an image
// pass.
func (i *image) checkForeign(ctx context.Context) error {
	if i.m == nil || i.config == nil || len(i.cfg.RootFS.DiffIDs) != len(i.m.Layers) {
		return nil // and i.top says why
	}
	all := make([]*foreignLayer, len(i.m.Layers))
	group, gctx := task.WithContext(ctx)
	group.SetLimit(i.v.jobs())
	for n := range all {
		group.Go(func() (err error) {
			all[n], err = i.readForeign(gctx, n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	failed := map[Check]bool{}
	for n, l := range all {
		i.checkDiffID(n, l.layerContent)
		for _, f := range l.findings.all {
			failed[f.Check] = true
			i.after.all = append(i.after.all, f)
		}
	}
	result := func(c Check, applies bool, format string, args ...any) {
		r := CheckResult{Check: c, Result: Holds, Detail: fmt.Sprintf(format, args...)}
		switch {
		case !applies:
			r.Result = Without
		case failed[c]:
			r.Result = Fails
		}
		i.foreign = append(i.foreign, r)
	}
	result(CheckDigests, true, "%d blobs have the digests and sizes that are said of them", len(all)+1)
	result(CheckFormat, failed[CheckFormat], "layers of another tool have no canonical form that is known here")
	if err := i.foreignPaths(ctx, all, result, failed); err != nil {
		return err
	}
	for _, c := range []Check{CheckSystem, CheckConfig, CheckManifest} {
		result(c, false, "cannot be made again: nixoci has not made it")
	}
	what := "the manifest has no annotation " + manifest.AnnotationFormat
	if i.v.noManifest {
		what = "the config has no label " + manifest.AnnotationToplevel
	}
	err := i.after.add(Finding{Check: CheckManifest, Digest: i.result.Digest, What: "not made by nixoci: " + what})
	if i.after.enough() {
		return errStop
	}
	return err
}

// foreignPaths holds the store paths against the Nix database, where the image
// has one.
func (i *image) foreignPaths(ctx context.Context, all []*foreignLayer, result func(Check, bool, string, ...any), failed map[Check]bool) error {
	paths := map[closure.StorePath]pathContent{}
	why := map[closure.StorePath]string{}
	var db string
	for _, l := range all {
		for p, reason := range l.whole {
			if _, twice := why[p]; twice {
				reason = "several layers have a part of it"
			}
			why[p] = reason
		}
		for _, p := range l.paths {
			paths[p.path] = p
		}
		if l.database != "" {
			db = l.database
		}
	}
	const none = "the image has no Nix database to hold them against"
	if db == "" {
		result(CheckPaths, false, "%d store paths; %s", len(why), none)
		result(CheckNarHashes, false, none)
		result(CheckReferences, false, none)
		return nil
	}
	found := func(f Finding) {
		failed[f.Check] = true
		i.after.add(f)
	}
	infos, err := closure.ReadDatabase(ctx, db)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		found(Finding{Check: CheckPaths, Path: databaseName, What: strings.ReplaceAll(err.Error(), db, "the database")})
		result(CheckPaths, true, "")
		return nil
	}
	in := map[closure.StorePath]bool{}
	apart := 0
	for k := range infos {
		info := &infos[k]
		in[info.Path] = true
		reason, there := why[info.Path]
		p := paths[info.Path]
		switch {
		case !there:
			found(Finding{Check: CheckPaths, Path: string(info.Path), What: "the Nix database has it, and no layer"})
		case reason != "":
			apart++
		case p.narHash != info.NarHash:
			found(Finding{Check: CheckNarHashes, Path: string(info.Path), What: fmt.Sprintf("narHash is %s, the Nix database has %s", p.narHash, info.NarHash)})
		default:
			i.result.Paths++
			i.result.NarSize += p.narSize
		}
	}
	extra := 0
	for p := range why {
		if !in[p] {
			extra++
		}
	}
	result(CheckPaths, true, "the layers hold the %d store paths of the Nix database, and %d more", len(infos), extra)
	detail := fmt.Sprintf("%d narHashes, of %d bytes", i.result.Paths, i.result.NarSize)
	if apart > 0 {
		detail += fmt.Sprintf("; %d paths cannot be put together again from their tar entries", apart)
	}
	result(CheckNarHashes, i.result.Paths > 0 || failed[CheckNarHashes], "%s", detail)
	if _, err := closure.New(nil, infos); err != nil {
		found(Finding{Check: CheckReferences, What: strings.TrimPrefix(err.Error(), "closure: ")})
	}
	result(CheckReferences, true, "closed under references")
	return nil
}

// readForeign reads layer n as any tool may have written it.
func (i *image) readForeign(ctx context.Context, n int) (*foreignLayer, error) {
	l := &foreignLayer{layerContent: &layerContent{}, whole: map[closure.StorePath]string{}}
	l.findings.at = Finding{Platform: i.name, Layer: n + 1, Digest: i.m.Layers[n].Digest}
	t := openTar(ctx, i.v.src, i.m.Layers[n], false)
	defer t.Close()
	err := l.read(t, filepath.Join(i.dir, "db-"+strconv.Itoa(n)+".sqlite"))
	format := err // if the blob is right
	if err = t.drain(); err == nil {
		l.diffID, l.tarSize = t.diffID, t.size
		if format != nil {
			l.findings.addf(CheckFormat, "not a tar: %v", format)
		}
		return l, nil
	}
	if what, ok := contentFinding(err); ok {
		l.findings.addf(CheckDigests, "%s", what)
	} else if f, ok := errors.AsType[*layers.FormatError](err); ok {
		l.findings.addf(CheckFormat, "%s", f.What)
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
			if l.database, err = copyTo(db, tr); err != nil {
				return err
			}
			continue
		}
		rest, ok := strings.CutPrefix(name, storePrefix)
		base, file, _ := strings.Cut(rest, "/")
		p, err := closure.ParseStoreBase(base)
		if !ok || err != nil {
			continue
		}
		if open == nil || open.path != p {
			if err := end(); err != nil {
				return err
			}
			open = &openPath{base: base, path: p, sha: sha256.New()}
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

// errNoNAR is an entry that a NAR cannot have, or not without looking back.
var errNoNAR = errors.New("not an entry of a NAR")

// add takes an entry, whoever wrote it: of the mode, one bit counts.
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
