package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"

	"github.com/nixoci/nixoci/internal/closure"
)

// What all pages share: the look, and the script that draws a map of layers and
// store paths. A page is one file that asks for nothing from anywhere.
var (
	//go:embed page/page.css
	pageStyle string
	//go:embed page/map.js
	pageScript string
	//go:embed page/report.html
	pageHTML string
)

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// Page is a page about an image or a difference. The same page has the same
// bytes; without scripts its tables remain.
type Page struct {
	Title    string
	Subtitle string
	Tabs     []Tab // one for each platform
}

// Tab is one platform's part of a page.
type Tab struct {
	Name   string
	Facts  []Fact
	Low    string      // what the two ends of the colours mean
	High   string      //
	Marked string      // what a marked layer is; "" where none can be
	Map    template.JS // a pageData, "" for no map
	Tables []PageTable
}

// Fact is a figure at the head of a tab.
type Fact struct{ Label, Value string }

// PageTable is a table below the map.
type PageTable struct {
	Title   string
	Head    []string
	Numbers []int // columns of numbers
	Rows    [][]string
	Layers  []int // for each row the layer on the map that it is about; nil for none
}

// Number reports whether a column is one of numbers.
func (t PageTable) Number(column int) bool { return slices.Contains(t.Numbers, column) }

// Layer is the place on the map of what a row is about, "" without one.
func (t PageTable) Layer(row int) string {
	if row >= len(t.Layers) {
		return ""
	}
	return strconv.Itoa(t.Layers[row])
}

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	err := pageTemplate.Execute(w, map[string]any{"Page": p, "Style": template.CSS(pageStyle), "Script": template.JS(pageScript)})
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// pageData is what the script draws from. Arrays are by path, in the order of
// the layers.
type pageData struct {
	Layers []pageLayer `json:"layers"`
	Names  []string    `json:"names"`
	Hashes []string    `json:"hashes"`
	Sizes  []int64     `json:"sizes"`
	Chance []float64   `json:"chance"` // 0 to 1: the colour
	Refs   [][]int     `json:"refs"`   // without the path itself
	Words  []pageWord  `json:"words"`  // what chances mean, from high to low
}

type pageLayer struct {
	Name   string  `json:"name"`
	Reason string  `json:"reason"`
	Size   int64   `json:"size"`
	Chance float64 `json:"chance"`
	Mark   bool    `json:"mark,omitempty"` // drawn with a frame
	First  int     `json:"first"`          // index of its first path
	Count  int     `json:"count"`

	paths []closure.StorePath
}

type pageWord struct {
	Least float64 `json:"least"`
	Text  string  `json:"text"`
}

// newPageData puts the store paths of the layers in order. chances are by place
// in c.Paths.
func newPageData(c *closure.Closure, ls []pageLayer, chances []float64, words []pageWord) (template.JS, error) {
	d := pageData{Words: words, Names: []string{}, Hashes: []string{}, Sizes: []int64{}, Chance: []float64{}, Refs: [][]int{}}
	at := make([]int, len(c.Paths)) // place in the page by place in c.Paths
	for i := range at {
		at[i] = -1
	}
	var order []int
	for _, l := range ls {
		l.First, l.Count = len(order), len(l.paths)
		d.Layers = append(d.Layers, l)
		for _, p := range l.paths {
			i, ok := c.Index(p)
			if !ok {
				return "", fmt.Errorf("page: %s is not in the closure", p)
			}
			at[i] = len(order)
			order = append(order, i)
		}
	}
	for _, i := range order {
		info := &c.Paths[i]
		d.Names = append(d.Names, info.Path.Name())
		d.Hashes = append(d.Hashes, info.Path.Hash())
		d.Sizes = append(d.Sizes, info.NarSize)
		d.Chance = append(d.Chance, float64(int(chances[i]*1000+0.5))/1000)
		refs := []int{}
		for _, ref := range info.References {
			if j, ok := c.Index(ref); ok && j != i && at[j] >= 0 {
				refs = append(refs, at[j])
			}
		}
		slices.Sort(refs)
		d.Refs = append(d.Refs, refs)
	}
	data, err := json.Marshal(d) // escapes <, > and &: safe inside a script element
	return template.JS(data), err
}
