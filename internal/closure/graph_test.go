package closure

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/nar/nartest"
)

// forms returns the graph of the sample in the forms of several versions of Nix. It
// derives them from the output of Nix 2.8.
func forms(t testing.TB) map[string]string {
	t.Helper()
	type object = map[string]any
	var array []object
	old := readFile(t, "testdata/graph/nix-2.8.json")
	if err := json.Unmarshal([]byte(old), &array); err != nil {
		t.Fatal(err)
	}
	text := func(v any) string {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// Nix 2.19 to 2.32 write an object whose keys are paths, with null for missing
	// values.
	keyed := object{}
	// Nix 2.33 with --json-format 2 writes base names, and hashes and content
	// addresses as objects.
	v2 := object{}
	determinate := object{}
	exported := []object{}
	base := func(p any) string { return strings.TrimPrefix(p.(string), "/nix/store/") }
	for _, o := range array {
		k := object{"ca": nil, "deriver": nil, "signatures": []string{}, "ultimate": true, "closureSize": 1}
		n := object{"version": 2, "storeDir": "/nix/store", "signatures": []any{object{"keyName": "k", "sig": "AAAA"}}}
		for key, v := range o {
			k[key], n[key] = v, v
		}
		delete(k, "path")
		delete(n, "path")
		keyed[o["path"].(string)] = k
		refs := []string{}
		for _, r := range o["references"].([]any) {
			refs = append(refs, base(r))
		}
		n["references"] = refs
		if o["deriver"] != nil {
			n["deriver"] = base(o["deriver"])
		}
		if ca, ok := o["ca"].(string); ok {
			parsed, err := parseCA(ca)
			if err != nil {
				t.Fatal(err)
			}
			n["ca"] = object{"method": parsed.method, "hash": object{"algorithm": parsed.algorithm, "format": "nix32", "hash": encodeNix32(parsed.digest)}}
		}
		h, err := ParseHash(o["narHash"].(string))
		if err != nil {
			t.Fatal(err)
		}
		n["narHash"] = object{"algorithm": "sha256", "format": "base64", "hash": h.SRI()[len("sha256-"):]}
		v2[base(o["path"])] = n
		d := object{}
		for key, v := range n {
			d[key] = v
		}
		d["narHash"] = object{"algo": "sha256", "base16": h.Hex()[len("sha256:"):]}
		determinate[base(o["path"])] = d
		e := object{}
		for _, key := range []string{"path", "narSize", "references", "deriver", "ca"} {
			if o[key] != nil {
				e[key] = o[key]
			}
		}
		e["narHash"] = h.Nix32()
		exported = append(exported, e)
	}
	attrs := object{"name": "image", "outputs": object{"out": "/nix/store/x"}, "system": "x86_64-linux", "list": []any{1, 2}, "none": []any{}}
	withName := func(name string) object {
		o := object{name: exported}
		for k, v := range attrs {
			o[k] = v
		}
		return o
	}
	both := withName("closure")
	both["other"] = exported[:1]
	return map[string]string{
		"2.8 and Lix":              old,
		"2.19":                     text(keyed),
		"2.33 format 2":            text(object{"version": 2, "storeDir": "/nix/store", "info": v2}),
		"Determinate":              text(object{"version": 2, "storeDir": "/nix/store", "info": determinate}),
		"exportReferencesGraph":    text(withName("closure")),
		"another name":             text(withName("system graph")),
		"closure and another name": text(both),
	}
}

func TestParseGraph(t *testing.T) {
	want, err := sampleStore(t).Closure(t.Context(), []StorePath{sampleTop(t)})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range forms(t) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "graph.json")
			writeFile(t, file, text)
			// This root contains no store, because OpenGraph must be able to read the
			// graph without a store.
			g, err := OpenGraph(file, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if roots := g.Roots(); !slices.Equal(roots, []StorePath{sampleTop(t)}) {
				t.Errorf("roots %q", roots)
			}
			got, err := g.Closure(t.Context(), g.Roots())
			if err != nil {
				t.Fatal(err)
			}
			for i := range got.Paths {
				if sigs := got.Paths[i].Signatures; len(sigs) > 1 || len(sigs) == 1 && sigs[0] != "k:AAAA" {
					t.Errorf("signatures %q", sigs)
				}
				got.Paths[i].Signatures = nil
			}
			for i := range want.Paths {
				want.Paths[i].Signatures = nil
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			_, err = g.Closure(t.Context(), []StorePath{rowA})
			hinttest.Error(t, err, ErrNotInStore, rowA)
			hinttest.Error(t, Walk(t.Context(), g, &got.Paths[0], &nartest.Recorder{}), os.ErrNotExist, "nix/store")
		})
	}
}

func TestOpenGraphErrors(t *testing.T) {
	ok := `"narHash":"sha256:0000000000000000000000000000000000000000000000000000","narSize":112`
	b := "/nix/store/11111111111111111111111111111111-b"
	tests := map[string]struct {
		text string
		is   error
		want string
		hint string
	}{
		"empty":             {"", nil, "unexpected end", ""},
		"no JSON":           {"{", nil, "unexpected end", ""},
		"empty array":       {"[]", nil, "no store path", ""},
		"empty object":      {"{}", nil, "no store path", ""},
		"something else":    {`{"name":"x"}`, nil, "no store path", ""},
		"after the end":     {`[{"path":"` + rowA + `",` + ok + `}] []`, nil, "a second value", ""},
		"null":              {`{"` + rowA + `":null}`, ErrNotInStore, rowA, ""},
		"not valid":         {`[{"path":"` + rowA + `","valid":false}]`, ErrNotInStore, rowA, ""},
		"path":              {`[{"path":"/nix/store/e",` + ok + `}]`, nil, "store path", ""},
		"path of no store":  {`[{"path":"/etc/passwd",` + ok + `}]`, nil, "not below", ""},
		"no narHash":        {`[{"path":"` + rowA + `","narSize":1}]`, nil, "narHash: it is missing", ""},
		"narHash":           {`[{"path":"` + rowA + `","narHash":"sha256:0","narSize":1}]`, nil, "narHash", ""},
		"narHash sha1":      {`[{"path":"` + rowA + `","narHash":{"algorithm":"sha1","format":"base16","hash":""},"narSize":1}]`, nil, `"sha1" is not sha256`, ""},
		"narHash format":    {`[{"path":"` + rowA + `","narHash":{"algorithm":"sha256","format":"morse","hash":""},"narSize":1}]`, nil, "morse", ""},
		"no narSize":        {`[{"path":"` + rowA + `",` + strings.Split(ok, `,`)[0] + `}]`, nil, "narSize", ""},
		"narSize negative":  {`[{"path":"` + rowA + `",` + strings.Split(ok, `,`)[0] + `,"narSize":-1}]`, nil, "narSize", ""},
		"narSize fraction":  {`[{"path":"` + rowA + `",` + strings.Split(ok, `,`)[0] + `,"narSize":1.5}]`, nil, "narSize", ""},
		"reference":         {`[{"path":"` + rowA + `",` + ok + `,"references":["../x"]}]`, nil, "references", ""},
		"missing reference": {`[{"path":"` + rowA + `",` + ok + `,"references":["` + b + `"]}]`, ErrMissingReference, b, "path-info --json -r"},
		"cycle":             {`[{"path":"` + rowA + `",` + ok + `,"references":["` + b + `"]},{"path":"` + b + `",` + ok + `,"references":["` + rowA + `"]}]`, ErrCycle, b, ""},
		"twice":             {`[{"path":"` + rowA + `",` + ok + `},{"path":"` + rowA + `",` + ok + `}]`, ErrDuplicate, rowA, ""},
		"other store":       {`{"version":2,"storeDir":"/gnu/store","info":{}}`, nil, "/gnu/store", ""},
		"several closures":  {`{"a":[{"path":"` + rowA + `",` + ok + `}],"b":[{"path":"` + rowA + `",` + ok + `}]}`, nil, "it contains several closures: a, b", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "graph.json")
			writeFile(t, file, tt.text)
			_, err := OpenGraph(file, "/")
			hinttest.Error(t, err, tt.is, tt.want)
			hinttest.Error(t, err, nil, file)
			hinttest.Hint(t, err, tt.hint)
		})
	}
	_, err := OpenGraph(filepath.Join(t.TempDir(), "none"), "/")
	hinttest.Error(t, err, os.ErrNotExist, "none")
	big := filepath.Join(t.TempDir(), "big")
	writeFile(t, big, "[")
	if err := os.Truncate(big, limit.GraphFile+1); err != nil {
		t.Fatal(err)
	}
	_, err = OpenGraph(big, "/")
	hinttest.Error(t, err, nil, "more than")
}

func FuzzParseGraph(f *testing.F) {
	for _, text := range forms(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		infos, err := ParseGraph(data)
		if err != nil {
			return
		}
		for i := range infos {
			if infos[i].NarSize <= 0 {
				t.Errorf("%s has %d bytes", infos[i].Path, infos[i].NarSize)
			}
			for _, p := range append(infos[i].References, infos[i].Path) {
				if _, err := ParseStorePath(string(p)); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := New(nil, infos); err != nil && !errors.Is(err, ErrMissingReference) && !errors.Is(err, ErrCycle) &&
			!errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	})
}

func TestOpenGraphShape(t *testing.T) {
	file := filepath.Join(t.TempDir(), "graph.json")
	graph := `[{"path":"/nix/store/00000000000000000000000000000000-a","narSize":0,"references":[]},
		{"path":"/nix/store/11111111111111111111111111111111-b","narSize":7,"references":["/nix/store/00000000000000000000000000000000-a"]}]`
	if err := os.WriteFile(file, []byte(graph), 0o644); err != nil {
		t.Fatal(err)
	}
	g, err := OpenGraphShape(file, "/")
	if err != nil {
		t.Fatal(err)
	}
	if roots := g.Roots(); len(roots) != 1 || roots[0].Name() != "b" {
		t.Errorf("roots are %v", roots)
	}
	if _, err := OpenGraph(file, "/"); err == nil {
		t.Error("OpenGraph takes a graph without hashes")
	}
}
