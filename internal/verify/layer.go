package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/oci"
)

// layerContent holds the content of a layer.
type layerContent struct {
	diffID   digest.Digest // "" if the layer was not read to its end
	tarSize  int64
	paths    []pathContent // in the order of the layer
	findings []Finding
	damaged  bool          // the layer could not be read completely, so it may contain a path that is not in paths
	foreign  *foreignLayer // for a layer of the base: the store paths that the base contains
	program  []byte        // for an init layer: the file /sbin/init; nil if /sbin/init is not a file
}

// pathContent holds the result of making a store path's NAR again.
type pathContent struct {
	path     closure.StorePath
	narHash  closure.Hash
	narSize  int64
	contents *closure.Hash // sha256 of the content, if the path is one file that is not executable; otherwise nil
	broken   bool          // whether the path has no valid NAR; then a finding reports that
	narFile  string        // file with a copy of the NAR; "" if no copy was kept
}

// layerToRead describes a layer to read.
type layerToRead struct {
	desc        ocispec.Descriptor
	platform    string // for display
	number      int    // for display, from 1
	stopAtFirst bool
	progress    func(bytes int64) // called with the number of bytes read from the blob; may be nil

	// keep returns a writer to which the NAR of a path is copied. If keep is nil or returns nil,
	// there is no copy.
	keep func(closure.StorePath) (io.Writer, error)
}

func (l *layerToRead) place() Finding {
	return Finding{Platform: l.platform, Layer: l.number, Digest: l.desc.Digest}
}

// contentFinding returns the text of a finding if err reports wrong or missing content. Any other
// error means that the content could not be read.
func contentFinding(err error) (string, bool) {
	var content *oci.ContentError
	switch {
	case errors.As(err, &content):
		return content.What, true
	case errors.Is(err, oci.ErrNotFound):
		return "it is missing", true
	}
	return "", false
}

// readLayer calls read with the tar of a layer, and checks the blob that contains the tar. read
// returns nil at the end of the tar, and errStop if no more findings are needed.
func readLayer(ctx context.Context, src oci.Reader, todo layerToRead, read func(*tarStream, *layerContent, *collector) error) (*layerContent, error) {
	c := &layerContent{}
	found := &collector{place: todo.place(), stopAtFirst: todo.stopAtFirst}
	t := openTar(ctx, countingReader{src, todo.progress}, todo.desc, true)
	defer t.Close()
	err := read(t, c, found)
	if err != nil {
		c.damaged = true
	}
	// If the blob has a wrong digest, report only the digest, and no fault inside the blob.
	if err == nil || errors.Is(err, errStop) || errors.As(err, new(*layers.FormatError)) {
		err = t.drain()
	}
	if err == nil {
		c.diffID, c.tarSize, c.findings = t.diffID, t.size, found.findings
		return c, nil
	}
	c.damaged = true
	if what, ok := contentFinding(err); ok {
		c.findings = append(c.findings, todo.place().of(CheckDigests, "%s", what))
	} else if format, ok := errors.AsType[*layers.FormatError](err); ok {
		c.findings = append(c.findings, todo.place().of(CheckFormat, "%s", format.What))
	} else {
		return nil, err
	}
	if !todo.stopAtFirst {
		c.findings = append(c.findings, found.findings...)
	}
	return c, nil
}

// readStoreLayer checks a layer of store paths. The layer must contain nix and nix/store, followed
// by the paths in order. Each path must have the entries of its NAR, with the modes that Nix sets.
func readStoreLayer(ctx context.Context, src oci.Reader, todo layerToRead) (*layerContent, error) {
	return readLayer(ctx, src, todo, func(t *tarStream, c *layerContent, found *collector) error {
		r := &storeReader{keep: todo.keep, c: c, found: found}
		r.tar = layers.NewTarReader(t, r.format)
		return r.read()
	})
}

// storeRoot lists the directories at the start of each layer of store paths.
var storeRoot = []struct {
	name string
	mode int64
}{{"nix", 0o755}, {"nix/store", 0o755}}

const storePrefix = "nix/store/"

type storeReader struct {
	keep  func(closure.StorePath) (io.Writer, error)
	c     *layerContent
	found *collector
	tar   *layers.TarReader
	path  *openPath // the open store path; nil between paths
	last  string    // base name of the previous path
}

// openPath is a store path whose NAR is being made again.
type openPath struct {
	base string
	path closure.StorePath
	nar  *nar.Writer // nil if the reader skips the rest of the path
	sha  hash.Hash
	size int64
	flat hash.Hash
}

func (p *openPath) Write(b []byte) (int, error) {
	p.size += int64(len(b))
	return p.sha.Write(b)
}

// format adds a finding for a FormatError.
func (r *storeReader) format(e *layers.FormatError) error {
	where := entryPlace(e.Entry)
	where.Check, where.What = CheckFormat, e.What
	return r.found.add(where)
}

// entryPlace splits the name of a tar entry into a store path and the name of a file below it.
func entryPlace(name string) Finding {
	if p, file, ok := closure.SplitFile(name); ok {
		return Finding{Path: string(p), File: strings.TrimSuffix(file, "/")}
	}
	return Finding{Path: name}
}

func (r *storeReader) finding(name string, check Check, format string, args ...any) error {
	where := entryPlace(name)
	where.Check, where.What = check, fmt.Sprintf(format, args...)
	return r.found.add(where)
}

func (r *storeReader) read() error {
	for n := 0; ; n++ {
		e, err := r.tar.Next()
		if err == io.EOF {
			if n < len(storeRoot) {
				if err := r.finding(storeRoot[n].name, CheckFormat, "it is missing, but should be entry %d of the layer", n+1); err != nil {
					return err
				}
			}
			return r.endPath()
		}
		if err != nil {
			return errors.Join(err, r.endPath())
		}
		if n < len(storeRoot) {
			err = r.root(n, e)
		} else {
			err = r.entry(e)
		}
		if err != nil {
			return err
		}
	}
}

func (r *storeReader) root(n int, e *layers.TarEntry) error {
	want := storeRoot[n]
	switch {
	case e.Name != want.name:
		return r.finding(e.Name, CheckFormat, "entry %d of the layer should be %s", n+1, want.name)
	case e.Kind != closure.KindDirectory:
		return r.finding(e.Name, CheckFormat, "a %s, not a directory", e.Kind)
	case e.Mode != want.mode:
		return r.finding(e.Name, CheckFormat, "mode is %04o, not %04o", e.Mode, want.mode)
	}
	return nil
}

func (r *storeReader) entry(e *layers.TarEntry) error {
	if strings.HasPrefix(path.Base(e.Name), ".wh.") {
		if err := r.finding(e.Name, CheckFormat, "a whiteout: it hides a file of the layers below"); err != nil {
			return err
		}
	}
	rest, ok := strings.CutPrefix(e.Name, storePrefix)
	if !ok {
		if err := r.endPath(); err != nil {
			return err
		}
		return r.finding(e.Name, CheckPaths, "a %s outside of the store", e.Kind)
	}
	base, name, _ := strings.Cut(rest, "/")
	if r.path == nil || r.path.base != base {
		if err := r.begin(base, e); err != nil {
			return err
		}
	}
	if err := r.mode(e); err != nil {
		return err
	}
	p := r.path
	if p.nar == nil {
		return nil // the reader skips the rest of the path
	}
	var err error
	switch e.Kind {
	case closure.KindDirectory:
		err = p.nar.Directory(name)
	case closure.KindSymlink:
		err = p.nar.Symlink(name, e.Target)
	default:
		var content io.Reader = r.tar
		if name == "" && e.Mode&0o111 == 0 {
			p.flat = sha256.New()
			content = io.TeeReader(r.tar, p.flat)
		}
		err = p.nar.File(name, e.Mode&0o111 != 0, e.Size, content)
	}
	if errors.Is(err, nar.ErrMalformed) {
		p.nar = nil
		return r.finding(e.Name, CheckFormat, "%s", strings.TrimPrefix(err.Error(), nar.ErrMalformed.Error()+": "))
	}
	return err
}

// mode checks that the entry of a store path has the mode that Nix sets.
func (r *storeReader) mode(e *layers.TarEntry) error {
	want := int64(0o444)
	switch {
	case e.Kind == closure.KindDirectory || e.Kind == closure.KindFile && e.Mode&0o111 != 0:
		want = 0o555
	case e.Kind == closure.KindSymlink:
		want = 0o777
	}
	if e.Mode != want {
		return r.finding(e.Name, CheckFormat, "mode is %04o, not %04o", e.Mode, want)
	}
	return nil
}

// begin finishes the open store path and starts a new one.
func (r *storeReader) begin(base string, e *layers.TarEntry) error {
	if err := r.endPath(); err != nil {
		return err
	}
	p := &openPath{base: base, sha: sha256.New()}
	r.path = p
	var err error
	if p.path, err = closure.ParseStoreBase(base); err != nil {
		return r.finding(e.Name, CheckPaths, "not a store path")
	}
	if base <= r.last {
		what := "not sorted: it comes after " + r.last
		for _, c := range r.c.paths {
			if c.path == p.path {
				what = "it occurs a second time"
			}
		}
		return r.finding(e.Name, CheckFormat, "%s", what)
	}
	r.last = base
	var w io.Writer = p
	if r.keep != nil {
		keep, err := r.keep(p.path)
		if err != nil {
			return err
		}
		if keep != nil {
			w = io.MultiWriter(p, keep)
		}
	}
	p.nar = nar.NewWriter(w)
	return nil
}

// endPath finishes the open store path.
func (r *storeReader) endPath() error {
	p := r.path
	r.path = nil
	if p == nil || p.path == "" {
		return nil
	}
	c := pathContent{path: p.path, broken: p.nar == nil}
	if p.nar != nil {
		if err := p.nar.Close(); err != nil {
			return err
		}
		p.sha.Sum(c.narHash[:0])
		c.narSize = p.size
		if p.flat != nil {
			c.contents = new(closure.Hash)
			p.flat.Sum(c.contents[:0])
		}
	}
	r.c.paths = append(r.c.paths, c)
	return nil
}
