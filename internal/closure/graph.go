package closure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// GraphFile is a closure that a JSON file describes. The bytes come from a file
// system's store directory, without a database. It can be planned with where
// there is no store at all.
type GraphFile struct {
	file    string
	closure *Closure
	*storeTree
}

// maxGraphFile bounds a graph file: 64 MiB are some 100,000 store paths.
const maxGraphFile = 64 << 20 // bytes

// OpenGraph reads a graph file (see [ParseGraph]). Trees are read below root,
// as with [OpenLocal].
func OpenGraph(file, root string) (*GraphFile, error) {
	return openGraph(file, root, graphDecoder{})
}

// OpenGraphShape is OpenGraph for what needs no bytes: narHashes may be missing,
// and sizes be 0.
func OpenGraphShape(file, root string) (*GraphFile, error) {
	return openGraph(file, root, graphDecoder{shape: true})
}

func openGraph(file, root string, d graphDecoder) (*GraphFile, error) {
	data, err := readBounded(file, maxGraphFile)
	if err != nil {
		return nil, fmt.Errorf("read graph file: %w", err)
	}
	infos, err := d.parse(data)
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

// Roots are the paths that no other path in the file refers to. There is one
// where the file describes the closure of one path.
func (g *GraphFile) Roots() []StorePath { return slices.Clone(g.closure.Roots) }

// Closure returns the part of the file that roots reach.
func (g *GraphFile) Closure(_ context.Context, roots []StorePath) (*Closure, error) {
	for _, r := range roots {
		if g.closure.Info(r) == nil {
			return nil, fmt.Errorf("graph file %s: %s: %w", g.file, r, ErrNotInStore)
		}
	}
	return g.closure.Subset(roots...)
}

// Tree reads the files of one store path.
func (g *GraphFile) Tree(ctx context.Context, info *Info, v Visitor) error {
	return g.walk(ctx, info.Path, v)
}

// Lookup implements [FileSource].
func (g *GraphFile) Lookup(_ context.Context, info *Info, name string) (Entry, error) {
	return g.lookup(info.Path, name)
}

// ReadFile implements [FileSource]. It reads that file alone, so nothing of it
// is checked.
func (g *GraphFile) ReadFile(_ context.Context, info *Info, name string, limit int64) ([]byte, error) {
	return g.readFile(info, name, limit)
}

func (g *GraphFile) mismatchHint(StorePath) string {
	return "the store is damaged, or " + g.file + " is not about this store"
}

// graphPath is one store path in any of the forms that Nix has written.
type graphPath struct {
	Path       string            `json:"path"`
	Valid      *bool             `json:"valid"` // array form: false where the path is not in the store
	NarHash    json.RawMessage   `json:"narHash"`
	NarSize    json.Number       `json:"narSize"`
	References []string          `json:"references"`
	Deriver    *string           `json:"deriver"`
	Signatures []json.RawMessage `json:"signatures"`
	CA         json.RawMessage   `json:"ca"`
}

// ParseGraph reads a closure in any order from JSON:
//
//   - `nix path-info --json -r` of Nix until 2.18 and of Lix: an array of
//     objects with "path";
//   - of Nix since 2.19: an object whose keys are the paths;
//   - of Nix since 2.33 with --json-format 2: {"version", "storeDir", "info"},
//     where info's keys are base names and hashes are objects;
//   - what exportReferencesGraph leaves in .attrs.json: an array like the first,
//     as the attribute "closure" or the only one that is such an array.
func ParseGraph(data []byte) ([]Info, error) { return graphDecoder{}.parse(data) }

// graphDecoder reads graphs. With shape it takes those that only say what refers
// to what and how large it is.
type graphDecoder struct{ shape bool }

func (d graphDecoder) parse(data []byte) ([]Info, error) {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '[' {
		return d.parseArray(data)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	storeDir := StoreDir
	if raw, ok := top["storeDir"]; ok {
		if err := json.Unmarshal(raw, &storeDir); err != nil {
			return nil, fmt.Errorf("storeDir: %w", err)
		}
		if storeDir != StoreDir {
			return nil, fmt.Errorf("storeDir is %q, not %s", storeDir, StoreDir)
		}
	}
	if raw, ok := top["info"]; ok && top["version"] != nil {
		var paths map[string]json.RawMessage
		if err := json.Unmarshal(raw, &paths); err != nil {
			return nil, fmt.Errorf("info: %w", err)
		}
		return d.parseObject(paths)
	}
	for key := range top {
		if strings.HasPrefix(key, StoreDir+"/") {
			return d.parseObject(top)
		}
	}
	var found []string
	for _, key := range slices.Sorted(maps.Keys(top)) {
		if d.isArray(top[key]) {
			found = append(found, key)
		}
	}
	switch {
	case slices.Contains(found, "closure"):
		found = []string{"closure"}
	case len(found) == 0:
		return nil, errors.New("no store path in it")
	case len(found) > 1:
		return nil, fmt.Errorf("several closures in it: %s", strings.Join(found, ", "))
	}
	infos, err := d.parseArray(top[found[0]])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found[0], err)
	}
	return infos, nil
}

func (d graphDecoder) isArray(raw json.RawMessage) bool {
	var array []struct {
		Path    string          `json:"path"`
		NarHash json.RawMessage `json:"narHash"`
	}
	return len(raw) > 0 && raw[0] == '[' && json.Unmarshal(raw, &array) == nil &&
		len(array) > 0 && array[0].Path != "" && (d.shape || array[0].NarHash != nil)
}

func (d graphDecoder) parseArray(data []byte) ([]Info, error) {
	var array []graphPath
	if err := json.Unmarshal(data, &array); err != nil {
		return nil, err
	}
	if len(array) == 0 {
		return nil, errors.New("no store path in it")
	}
	infos := make([]Info, len(array))
	for i := range array {
		var err error
		if infos[i], err = d.info(&array[i]); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func (d graphDecoder) parseObject(top map[string]json.RawMessage) ([]Info, error) {
	if len(top) == 0 {
		return nil, errors.New("no store path in it")
	}
	infos := make([]Info, 0, len(top))
	for _, key := range slices.Sorted(maps.Keys(top)) {
		if string(top[key]) == "null" {
			return nil, fmt.Errorf("%s: %w", key, ErrNotInStore)
		}
		var p graphPath
		if err := json.Unmarshal(top[key], &p); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		p.Path = key
		info, err := d.info(&p)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// parseGraphPath takes a full path, or the base name of newer forms.
func parseGraphPath(s string) (StorePath, error) {
	if strings.HasPrefix(s, "/") {
		return ParseStorePath(s)
	}
	return ParseStoreBase(s)
}

func (d graphDecoder) info(p *graphPath) (info Info, err error) {
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
		info.References = append(info.References, ref)
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
	return info, nil
}
