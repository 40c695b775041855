package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
)

// sampleMap returns a map of n layers of growing size. Layer i has i%5 paths, but at least
// one.
func sampleMap(n int) *Map {
	m := &Map{Colourings: []Colouring{{Name: "Colour:", States: []Shade{{"old", "unchanged", "unchanged"}, {"new", "new", "new"}}}}, Frame: "to pull"}
	tile := 0
	for i := range n {
		l := Layer{Framed: i%3 == 0}
		for j := range max(i%5, 1) {
			size := int64(1+i*i*i) * int64(j+1)
			l.Size += size
			t := Tile{Name: fmt.Sprintf("pkg-%d-%d", i, j), Path: "/nix/store/x", Size: size, States: []int{i % 2}}
			if tile > 0 {
				t.Refs = []int{tile - 1}
			}
			l.Tiles = append(l.Tiles, t)
			tile++
		}
		m.Layers = append(m.Layers, l)
	}
	return m
}

// TestLay checks that boxes do not overlap and are inside the frame. The areas of tiles
// in a layer must be proportional to their sizes.
func TestLay(t *testing.T) {
	for _, f := range []frame{wideFrame, tallFrame} {
		m := sampleMap(60)
		l := lay(m.Layers, f)
		inside := func(in, b box) bool {
			const e = 1e-6
			return b.x >= in.x-e && b.y >= in.y-e && b.x+b.w <= in.x+in.w+e && b.y+b.h <= in.y+in.h+e && b.w >= 0 && b.h >= 0
		}
		overlap := func(a, b box) bool {
			const e = 1e-6
			return a.x+a.w > b.x+e && b.x+b.w > a.x+e && a.y+a.h > b.y+e && b.y+b.h > a.y+e
		}
		first := 0
		for i := range m.Layers {
			if !inside(box{0, 0, f.w, f.h}, l.layers[i]) {
				t.Errorf("layer %d is outside: %v", i, l.layers[i])
			}
			for j := range i {
				if overlap(l.layers[i], l.layers[j]) {
					t.Errorf("layers %d and %d overlap: %v, %v", i, j, l.layers[i], l.layers[j])
				}
			}
			tiles := l.tiles[first : first+len(m.Layers[i].Tiles)]
			for j, b := range tiles {
				if !inside(l.layers[i], b) {
					t.Errorf("tile %d of layer %d is outside: %v of %v", j, i, b, l.layers[i])
				}
				for k := range j {
					if overlap(b, tiles[k]) {
						t.Errorf("tiles %d and %d of layer %d overlap", j, k, i)
					}
				}
				want := float64(m.Layers[i].Tiles[j].Size) / float64(m.Layers[i].Tiles[0].Size)
				if got := b.w * b.h / (tiles[0].w * tiles[0].h); math.Abs(got-want) > 0.001*want {
					t.Errorf("tile %d of layer %d: %v times the first, want %v", j, i, got, want)
				}
			}
			first += len(tiles)
		}
	}
}

// TestLayExtremes checks that layers of extreme sizes get valid boxes.
func TestLayExtremes(t *testing.T) {
	for name, sizes := range map[string][]int64{"none": {}, "zero": {0}, "zeros": {0, 0, 0}, "one": {1}, "huge and zero": {math.MaxInt64 / 2, 0, 0, 1}, "many": make([]int64, 3000)} {
		var layers []Layer
		for _, s := range sizes {
			layers = append(layers, Layer{Size: s, Tiles: []Tile{{Size: s}, {Size: 0}}})
		}
		l := lay(layers, wideFrame)
		for _, b := range append(l.layers, l.tiles...) {
			for _, v := range []float64{b.x, b.y, b.w, b.h} {
				if math.IsNaN(v) || v < -1e-6 || v > wideFrame.w+1e-6 {
					t.Fatalf("%s: a box at %v", name, b)
				}
			}
		}
	}
}

func write(t *testing.T, p *Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWriteHostile checks that text from outside never becomes markup.
func TestWriteHostile(t *testing.T) {
	evil := `</script></svg><img src=x onerror="alert(1)"> & 'q' "q" <!--`
	m := &Map{Colourings: []Colouring{{Name: evil, States: []Shade{{"old", evil, evil}}}}, Frame: evil,
		Layers: []Layer{{Name: evil, Why: evil, Holds: evil, Size: 1 << 40, Framed: true, Tiles: []Tile{{Name: evil, Path: evil, Size: 1 << 39, States: []int{0}}, {Name: evil, Size: 1 << 39, States: []int{0}}}}}}
	p := &Page{Title: evil, Kind: evil, Heading: evil, Lines: []string{evil}, Platforms: []Platform{{Name: evil, Verdict: evil, Facts: []Fact{{evil, evil}}, Map: m,
		Sections: []Section{{Title: evil, Intro: evil, Tables: []Table{{Fold: evil, Note: evil, Head: []Column{{Name: evil}},
			Rows: []Row{{Layer: 1, Cells: []Cell{{Text: evil, Note: evil, State: "old", More: []string{evil}, Bar: &Bar{1, 2, 3}}}}}}}}}}, {Name: evil}}}
	s := write(t, p)
	if i := strings.Index(s, "<img"); i >= 0 {
		t.Errorf("markup: %s", s[i-80:i+40])
	}
	if n := strings.Count(s, "</script>"); n != 2 {
		t.Errorf("</script> is there %d times", n)
	}
	if n := strings.Count(s, "<!--"); n != 0 {
		t.Errorf("<!-- is there %d times", n)
	}
	data := regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindStringSubmatch(s)
	var d mapData
	if data == nil || json.Unmarshal([]byte(data[1]), &d) != nil || d.Names[0] != evil {
		t.Errorf("the data is not what it was: %.300v", data)
	}
}

// TestWritePolicy checks that the Content-Security-Policy allows exactly the script and the
// style of the page. The page must load nothing from elsewhere.
func TestWritePolicy(t *testing.T) {
	s := write(t, &Page{Platforms: []Platform{{Map: sampleMap(30), Sections: []Section{{Tables: []Table{{Head: []Column{{}}, Rows: []Row{{Cells: []Cell{{Bar: &Bar{1, 2, 3}}}}}}}}}}}})
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(s)
	if policy == nil {
		t.Fatal("no policy")
	}
	allowed := strings.NewReplacer("&#39;", "'", "&#43;", "+").Replace(policy[1])
	for directive, element := range map[string]string{"style-src": "style", "script-src": "script"} {
		text := regexp.MustCompile(`(?s)<` + element + `>(.*?)</` + element + `>`).FindStringSubmatch(s)
		if text == nil || !strings.Contains(allowed, directive+" '"+sourceHash(text[1])+"'") {
			t.Errorf("%s of %s is not that of the page", directive, allowed)
		}
	}
	if !strings.HasPrefix(allowed, "default-src 'none';") || strings.Contains(allowed, "unsafe") {
		t.Errorf("policy %s", allowed)
	}
	if m := regexp.MustCompile(`(?i)\s(style|src|on[a-z]+)\s*=\s*"|href="[^#]|url\(|@import|https?://[^w]|fetch\(|XMLHttpRequest|import\(`).FindString(s); m != "" {
		t.Errorf("the page has %q", m)
	}
	first, second := write(t, &Page{Platforms: []Platform{{Map: sampleMap(30)}}}), write(t, &Page{Platforms: []Platform{{Map: sampleMap(30)}}})
	if first != second {
		t.Error("a second page differs")
	}
}

// TestWithoutScript checks that the markup itself names each tile and its size.
func TestWithoutScript(t *testing.T) {
	s := write(t, &Page{Platforms: []Platform{{Map: sampleMap(12)}}})
	for _, want := range []string{"<title>pkg-9-3, 2.9 kB, new, layer 10, to pull</title>", `<text class="n" x="4">pkg-11-0</text>`, "10 · 4 paths, 7.3 kB"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %s in the page", want)
		}
	}
}

// colours returns the custom properties of page.css, by theme.
func colours(t *testing.T) map[string][3]float64 {
	t.Helper()
	all := map[string][3]float64{}
	theme := "light"
	for line := range strings.Lines(style) {
		if strings.Contains(line, "prefers-color-scheme: dark") {
			theme = "dark"
		}
		for _, m := range regexp.MustCompile(`--([a-z0-9]+): #([0-9a-f]{3,6});`).FindAllStringSubmatch(line, -1) {
			hex := m[2]
			if len(hex) == 3 {
				hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
			}
			var rgb [3]int
			fmt.Sscanf(hex, "%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2])
			linear := func(v int) float64 {
				c := float64(v) / 255
				if c <= 0.04045 {
					return c / 12.92
				}
				return math.Pow((c+0.055)/1.055, 2.4)
			}
			all[theme+" "+m[1]] = [3]float64{linear(rgb[0]), linear(rgb[1]), linear(rgb[2])}
		}
	}
	return all
}

// TestColourBlind checks that colour-blind people can distinguish the colours of a map. It
// simulates people who lack one of the three kinds of cones, and people who see only
// lightness.
func TestColourBlind(t *testing.T) {
	// These matrices are from Machado, Oliveira, Fernandes 2009, severity 1.0, for linear
	// RGB.
	visions := map[string][3][3]float64{
		"all":         {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopia":  {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"deuteranopy": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"tritanopia":  {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
	}
	c := colours(t)
	for name, v := range visions {
		see := func(rgb [3]float64) [3]float64 { // converts to the colour space Lab
			var s [3]float64
			for i := range s {
				s[i] = min(max(v[i][0]*rgb[0]+v[i][1]*rgb[1]+v[i][2]*rgb[2], 0), 1)
			}
			f := func(t float64) float64 {
				if t > 0.008856 {
					return math.Cbrt(t)
				}
				return 7.787*t + 16.0/116
			}
			x, y, z := f((0.4124*s[0]+0.3576*s[1]+0.1805*s[2])/0.9505), f(0.2126*s[0]+0.7152*s[1]+0.0722*s[2]), f((0.0193*s[0]+0.1192*s[1]+0.9505*s[2])/1.089)
			return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
		}
		for _, pair := range [][2]string{{"c0", "c1"}, {"c0", "c2"}, {"c0", "c3"}, {"c1", "c2"}, {"c1", "c3"}, {"c2", "c3"}, {"old", "new"}} {
			a, ok := c["light "+pair[0]]
			b, also := c["light "+pair[1]]
			if !ok || !also {
				t.Fatalf("no %v in page.css", pair)
			}
			p, q := see(a), see(b)
			if d := math.Hypot(math.Hypot(p[0]-q[0], p[1]-q[1]), p[2]-q[2]); d < 25 {
				t.Errorf("%s: %v differ by %.0f, want 25", name, pair, d)
			}
		}
	}
}
