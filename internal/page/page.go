// Package page writes a page as one HTML file, with [Page.Write]. The page shows facts, tables, and
// a map of layers and store paths by size. The file loads nothing from the network. All text is
// escaped, and the same Page gives the same bytes. Without JavaScript, the page still shows
// everything. The script adds search, sorting, details and use with the keyboard.
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

// Page holds the content of a page.
type Page struct {
	Title     string // title of the browser's window
	Kind      string // what the page shows; printed above the heading
	Heading   string
	Lines     []string // text below the heading
	Platforms []Platform
}

// Platform is the part of a page for one platform. If there are several platforms, the page
// shows one at a time.
type Platform struct {
	Name     string
	Verdict  string // one sentence that summarizes the platform
	Facts    []Fact
	Map      *Map
	Sections []Section
}

// Fact is a figure with a label.
type Fact struct{ Label, Value string }

// Section describes a part of the page below the map.
type Section struct {
	Title  string
	Intro  string
	Tables []Table
}

// Table describes a table. Readers can sort its columns.
type Table struct {
	Fold string // text that a closed table shows; "" if the table is always open
	Note string // text beside Fold
	Head []Column
	Rows []Row
}

// Column describes a column of a table.
type Column struct {
	Name   string
	Number bool
	Minor  bool // hidden on a narrow screen
	Whole  bool // text in this column is never wrapped
}

// Row describes a row of a table.
type Row struct {
	Cells []Cell
	Layer int // number of the row's layer on the map, from 1; 0 for none
}

// Cell describes a cell of a table.
type Cell struct {
	Text  string
	Note  string   // small text below Text
	Value int64    // sort key in a column of numbers
	State string   // CSS class of a colour of the map; the page shows this colour before the text
	More  []string // lines that appear when a reader opens the cell
	Bar   *Bar
}

// Bar describes a bar that shows two parts of a whole.
type Bar struct{ First, Second, Whole int64 }

// Share returns v as a percentage of b.Whole.
func (b *Bar) Share(v int64) string { return share(float64(max(v, 0)), float64(b.Whole)) }

// Map describes a map that shows layers and their store paths by size.
type Map struct {
	Colourings []Colouring // what the colours can mean; the page begins with the first
	Frame      string      // meaning of a frame around a layer; "" if no layer is framed
	Note       string      // further explanation of the map
	Layers     []Layer

	wide, tall layout
}

// Colouring describes one way to colour the map, such as by the changes of an update.
type Colouring struct {
	Name   string  `json:"name"` // label, such as "Colour: updates change it"
	States []Shade `json:"states"`
}

// Shade describes one colour of the legend.
type Shade struct {
	Class string `json:"class"` // CSS class in page.css: c0 to c3, old, new
	Name  string `json:"name"`  // text in the legend, after the name of the colouring
	Words string `json:"words"` // text in a sentence
}

// Layer describes a layer of a map.
type Layer struct {
	Name   string // name of the layer; "" if the layer is described only by its paths
	Why    string // what the paths of the layer have in common
	Holds  string // content of the layer other than store paths
	Size   int64  // area of the layer on the map: bytes before compression
	Pull   int64  // compressed bytes that a client pulls; 0 if unknown
	Framed bool
	Tiles  []Tile
}

// Tile describes a store path on the map, or a layer without store paths.
type Tile struct {
	Name   string
	Path   string // full store path; "" for a layer without store paths
	Size   int64
	States []int // index of the state in each colouring
	Refs   []int // indices of the tiles to which this one refers; tiles are numbered over the whole map
}

// share returns part as a percentage of whole, for SVG.
func share(part, whole float64) string {
	if whole <= 0 {
		return "0%"
	}
	s := strconv.FormatFloat(100*part/whole, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + "%"
}

// drawnLayer and drawnTile hold the values that the template draws.
type drawnLayer struct {
	X, Y, W, H string
	Head       string // text of the head line; "" if there is none
	HeadH      string
	Label      string
	Framed     bool
	Tiles      []drawnTile
}

type drawnTile struct {
	Index      int
	X, Y, W, H string
	Class      string
	Label      string // complete description, for screen readers
	Name, Size string // text on the tile; "" if there is no room
}

// Drawn returns the layers of the map with their positions.
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

// layerLabel returns the label of a layer, such as "layer 7, to pull".
func (m *Map) layerLabel(i int) string {
	s := fmt.Sprintf("layer %d", i+1)
	if m.Layers[i].Framed {
		s += ", " + m.Frame
	}
	return s
}

// head returns the text of a layer's head line.
func (m *Map) head(i int) string {
	l := &m.Layers[i]
	s := fmt.Sprintf("%d · ", i+1)
	if l.Name != "" {
		s += l.Name + " · "
	}
	return s + fmt.Sprintf("%d paths, %s", len(l.Tiles), human.Bytes(l.Size))
}

// mapData holds the data that the script needs in addition to the drawn map.
type mapData struct {
	Colourings []Colouring  `json:"colourings"`
	Frame      string       `json:"frame"`
	Layers     []layerData  `json:"layers"`
	Names      []string     `json:"names"`
	Paths      []string     `json:"paths"`
	Sizes      []int64      `json:"sizes"`
	States     [][]int      `json:"states"`
	Refs       [][]int      `json:"refs"`
	Tall       [][4]float64 `json:"tall"`       // positions of the tiles in the map for a telephone, in percent
	TallLayers [][4]float64 `json:"tallLayers"` // positions of the layers in the map for a telephone, in percent
	TallHeads  []string     `json:"tallHeads"`
	HeadHeight float64      `json:"headHeight"`
}

type layerData struct {
	Name   string `json:"name"`
	Why    string `json:"why"`
	Holds  string `json:"holds"`
	Size   int64  `json:"size"`
	Pull   int64  `json:"pull"`
	Framed bool   `json:"framed"`
	First  int    `json:"first"`
	Count  int    `json:"count"`
}

// Data returns the data for the script as JSON. The result is safe inside a script element,
// because json.Marshal escapes <, > and &.
func (m *Map) Data() (template.JS, error) {
	d := mapData{Colourings: m.Colourings, Frame: m.Frame, HeadHeight: round(100 * tallFrame.head / tallFrame.h)}
	percent := func(b box) [4]float64 {
		f := tallFrame
		return [4]float64{round(100 * b.x / f.w), round(100 * b.y / f.h), round(100 * b.w / f.w), round(100 * b.h / f.h)}
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		d.Layers = append(d.Layers, layerData{l.Name, l.Why, l.Holds, l.Size, l.Pull, l.Framed, len(d.Names), len(l.Tiles)})
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

// Several reports whether the reader can choose from several platforms.
func (p *Page) Several() bool { return len(p.Platforms) > 1 }

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"inc": func(i int) int { return i + 1 },
}).Parse(pageHTML))

// Write writes the page to w.
func (p *Page) Write(w io.Writer) error {
	for i := range p.Platforms {
		if m := p.Platforms[i].Map; m != nil {
			m.wide, m.tall = lay(m.Layers, wideFrame), lay(m.Layers, tallFrame)
		}
	}
	err := pageTemplate.Execute(w, map[string]any{
		"Page": p, "Style": template.CSS(style), "Script": template.JS(script),
		// With this policy, the browser runs only this script and uses only this style.
		"Policy": fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", sourceHash(style), sourceHash(script)),
	})
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// sourceHash returns the hash of text in the form that a Content-Security-Policy requires.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
