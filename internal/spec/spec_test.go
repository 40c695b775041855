package spec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/hint/hinttest"
)

const (
	path  = "/nix/store/00000000000000000000000000000001-hello-2.12"
	other = "/nix/store/00000000000000000000000000000002-page"
)

func TestDecode(t *testing.T) {
	s, err := Decode(strings.NewReader(`{"nixociImage": 1, "contents": ["x86_64-linux=` + path + `", "` + other + `"], "programs": {"` + path + `": "hello"},
		"users": [{"name": "app", "uid": 1000}], "config": {"env": {"A": "b"}, "workingDir": "/tmp"}, "layers": {"max": 20, "named": [{"glob": "g*", "name": "n"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Contents[1] != other || s.Programs[path] != "hello" || s.Users[0].UID != 1000 || s.Users[0].GID != nil || s.Config.Env["A"] != "b" || s.Layers.Named[0].Glob != "g*" {
		t.Errorf("got %+v", s)
	}
}

func TestDecodeRefuses(t *testing.T) {
	minimal := `{"nixociImage": 1, "contents": ["` + path + `"]`
	for text, want := range map[string][2]string{
		"":   {"the file is empty", ""},
		"[]": {"an object is expected, not a list", ""},
		"{}": {"no field nixociImage", `begin it with {"nixociImage": 1`},
		`{"nixociImage": 2, "contents": ["` + path + `"], "new": 1}`: {"version 2, and this nixoci reads up to 1", "newer nixoci"},
		`{"nixociImage": 0}`:                                   {"version 0; this nixoci reads version 1", ""},
		`{"nixociImage": "1"}`:                                 {"nixociImage: a whole number is expected, not text in quotes", ""},
		`{"nixociImage": 1}`:                                   {"contents is empty", ""},
		minimal + `, "entrypoint": ["x"]}`:                     {`unknown field "entrypoint"`, "docs/specification.md"},
		minimal + `, "config": {"Env": ["A=b"]}}`:              {`unknown field "Env" in config`, "the field is called env"},
		minimal + `} {}`:                                       {"'{' follows the end of the specification", ""},
		minimal + `, "sh": "yes"}`:                             {"sh: true or false is expected, not text in quotes", ""},
		minimal + `, "programs": {"` + other + `": "x"}}`:      {other + " is not in contents", ""},
		`{"nixociImage": 1, "contents": ["./result"]}`:         {"not below /nix/store", "SYSTEM="},
		`{"nixociImage": 1, "contents": ["` + path + `/bin"]}`: {"forbidden character", ""},
	} {
		_, err := Decode(strings.NewReader(text))
		hinttest.Error(t, err, nil, want[0])
		hinttest.Hint(t, err, want[1])
	}
}

// TestFields checks that each field has documentation, and that no name occurs
// twice.
func TestFields(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if f.Doc == "" || seen[f.Name] {
			t.Errorf("%q: %q", f.Name, f.Doc)
		}
		seen[f.Name] = true
	}
	if !seen["users[].uid"] || !seen["config.env"] {
		t.Errorf("fields are missing: %v", seen)
	}
}

// TestSchema checks that docs/specification.schema.json equals the schema in the
// code.
func TestSchema(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.CheckFile(t, "../../docs/specification.schema.json", schema)
	if !json.Valid(schema) {
		t.Error("it is no JSON")
	}
}

// TestReference checks that the table in docs/specification.md equals the table
// that FieldTable returns.
func TestReference(t *testing.T) {
	golden.CheckPart(t, "../../docs/specification.md", "<!-- fields -->\n", "<!-- end of fields -->\n", FieldTable())
}
