package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// tree is the content of a file in these tests. It has fields of every type.
type tree struct {
	Version int            `json:"tree" doc:"version"`
	Color   string         `json:"color,omitempty" doc:"color" enum:"green|red" flag:"color"`
	Colors  *[]string      `json:"colors,omitempty" doc:"colors" enum:"green|red"`
	Height  *int64         `json:"height,omitempty" doc:"height" flag:"HEIGHT"`
	Leaves  []leaf         `json:"leaves,omitempty" doc:"leaves"`
	Names   map[string]int `json:"names,omitempty" doc:"names"`
	Root    *leaf          `json:"root,omitempty" doc:"root"`
}

type leaf struct {
	Area int  `json:"area" doc:"area"`
	Wet  bool `json:"wet,omitempty" doc:"wet"`
}

var format = Format[tree]{Name: "tree", Title: "A tree", VersionField: "tree", Version: 2, Limit: 200, Page: "trees.md", Unknown: map[string]string{"leafs": "leaves"}}

func TestDecode(t *testing.T) {
	v, err := format.Decode(strings.NewReader(`{"tree": 2, "color": "red", "colors": [], "height": 3, "leaves": [{"area": 1}], "root": {"area": 0, "wet": true}}`))
	if err != nil || v.Color != "red" || v.Colors == nil || *v.Height != 3 || v.Leaves[0].Area != 1 || !v.Root.Wet {
		t.Errorf("%+v, %v", v, err)
	}
	for text, want := range map[string][2]string{
		`{"tree": 3}`:                                  {"read tree: version 3, and this nixoci reads up to 2", "newer"},
		`{"tree": 3, "roots": [], "Tree": {}}`:         {"version 3, and", "newer"},
		`{"tree": 1.5}`:                                {"read tree: line 1: tree: a whole number is expected, not 1.5", ""},
		`{"tree": 1.0}`:                                {"line 1: tree: a whole number is expected, not 1.0", ""},
		`{"tree": "1"}`:                                {"line 1: tree: a whole number is expected, not text in quotes", ""},
		`{"tree": null}`:                               {"line 1: tree: a whole number is expected, not null", ""},
		`{"Color": "red"}`:                             {"no field tree", `begin it with {"tree": 2`},
		`{"TREE": 1}`:                                  {"no field tree", `begin it with {"tree": 2`},
		`{"tree": 1, "color": "blue"}`:                 {`read tree: color: "blue" is not one of green, red`, ""},
		`{"tree": 1, "colors": ["red", "blue"]}`:       {`colors: "blue" is not one of green, red`, ""},
		`{"tree": 1, "height": -1}`:                    {"height: -1 is less than 0", ""},
		`{"tree": 1, "leaves": [{}, {"area": -2}]}`:    {"leaves[1].area: -2 is less than 0", ""},
		`{"tree": 1, "root": {"area": -2}}`:            {"root.area: -2 is less than 0", ""},
		`{"tree": 1, "leafs": []}`:                     {`line 1: unknown field "leafs"`, "leaves"},
		`{"tree": 1, "bark": []}`:                      {`unknown field "bark"`, "trees.md"},
		`{"tree": 1, "leaves": [{"area": 1, "x": 2}]}`: {`unknown field "x" in leaves[0]`, "trees.md"},

		// These files have a name in the wrong case, or two fields with the same name.
		`{"tree": 1, "Color": "red"}`:                            {`unknown field "Color"`, "the field is called color"},
		`{"tree": 1, "color": "red", "COLOR": "green"}`:          {`unknown field "COLOR"`, "the field is called color"},
		"{\"tree\": 1,\n\"root\": {\"area\": 3},\n\"root\": {}}": {`line 3: the field "root" appears twice`, ""},
		`{"tree": 1, "tree": 2}`:                                 {`the field "tree" appears twice`, ""},
		`{"tree": 1, "root": {"area": 3, "area": 1}}`:            {`the field "area" appears twice in root`, ""},
		`{"tree": 1, "root": {"area": 3, "\u0061rea": 1}}`:       {`the field "area" appears twice in root`, ""},
		`{"tree": 1, "leaves": [{"area": 3, "Area": 1}]}`:        {`unknown field "Area" in leaves[0]`, "the field is called area"},
		`{"tree": 1, "names": {"a": 1, "b": 2, "a": 3}}`:         {`the field "a" appears twice in names`, ""},
		`{"tree": 1, "$schema": "a", "$schema": "b"}`:            {`the field "$schema" appears twice`, ""},
		`{"tree": 1, "$schema": 1}`:                              {"$schema: text in quotes is expected, not a number", ""},
		`{"tree": 1, "root": {"area": 1, "$schema": "a"}}`:       {`unknown field "$schema" in root`, "trees.md"},
		"{\"tree\": 1,\n\n \"root\": {\n  \"area\": \"3\"}}":     {"line 4: root.area: a whole number is expected, not text in quotes", ""},
		`{"tree": 1, "root": []}`:                                {"root: an object is expected, not a list", ""},
		`{"tree": 1, "leaves": {}}`:                              {"leaves: a list is expected, not an object", ""},
		`{"tree": 1, "leaves": [1]}`:                             {"leaves[0]: an object is expected, not a number", ""},
		`{"tree": 1, "names": {"a": true}}`:                      {"names.a: a whole number is expected, not true", ""},
		`{"tree": 1, "color": 1e3}`:                              {"color: text in quotes is expected, not a number", ""},
		`{"tree": 1, "height": 9223372036854775808}`:             {"height: a whole number is expected, not 9223372036854775808", ""},
		`{"tree": 1, "root": {"area": 1, "wet": "true"}}`:        {"root.wet: true or false is expected, not text in quotes", ""},
		`[]`:   {"line 1: an object is expected, not a list", ""},
		`null`: {"line 1: an object is expected, not null", ""},

		// These files are not JSON.
		"":                                 {"read tree: the file is empty", ""},
		" \n":                              {"read tree: the file is empty", ""},
		"{\"tree\": 1,\n\"color\": \"r":    {"line 2: the file ends too early", ""},
		"{\"tree\": 1,\n}":                 {"line 2: the name of a field, in double quotes, is expected, not '}'", ""},
		"{\"tree\": 1\n\"color\": 1}":      {`line 2: a comma or } is expected, not '"'`, ""},
		`{"tree": }`:                       {"line 1: a value is expected, not '}'", ""},
		`{"tree" 1}`:                       {"line 1: a colon is expected, not '1'", ""},
		`{"tree": 1, "colors": ["a" 1`:     {"line 1: a comma or ] is expected, not '1'", ""},
		"{\"tree\": 1}\nx":                 {"line 2: 'x' follows the end of the tree", ""},
		`{"tree": tree}`:                   {"line 1: a value is expected: text in double quotes", ""},
		"{\"tree\": 1, \"color\": \"\n\"}": {`line 1: not JSON: unexpected '\n' in string literal`, ""},
	} {
		_, err := format.Decode(strings.NewReader(text))
		hinttest.Error(t, err, nil, want[0])
		hinttest.Hint(t, err, want[1])
	}
	if v, err := format.Decode(strings.NewReader(`{"$schema": "https://example.org/tree.schema.json", "tree": 1, "height": null, "names": {"A": 1, "a": 2}}`)); err != nil || v.Height != nil || len(v.Names) != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	limittest.Around(t, format.Limit, "more than 200 bytes", func(n int) error {
		_, err := format.Decode(strings.NewReader(`{"tree": 1}` + strings.Repeat(" ", n-len(`{"tree": 1}`))))
		return err
	})
}

func TestSchema(t *testing.T) {
	data, err := format.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Title      string
		Required   []string
		Properties map[string]struct {
			Const       int
			Description string
			Enum        []string
			Items       struct{ Enum, Required []string }
			Minimum     *int
		}
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	p := s.Properties
	if s.Title != "A tree" || strings.Join(s.Required, " ") != "tree" || p["tree"].Const != 2 || p["tree"].Description != "version" ||
		len(p["color"].Enum) != 2 || len(p["colors"].Items.Enum) != 2 || p["colors"].Enum != nil || *p["height"].Minimum != 0 || len(p["leaves"].Items.Required) != 1 {
		t.Errorf("%s", data)
	}
}

func TestFieldTable(t *testing.T) {
	const want = "| field | type | flag | meaning |\n|---|---|---|---|\n" +
		"| `tree` | integer |  | version |\n| `color` | string | `--color` | color. Allowed values: green, red |\n| `colors` | list of strings |  | colors. Allowed values: green, red |\n" +
		"| `height` | integer | HEIGHT | height |\n| `leaves` | list of objects |  | leaves |\n| `leaves[].area` | integer |  | area |\n| `leaves[].wet` | boolean |  | wet |\n" +
		"| `names` | object |  | names |\n| `root` | object |  | root |\n| `root.area` | integer |  | area |\n| `root.wet` | boolean |  | wet |\n"
	if got := format.FieldTable(); got != want {
		t.Errorf("%s", got)
	}
}
