package report

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/plan"
)

// TestDiffPage: the page has all that the difference has, and asks for nothing
// else.
func TestDiffPage(t *testing.T) {
	a := planned(t, "</title><script>before", "linux/amd64", sample(t, "sample-x86_64-linux"))
	b := planned(t, "after", "linux/amd64", sample(t, "sample-x86_64-linux-update"))
	d, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var page, again bytes.Buffer
	for _, w := range []*bytes.Buffer{&page, &again} {
		p, err := d.Page(a, b)
		if err == nil {
			err = p.Write(w)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(page.Bytes(), again.Bytes()) {
		t.Error("a second page differs")
	}
	s := page.String()
	if m := regexp.MustCompile(`(?i)(src|href|action)\s*=|url\(|@import|https?://|fetch\(|XMLHttpRequest|import\(`).FindString(s); m != "" {
		t.Errorf("the page refers to something else: %q", m)
	}
	if strings.Contains(s, "<script>before") {
		t.Error("a name is not escaped")
	}
	for _, want := range []string{"3.23+nmu1 → 3.25", "hostname", "22 → 22"} {
		if !strings.Contains(s, strings.ReplaceAll(want, "+", "&#43;")) {
			t.Errorf("no %q in the page", want)
		}
	}
	data := regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindStringSubmatch(s)
	if data == nil {
		t.Fatal("no data in the page")
	}
	var tab pageData
	if err := json.Unmarshal([]byte(data[1]), &tab); err != nil {
		t.Fatal(err)
	}
	fresh, marked := 0, 0
	for _, c := range tab.Chance {
		if c == 1 {
			fresh++
		}
	}
	for _, l := range tab.Layers {
		if l.Mark {
			marked++
		}
	}
	if len(tab.Names) != 22 || len(tab.Layers) != 22 || fresh != 8 || marked != 8 {
		t.Errorf("%d paths, %d new; %d layers, %d pulled", len(tab.Names), fresh, len(tab.Layers), marked)
	}
}

func TestInspectPage(t *testing.T) {
	c := sample(t, "sample-x86_64-linux")
	img := &Image{Name: "web", Platforms: []*ImagePlatform{{Closure: c, RawConfig: json.RawMessage(`{"Env":["A=b"]}`)}}}
	planned, err := plan.New(c, plan.Options{MaxLayers: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range planned.Groups {
		img.Platforms[0].Layers = append(img.Platforms[0].Layers, ImageLayer{Paths: g.Paths, PathsKnown: true, TarSize: g.Size})
	}
	img.Platforms[0].Layers = append(img.Platforms[0].Layers, ImageLayer{System: true, PathsKnown: true, TarSize: 1024})
	p, err := Inspect(img).Page(img)
	if err != nil {
		t.Fatal(err)
	}
	var tab pageData
	if err := json.Unmarshal([]byte(p.Tabs[0].Map), &tab); err != nil {
		t.Fatal(err)
	}
	if len(tab.Layers) != len(planned.Groups)+1 || tab.Layers[len(planned.Groups)].Name != "system layer" || len(tab.Names) != 22 {
		t.Errorf("%+v", tab.Layers)
	}
	var page bytes.Buffer
	if err := p.Write(&page); err != nil || !strings.Contains(page.String(), "[&#34;A=b&#34;]") {
		t.Errorf("no configuration in the page: %v", err)
	}
}
