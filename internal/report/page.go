package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"

	"github.com/nixoci/nixoci/internal/closure"
)

// Page is one self-contained HTML page about layers and the store paths in
// them: a treemap with search, what depends on a path, and tables. It asks
// nothing of a network, and the same page has the same bytes. Without scripts
// the tables remain.
type Page struct {
	Title    string
	Subtitle string
	Tabs     []Tab // one for each platform
}

// Tab is one platform's part of a page.
type Tab struct {
	Name   string
	Facts  []Fact
	Low    string // what heat 0 means, and heat 1
	High   string
	Layers []PageLayer
	Paths  []PagePath
	Tables []PageTable
}

// Fact is a figure at the head of a tab.
type Fact struct{ Label, Value string }

// PageLayer is a rectangle that holds others.
type PageLayer struct {
	Name  string  `json:"name"`
	Note  string  `json:"note"`  // why it is, for people
	ID    string  `json:"id"`    // digest or recipe; "" without one
	Size  int64   `json:"size"`  // bytes that are its area
	Blob  int64   `json:"blob"`  // bytes compressed; 0 where not known
	Heat  float64 `json:"heat"`  // 0 to 1
	Mark  bool    `json:"mark"`  // drawn with an outline: it is pulled
	Paths []int   `json:"paths"` // indices of Tab.Paths
}

// PagePath is a rectangle for a store path.
type PagePath struct {
	Path closure.StorePath `json:"path"`
	Size int64             `json:"size"` // bytes of the NAR
	Heat float64           `json:"heat"` // 0 to 1
	Note string            `json:"note,omitempty"`
	Refs []int             `json:"refs"` // indices of what it refers to, without itself
}

// PageTable is a table below the treemap. A cell of a column named in Numbers is
// aligned to the right.
type PageTable struct {
	Title   string
	Head    []string
	Numbers []bool // by column
	Rows    [][]string
}

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"data": func(t Tab) map[string]any {
		return map[string]any{"layers": t.Layers, "paths": t.Paths, "low": t.Low, "high": t.High}
	},
	"number": func(t PageTable, column int) bool { return column < len(t.Numbers) && t.Numbers[column] },
}).Parse(pageHTML))

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// changeRate is how likely one store path is to change by itself, for colours:
// the plan's own figures are layers.Group.Chance.
const changeRate = 0.02

// Chance tells how likely it is that one of paths, or what they refer to,
// changes: 0 to 1.
func Chance(c *closure.Closure, paths ...closure.StorePath) float64 {
	seen := make([]bool, len(c.Paths))
	var todo []int
	add := func(p closure.StorePath) {
		if i, ok := c.Index(p); ok && !seen[i] {
			seen[i] = true
			todo = append(todo, i)
		}
	}
	for _, p := range paths {
		add(p)
	}
	n := 0
	for ; len(todo) > 0; n++ {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, r := range c.Paths[i].References {
			add(r)
		}
	}
	return 1 - math.Pow(1-changeRate, float64(n))
}

// PagePaths are the paths of c, in its order, with chances for heat.
func PagePaths(c *closure.Closure) []PagePath {
	all := make([]PagePath, len(c.Paths))
	for i := range c.Paths {
		p := &c.Paths[i]
		pp := PagePath{Path: p.Path, Size: p.NarSize, Heat: Chance(c, p.Path), Refs: []int{}}
		for _, r := range others(p) {
			if j, ok := c.Index(r); ok {
				pp.Refs = append(pp.Refs, j)
			}
		}
		all[i] = pp
	}
	return all
}
