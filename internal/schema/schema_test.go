package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// tree has every kind of field.
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

var kind = Kind[tree]{Name: "tree", Title: "A tree", VersionField: "tree", Version: 2, Limit: 200, Page: "trees.md", Unknown: map[string]string{"leafs": "leaves"}}

func TestDecode(t *testing.T) {
	v, err := kind.Decode(strings.NewReader(`{"tree": 2, "color": "red", "colors": [], "height": 3, "leaves": [{"area": 1}], "root": {"area": 0, "wet": true}}`))
	if err != nil || v.Color != "red" || v.Colors == nil || *v.Height != 3 || v.Leaves[0].Area != 1 || !v.Root.Wet {
		t.Errorf("%+v, %v", v, err)
	}
	for text, want := range map[string][2]string{
		`{"tree": 3}`:                                  {"read tree: version 3, and this nixoci reads up to 2", "newer"},
		`{"tree": 1.5}`:                                {"cannot unmarshal", ""},
		`{"Color": "red"}`:                             {"no field tree", `begin it with {"tree": 2`},
		`{"tree": 1, "color": "blue"}`:                 {`read tree: color: "blue" is not one of green, red`, ""},
		`{"tree": 1, "colors": ["red", "blue"]}`:       {`colors: "blue" is not one of green, red`, ""},
		`{"tree": 1, "height": -1}`:                    {"height: -1 is less than 0", ""},
		`{"tree": 1, "leaves": [{}, {"area": -2}]}`:    {"leaves[1].area: -2 is less than 0", ""},
		`{"tree": 1, "root": {"area": -2}}`:            {"root.area: -2 is less than 0", ""},
		`{"tree": 1, "leafs": []}`:                     {`unknown field "leafs"`, "leaves"},
		`{"tree": 1, "bark": []}`:                      {`unknown field "bark"`, "trees.md"},
		`{"tree": 1} x`:                                {"after top-level value", ""},
		`{"tree": 1, "leaves": [{"area": 1, "x": 2}]}`: {`unknown field "x"`, ""},
	} {
		_, err := kind.Decode(strings.NewReader(text))
		hinttest.Error(t, err, nil, want[0])
		hinttest.Hint(t, err, want[1])
	}
	limittest.Around(t, kind.Limit, "more than 200 bytes", func(n int) error {
		_, err := kind.Decode(strings.NewReader(`{"tree": 1}` + strings.Repeat(" ", n-len(`{"tree": 1}`))))
		return err
	})
}

func TestSchema(t *testing.T) {
	data, err := kind.Schema()
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
		"| `tree` | integer |  | version |\n| `color` | string | `--color` | color: green, red |\n| `colors` | list of strings |  | colors: green, red |\n" +
		"| `height` | integer | HEIGHT | height |\n| `leaves` | list of objects |  | leaves |\n| `leaves[].area` | integer |  | area |\n| `leaves[].wet` | boolean |  | wet |\n" +
		"| `names` | object |  | names |\n| `root` | object |  | root |\n| `root.area` | integer |  | area |\n| `root.wet` | boolean |  | wet |\n"
	if got := kind.FieldTable(); got != want {
		t.Errorf("%s", got)
	}
}
