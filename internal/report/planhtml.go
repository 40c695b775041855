package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"

	"github.com/nixoci/nixoci/internal/layers"
)

//go:embed page/plan.html
var planPage string

//go:embed page/plan.css
var planStyle string

//go:embed page/plan.js
var planScript string

var planTemplate = template.Must(template.New("plan").Funcs(template.FuncMap{
	"bytes":   bytesText,
	"percent": percent,
	"chance":  chanceText,
	"count":   count,
	"inc":     func(i int) int { return i + 1 },
	"base":    filepath.Base,
	"biggest": (*PlanReport).biggest,
}).Parse(planPage))

// pageData is what the page's script draws from. Arrays are by path, in the
// order of the layers.
type pageData struct {
	Layers []pageLayer `json:"layers"`
	Names  []string    `json:"names"`
	Hashes []string    `json:"hashes"`
	Sizes  []int64     `json:"sizes"`
	Chance []float64   `json:"chance"`
	Refs   [][]int     `json:"refs"` // without the path itself
}

type pageLayer struct {
	Name   string  `json:"name"`
	Reason string  `json:"reason"`
	Size   int64   `json:"size"`
	Chance float64 `json:"chance"`
	First  int     `json:"first"` // index of its first path
	Count  int     `json:"count"`
}

// WriteHTML writes one self-contained page: a map of the layers and their paths
// by size, coloured by how likely they change. It asks for nothing from
// anywhere.
func (r *PlanReport) WriteHTML(w io.Writer) error {
	data, err := r.pageData()
	if err != nil {
		return err
	}
	return planTemplate.Execute(w, map[string]any{
		"Report": r,
		"Style":  template.CSS(planStyle),
		"Script": template.JS(planScript),
		"Data":   template.JS(data),
	})
}

func (r *PlanReport) pageData() ([]byte, error) {
	c := r.closure
	chances := layers.Chances(c)
	var d pageData
	at := make([]int, len(c.Paths)) // place in the page by place in c.Paths
	var order []int
	for _, l := range r.Layers {
		d.Layers = append(d.Layers, pageLayer{Name: l.Name, Reason: l.Reason, Size: l.Size, Chance: l.Chance, First: len(order), Count: len(l.Paths)})
		for _, p := range l.Paths {
			i, ok := c.Index(p)
			if !ok {
				return nil, fmt.Errorf("plan page: %s is not in the closure", p)
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
			if j, ok := c.Index(ref); ok && j != i {
				refs = append(refs, at[j])
			}
		}
		slices.Sort(refs)
		d.Refs = append(d.Refs, refs)
	}
	return json.Marshal(d) // escapes <, > and &: safe inside a script element
}
