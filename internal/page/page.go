// Package page writes pages for people: one HTML file with facts, tables, and a
// map of layers and store paths by size. A page asks for nothing from anywhere,
// what it shows is escaped, and the same page has the same bytes. It says all
// that it has without JavaScript, too; the script adds search, sorting, details
// and the keyboard.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/human"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// Page is what a page says.
type Page struct {
	Title     string // of the browser's window
	Kind      string // what the page is about, above the heading
	Heading   string
	Lines     []string // below the heading
	Platforms []Platform
}

// Platform is one platform's part of a page. A page of several shows one at a
// time.
type Platform struct {
	Name     string
	Verdict  string // one sentence that says it all
	Facts    []Fact
	Map      *Map
	Sections []Section
}

// Fact is a figure.
type Fact struct{ Label, Value string }

// Section is a part below the map.
type Section struct {
	Title  string
	Intro  string
	Tables []Table
}

// Table is a table whose columns can be sorted.
type Table struct {
	Fold string // what stands for the table until it is unfolded; "" where it is open
	Note string // beside Fold
	Head []Column
	Rows []Row
}

// Column is the head of a column.
type Column struct {
	Name   string
	Number bool
	Minor  bool // left out on a narrow screen
	Whole  bool // never broken into lines
}

// Row is a row of a table.
type Row struct {
	Cells []Cell
	Layer int // number of the layer on the map that the row is about, from 1; 0 for none
}

// Cell is a cell of a table.
type Cell struct {
	Text  string
	Note  string   // small, below the text
	Value int64    // what a column of numbers is sorted by
	State string   // shown as a colour of the map, before the text
	More  []string // shown when the cell is opened
	Bar   *Bar
}

// Bar is a bar of two parts of a whole.
type Bar struct{ First, Second, Whole int64 }

// Share is the part of v in the whole.
func (b *Bar) Share(v int64) string { return share(float64(max(v, 0)), float64(b.Whole)) }

// Map is a map of layers and the store paths in them, by size.
type Map struct {
	Colourings []Colouring // what colours can mean; the first is shown
	Frame      string      // what a framed layer is; "" where none can be
	Note       string      // what else to know for reading it
	Layers     []Layer

	wide, tall layout
}

// Colouring is one meaning of the colours.
type Colouring struct {
	Name   string  `json:"name"` // "Colour: updates change it"
	States []State `json:"states"`
}

// State is a colour and its meaning.
type State struct {
	Class string `json:"class"` // in page.css: c0 to c3, old, new
	Name  string `json:"name"`  // in the legend, after the colouring's name
	Words string `json:"words"` // in a sentence
}

// Layer is a layer of a map.
type Layer struct {
	Name   string // "" where only its paths name it
	Note   string // why it is as it is
	Size   int64  // its area
	Framed bool
	Tiles  []Tile
}

// Tile is a store path, or a layer without any.
type Tile struct {
	Name   string
	Path   string // whole store path; "" for a layer without any
	Size   int64
	States []int // for each colouring
	Refs   []int // tiles of the whole map that it refers to
}

// share is part of whole as a percentage in SVG.
func share(part, whole float64) string {
	if whole <= 0 {
		return "0%"
	}
	s := strconv.FormatFloat(100*part/whole, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + "%"
}

// drawnLayer and drawnTile are what the template draws.
type drawnLayer struct {
	X, Y, W, H string
	Head       string // "" without a head line
	HeadH      string
	Label      string
	Framed     bool
	Tiles      []drawnTile
}

type drawnTile struct {
	Index      int
	X, Y, W, H string
	Class      string
	Label      string // all of it, for who cannot see
	Name, Size string // written on the tile; "" where there is no room
}

// Drawn are the layers of the map with their places.
func (m *Map) Drawn() []drawnLayer {
	f, first := wideFrame, 0
	var all []drawnLayer
	for i := range m.Layers {
		l, b := &m.Layers[i], m.wide.layers[i]
		d := drawnLayer{X: share(b.x, f.w), Y: share(b.y, f.h), W: share(b.w, f.w), H: share(b.h, f.h), Framed: l.Framed, Label: m.layerLabel(i)}
		if m.wide.heads[i] {
			d.Head, d.HeadH = m.head(i), share(f.head, f.h)
		}
		for j := range l.Tiles {
			t, b, tall := &l.Tiles[j], m.wide.tiles[first+j], m.tall.tiles[first+j]
			state := m.Colourings[0].States[t.States[0]]
			dt := drawnTile{Index: first + j, X: share(b.x, f.w), Y: share(b.y, f.h), W: share(b.w, f.w), H: share(b.h, f.h), Class: state.Class,
				Label: t.Name + ", " + human.Bytes(t.Size) + ", " + state.Words + ", " + d.Label}
			if b.w > 34 && b.h > 14 || tall.w > 34 && tall.h > 14 {
				dt.Name = t.Name
				if b.h > 32 || tall.h > 32 {
					dt.Size = human.Bytes(t.Size)
				}
			}
			if area := b.w * b.h; area > 26000 {
				dt.Class += " huge"
			} else if area > 9000 {
				dt.Class += " big"
			} else if b.w < 75 {
				dt.Class += " small"
			}
			d.Tiles = append(d.Tiles, dt)
		}
		first += len(l.Tiles)
		all = append(all, d)
	}
	return all
}

// layerLabel names a layer: "layer 7, to pull".
func (m *Map) layerLabel(i int) string {
	s := fmt.Sprintf("layer %d", i+1)
	if m.Layers[i].Framed {
		s += ", " + m.Frame
	}
	return s
}

// head is the head line of a layer.
func (m *Map) head(i int) string {
	l := &m.Layers[i]
	s := fmt.Sprintf("%d · ", i+1)
	if l.Name != "" {
		s += l.Name + " · "
	}
	return s + fmt.Sprintf("%d paths, %s", len(l.Tiles), human.Bytes(l.Size))
}

// mapData is what the script needs beside what is drawn.
type mapData struct {
	Colourings []Colouring  `json:"colourings"`
	Frame      string       `json:"frame"`
	Layers     []layerData  `json:"layers"`
	Names      []string     `json:"names"`
	Paths      []string     `json:"paths"`
	Sizes      []int64      `json:"sizes"`
	States     [][]int      `json:"states"`
	Refs       [][]int      `json:"refs"`
	Tall       [][4]float64 `json:"tall"`       // the tiles' places on a telephone, in percent
	TallLayers [][4]float64 `json:"tallLayers"` // and the layers'
	TallHeads  []string     `json:"tallHeads"`
	HeadHeight float64      `json:"headHeight"`
}

type layerData struct {
	Name   string `json:"name"`
	Note   string `json:"note"`
	Size   int64  `json:"size"`
	Framed bool   `json:"framed"`
	First  int    `json:"first"`
	Count  int    `json:"count"`
}

// Data is the map for the script. Inside a script element it is safe: Marshal
// escapes <, > and &.
func (m *Map) Data() (template.JS, error) {
	d := mapData{Colourings: m.Colourings, Frame: m.Frame, HeadHeight: round(100 * tallFrame.head / tallFrame.h)}
	percent := func(b box) [4]float64 {
		f := tallFrame
		return [4]float64{round(100 * b.x / f.w), round(100 * b.y / f.h), round(100 * b.w / f.w), round(100 * b.h / f.h)}
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		d.Layers = append(d.Layers, layerData{l.Name, l.Note, l.Size, l.Framed, len(d.Names), len(l.Tiles)})
		d.TallLayers = append(d.TallLayers, percent(m.tall.layers[i]))
		head := ""
		if m.tall.heads[i] {
			head = m.head(i)
		}
		d.TallHeads = append(d.TallHeads, head)
		for j := range l.Tiles {
			t := &l.Tiles[j]
			d.Tall = append(d.Tall, percent(m.tall.tiles[len(d.Names)]))
			d.Names, d.Paths, d.Sizes = append(d.Names, t.Name), append(d.Paths, t.Path), append(d.Sizes, t.Size)
			refs := slices.Clone(t.Refs)
			slices.Sort(refs)
			d.States, d.Refs = append(d.States, t.States), append(d.Refs, append([]int{}, refs...))
		}
	}
	data, err := json.Marshal(d)
	return template.JS(data), err
}

func round(v float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'f', 2, 64), 64)
	return r
}

// Several is whether there are several platforms to choose from.
func (p *Page) Several() bool { return len(p.Platforms) > 1 }

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"inc": func(i int) int { return i + 1 },
}).Parse(pageHTML))

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	for i := range p.Platforms {
		if m := p.Platforms[i].Map; m != nil {
			m.wide, m.tall = lay(m.Layers, wideFrame), lay(m.Layers, tallFrame)
		}
	}
	err := pageTemplate.Execute(w, map[string]any{
		"Page": p, "Style": template.CSS(style), "Script": template.JS(script),
		// Nothing runs, and no style counts, but what nixoci has put there.
		"Policy": fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", sourceHash(style), sourceHash(script)),
	})
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// sourceHash is what a Content-Security-Policy calls a text by.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
