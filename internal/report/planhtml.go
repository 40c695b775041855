package report

import (
	_ "embed"
	"html/template"
	"io"
	"path/filepath"

	"github.com/nixoci/nixoci/internal/plan"
)

//go:embed page/plan.html
var planPage string

var planTemplate = template.Must(template.New("plan").Funcs(template.FuncMap{
	"bytes":   bytesText,
	"percent": percent,
	"chance":  chanceText,
	"count":   count,
	"inc":     func(i int) int { return i + 1 },
	"base":    filepath.Base,
	"biggest": (*PlanReport).biggest,
}).Parse(planPage))

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
		"Style":  template.CSS(pageStyle),
		"Script": template.JS(pageScript),
		"Data":   data,
	})
}

func (r *PlanReport) pageData() (template.JS, error) {
	var ls []pageLayer
	for _, l := range r.Layers {
		ls = append(ls, pageLayer{Name: l.Name, Reason: l.Reason, Size: l.Size, Chance: l.Chance, paths: l.Paths})
	}
	return newPageData(r.closure, ls, plan.Chances(r.closure), chanceWords())
}

// chanceWords are the words of chanceText.
func chanceWords() []pageWord {
	var words []pageWord
	for _, least := range []float64{chanceAlways, chanceOften, chanceSometimes, 0} {
		words = append(words, pageWord{least, "changes " + chanceText(least)})
	}
	return words
}
