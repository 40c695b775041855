package closure

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/nar"
)

// GraphFile is a Source that reads the closure from a JSON file. It reads the trees
// from a store directory, and needs no Nix database. A machine without a store can
// still plan the layers of a graph file.
type GraphFile struct {
	file    string
	closure *Closure
	*storeTree
}

// OpenGraph reads a graph file (see [ParseGraph]). The trees are in the store
// below root, as for [OpenLocal].
func OpenGraph(file, root string) (*GraphFile, error) {
	return openGraph(file, root, graphDecoder{})
}

// OpenGraphShape is like OpenGraph, for callers that read no trees. In the file,
// narHashes may be missing, and narSizes may be 0.
func OpenGraphShape(file, root string) (*GraphFile, error) {
	return openGraph(file, root, graphDecoder{shape: true})
}

func openGraph(file, root string, d graphDecoder) (*GraphFile, error) {
	f, err := limit.OpenFile(file)
	if err != nil {
		return nil, fmt.Errorf("read graph file: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > limit.GraphFile {
		return nil, fmt.Errorf("graph file %s: more than %d bytes", file, limit.GraphFile)
	}
	infos, err := d.read(f)
	if err != nil {
		return nil, fmt.Errorf("graph file %s: %w", file, err)
	}
	c, err := New(nil, infos)
	if errors.Is(err, ErrMissingReference) {
		err = hint.Add(err, "make it with the whole closure: `nix path-info --json -r`")
	}
	if err != nil {
		return nil, fmt.Errorf("graph file %s: %w", file, err)
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("graph file %s: %w", file, err)
	}
	return &GraphFile{file: file, closure: c, storeTree: newStoreTree(filepath.Join(root, StoreDir))}, nil
}

// Roots returns the paths to which no other path in the file refers. If the file
// describes the closure of one path, there is one root.
func (g *GraphFile) Roots() []StorePath { return slices.Clone(g.closure.Roots) }

// Closure returns the closure of roots. All roots must be in the file.
func (g *GraphFile) Closure(_ context.Context, roots []StorePath) (*Closure, error) {
	for _, r := range roots {
		if g.closure.Info(r) == nil {
			return nil, fmt.Errorf("graph file %s: %s: %w", g.file, r, ErrNotInStore)
		}
	}
	return g.closure.Subset(roots...)
}

// Tree reads the files of one store path.
func (g *GraphFile) Tree(ctx context.Context, info *Info, v nar.Visitor) error {
	return g.walk(ctx, info.Path, v)
}

// Lookup implements [FileSource].
func (g *GraphFile) Lookup(_ context.Context, info *Info, name string) (Entry, error) {
	return g.lookup(info.Path, name)
}

// ReadFile implements [FileSource]. It reads only the file name, so it cannot check
// the narHash.
func (g *GraphFile) ReadFile(_ context.Context, info *Info, name string, limit int64) ([]byte, error) {
	return g.readFile(info, name, limit)
}

func (g *GraphFile) mismatchHint(StorePath) string {
	return "the store is damaged, or " + g.file + " is not about this store"
}

// graphPath describes one store path, in any of the JSON forms of all Nix versions.
type graphPath struct {
	Path       string            `json:"path"`
	Valid      *bool             `json:"valid"` // only in arrays; false if the path is not in the store
	NarHash    json.RawMessage   `json:"narHash"`
	NarSize    json.Number       `json:"narSize"`
	References []string          `json:"references"`
	Deriver    *string           `json:"deriver"`
	Signatures []json.RawMessage `json:"signatures"`
	CA         json.RawMessage   `json:"ca"`
}

// ParseGraph reads a closure from JSON. The paths may be in any order. ParseGraph
// accepts these forms:
//
//   - `nix path-info --json -r` of Nix until 2.18 and of Lix: an array of
//     objects with "path".
//   - `nix path-info --json -r` of Nix since 2.19: an object whose keys are the
//     paths.
//   - The same command of Nix since 2.33 with --json-format 2: an object {"version",
//     "storeDir", "info"}. The keys of info are base names, and hashes are objects.
//   - A file .attrs.json with the result of exportReferencesGraph: an array like the
//     first form. The array must be the value of the attribute "closure", or the only
//     such array in the file.
func ParseGraph(data []byte) ([]Info, error) { return graphDecoder{}.read(bytes.NewReader(data)) }

// graphDecoder reads graphs. If shape is true, narHashes may be missing and narSizes
// may be 0.
type graphDecoder struct{ shape bool }

// read reads a graph in one pass, one store path at a time. So it needs little
// memory in addition to the result.
func (d graphDecoder) read(r io.Reader) ([]Info, error) {
	g := &graphReader{graphDecoder: d, from: r, names: names{}}
	g.dec = json.NewDecoder(g)
	infos, err := g.read()
	switch {
	case g.err != nil: // the decoder may have replaced this error by a syntax error
		return nil, g.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("unexpected end of the JSON")
	}
	return infos, err
}

// graphReader holds the state while read reads one graph.
type graphReader struct {
	graphDecoder
	dec     *json.Decoder
	from    io.Reader
	err     error // error from reading, or about a limit
	got     int64 // bytes read so far
	allowed int64 // current maximum of got; this limits the decoder's buffer
	meter   meter
	names   names
	path    graphPath
}

// Read implements io.Reader for the decoder. It returns only as many bytes as the
// limits allow.
func (g *graphReader) Read(p []byte) (int, error) {
	if g.got >= limit.GraphFile {
		p = p[:1] // read one more byte, to notice a file that is too long
	} else if left := g.allowed - g.got; left <= 0 {
		g.err = fmt.Errorf("a value of more than %d bytes", limit.GraphPath)
		return 0, g.err
	} else {
		p = p[:min(int64(len(p)), left, limit.GraphFile-g.got)]
	}
	n, err := g.from.Read(p)
	if g.got += int64(n); g.got > limit.GraphFile {
		err = fmt.Errorf("more than %d bytes", limit.GraphFile)
	}
	if err != nil && err != io.EOF {
		g.err = err
		n = 0
	}
	return n, err
}

func (g *graphReader) allow() { g.allowed = g.dec.InputOffset() + limit.GraphPath }

func (g *graphReader) token() (json.Token, error) {
	g.allow()
	return g.dec.Token()
}

func (g *graphReader) decode(v any) error {
	g.allow()
	return g.dec.Decode(v)
}

// more calls dec.More, which may read from g.
func (g *graphReader) more() bool {
	g.allow()
	return g.dec.More()
}

// skip skips the value whose first token is t.
func (g *graphReader) skip(t json.Token) error {
	for depth := 0; ; {
		switch t {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		var err error
		if t, err = g.token(); err != nil {
			return err
		}
	}
}

var errNoPath = errors.New("it contains no store path")

func (g *graphReader) read() ([]Info, error) {
	t, err := g.token()
	if err != nil {
		return nil, err
	}
	var infos []Info
	switch t {
	case json.Delim('['):
		var malformed error
		if infos, malformed, err = g.paths(false, ""); err == nil {
			err = malformed
		}
	case json.Delim('{'):
		infos, err = g.object()
	default:
		return nil, errNoPath
	}
	if err != nil {
		return nil, err
	}
	switch _, err := g.token(); {
	case err == nil:
		return nil, errors.New("a second value after the first")
	case err != io.EOF:
		return nil, err
	case len(infos) == 0:
		return nil, errNoPath
	}
	return infos, nil
}

// graphPart holds a JSON value that may be a closure.
type graphPart struct {
	infos     []Info
	malformed error
}

// object reads the forms of a graph that are JSON objects. The caller has already
// read the opening brace.
func (g *graphReader) object() ([]Info, error) {
	storeDir, version := StoreDir, false
	var info *graphPart
	arrays := map[string]graphPart{}
	for g.more() {
		t, err := g.token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if ok && strings.HasPrefix(key, StoreDir+"/") {
			return g.only(g.paths(true, key))
		}
		if t, err = g.token(); err != nil {
			return nil, err
		}
		switch {
		case key == "storeDir":
			if storeDir, ok = t.(string); !ok {
				return nil, errors.New("storeDir: it is not a string")
			}
			if storeDir != StoreDir {
				return nil, fmt.Errorf("storeDir is %q, not %s", storeDir, StoreDir)
			}
		case key == "info" && t == json.Delim('{'):
			info = &graphPart{}
			info.infos, info.malformed, err = g.paths(true, "")
		case t == json.Delim('['):
			var part graphPart
			if part.infos, part.malformed, err = g.paths(false, ""); len(part.infos) > 0 || isClosure(part.malformed) {
				arrays[key] = part
			}
		default:
			version = version || key == "version"
			err = g.skip(t)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := g.token(); err != nil { // the closing brace
		return nil, err
	}
	found := slices.Sorted(maps.Keys(arrays))
	switch {
	case info != nil && version:
		return info.infos, info.malformed
	case slices.Contains(found, "closure"):
		found = []string{"closure"}
	case len(found) == 0:
		return nil, errNoPath
	case len(found) > 1:
		return nil, fmt.Errorf("it contains several closures: %s", strings.Join(found, ", "))
	}
	part := arrays[found[0]]
	if part.malformed != nil {
		return nil, fmt.Errorf("%s: %w", found[0], part.malformed)
	}
	return part.infos, nil
}

func (g *graphReader) only(infos []Info, malformed, err error) ([]Info, error) {
	return infos, cmp.Or(err, malformed)
}

// notAPath is an error about an array whose first value is not a store path. Such an
// array is not a closure.
type notAPath struct{ error }

func isClosure(malformed error) bool {
	_, other := errors.AsType[notAPath](malformed)
	return malformed != nil && !other
}

// paths reads the store paths of an array, up to and including the end of the array.
// If keyed is true, paths reads an object instead. key is the object's first key if the
// caller has already read this key, and otherwise "". malformed is an error about the
// first malformed store path. err is an error in the JSON itself.
func (g *graphReader) paths(keyed bool, key string) (infos []Info, malformed, err error) {
	for n := 0; key != "" || g.more(); n++ {
		if keyed && key == "" {
			t, err := g.token()
			if err != nil {
				return nil, nil, err
			}
			key = t.(string)
		}
		if malformed != nil {
			t, err := g.token()
			if err == nil {
				err = g.skip(t)
			}
			if err != nil {
				return nil, nil, err
			}
			key = ""
			continue
		}
		p := &g.path
		*p = graphPath{References: p.References[:0]}
		switch err := g.decode(&p); {
		case err == nil:
		case errors.As(err, new(*json.UnmarshalTypeError)):
			malformed = err
			if n == 0 && !keyed {
				malformed = notAPath{err}
			}
		default:
			return nil, nil, err
		}
		if malformed == nil && p == nil {
			malformed = fmt.Errorf("%s: %w", cmp.Or(key, "null"), ErrNotInStore)
		}
		if malformed == nil && n == 0 && !keyed && (p.Path == "" || p.NarHash == nil && p.Valid == nil && !g.shape) {
			malformed = notAPath{g.missing(p)}
		}
		if malformed == nil {
			if keyed {
				p.Path = key
			}
			var info Info
			if info, malformed = g.info(p); malformed == nil {
				infos = append(infos, info)
			}
		} else if keyed && key != "" && !errors.Is(malformed, ErrNotInStore) {
			malformed = fmt.Errorf("%s: %w", key, malformed)
		}
		key = ""
	}
	if malformed != nil {
		infos = nil
	}
	_, err = g.token() // the closing bracket
	return infos, malformed, err
}

// missing returns the error about the missing field in the first value of an array.
func (g *graphReader) missing(p *graphPath) error {
	if p.Path == "" {
		return errors.New("path: it is missing")
	}
	return fmt.Errorf("%s: narHash: it is missing", p.Path)
}

// parseGraphPath parses a full path, or a base name. The newer forms of a graph
// contain base names.
func parseGraphPath(s string) (StorePath, error) {
	if strings.HasPrefix(s, "/") {
		return ParseStorePath(s)
	}
	return ParseStoreBase(s)
}

func (d *graphReader) info(p *graphPath) (info Info, err error) {
	if info.Path, err = parseGraphPath(p.Path); err != nil {
		return info, err
	}
	if p.Valid != nil && !*p.Valid {
		return info, fmt.Errorf("%s: %w", info.Path, ErrNotInStore)
	}
	fail := func(field string, err error) (Info, error) {
		return Info{}, fmt.Errorf("%s: %s: %w", info.Path, field, err)
	}
	if len(p.NarHash) > 0 || !d.shape {
		algorithm, hash, err := parseGraphHash(p.NarHash)
		if err == nil && algorithm != "sha256" {
			err = fmt.Errorf("%q is not sha256", algorithm)
		}
		if err != nil {
			return fail("narHash", err)
		}
		if info.NarHash, err = ParseHash(hash); err != nil {
			return fail("narHash", err)
		}
	}
	if info.NarSize, err = p.NarSize.Int64(); err == nil && (info.NarSize < 0 || info.NarSize == 0 && !d.shape) {
		err = fmt.Errorf("%d is not a size", info.NarSize)
	}
	if err != nil {
		return fail("narSize", err)
	}
	for _, s := range p.References {
		ref, err := parseGraphPath(s)
		if err != nil {
			return fail("references", err)
		}
		info.References = append(info.References, d.names.intern(ref))
	}
	slices.Sort(info.References)
	info.References = slices.Compact(info.References)
	if p.Deriver != nil && *p.Deriver != "" && *p.Deriver != "unknown-deriver" {
		deriver, err := parseGraphPath(*p.Deriver)
		if err != nil {
			return fail("deriver", err)
		}
		info.Deriver = deriver.Base()
	}
	for _, raw := range p.Signatures {
		sig, err := parseGraphSignature(raw)
		if err != nil {
			return fail("signatures", err)
		}
		info.Signatures = append(info.Signatures, sig)
	}
	if info.CA, err = parseGraphCA(p.CA); err != nil {
		return fail("ca", err)
	}
	info.Path = d.names.intern(info.Path)
	return info, d.meter.add(&info)
}

func (g *GraphFile) String() string { return "graph file " + g.file }

// Infos implements finderSource.
func (g *GraphFile) Infos(_ context.Context, paths []StorePath) ([]Info, error) {
	var infos []Info
	for _, p := range paths {
		if info := g.closure.Info(p); info != nil {
			infos = append(infos, *info)
		}
	}
	return infos, nil
}
