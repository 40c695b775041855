//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser starts a Chromium for the tests of HTML pages.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(time.Minute)) // long, because the machine may be busy
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return ctx
}

// view describes the screen on which a page is shown.
type view struct {
	width, height int64
	dark, touch   bool
	noScript      bool
}

var views = map[string]view{
	"wide, light":   {width: 1280, height: 800},
	"wide, dark":    {width: 1280, height: 800, dark: true},
	"narrow, light": {width: 390, height: 844, touch: true},
	"narrow, dark":  {width: 390, height: 844, touch: true, dark: true},
}

// open shows the page in a new tab. If the page writes anything to the console, the test
// fails. A violation of the page's Content-Security-Policy also appears on the console.
func open(t *testing.T, browser context.Context, file string, v view) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var console []string
	err := chromedp.Listen(ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			console = append(console, fmt.Sprintf("console.%s", ev.Type))
		case *runtime.EventExceptionThrown:
			console = append(console, fmt.Sprintf("%s %v", ev.ExceptionDetails.Text, ev.ExceptionDetails.Exception))
		case *log.EventEntryAdded:
			console = append(console, ev.Entry.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, line := range console {
			t.Errorf("%s: the console has %q", filepath.Base(file), line)
		}
	})
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	size := chromedp.EmulateViewport(v.width, v.height)
	if v.touch {
		size = chromedp.EmulateViewport(v.width, v.height, chromedp.EmulateMobile)
	}
	do(t, ctx, size, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
		call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.noScript}), chromedp.Navigate("file://"+file))
	return ctx
}

// call makes an action from a command of Chromium's protocol.
func call[P any](command cdp.Command[P, cdp.Empty], p P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, p)
		return err
	})
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// js evaluates an expression in the page and returns its value.
func js[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// point moves the mouse pointer.
func point(x, y float64) chromedp.Action[chromedp.Void] {
	return call(input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y})
}

// pagesOf makes the pages for TestPages. The keys are names of the pages.
func pagesOf(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	pages := map[string]string{}
	make := func(name string, command ...string) {
		pages[name] = filepath.Join(dir, name+".html")
		if o := (run{}).ok(t, append(command, "--html", pages[name])...); !strings.Contains(o.stderr, "wrote "+pages[name]) {
			t.Errorf("nixoci %s does not say what it wrote: %s", strings.Join(command, " "), o.stderr)
		}
	}
	before, after := graphFile("large-x86_64-linux"), graphFile("large-x86_64-linux-v2")
	make("plan", "plan", after, "--against", before)
	make("platforms", "plan", "x86_64-linux="+before, "aarch64-linux="+graphFile("large-aarch64-linux"))
	make("diff", "diff", before, after)
	make("same", "diff", before, before)
	// These commands make pages for images: first for both platforms, then for an update of
	// one of them.
	cache, err := filepath.Abs("../testdata/cache")
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile("../testdata/public-key")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("../testdata/systems.json")
	if err != nil {
		t.Fatal(err)
	}
	var systems map[string]string
	if err := json.Unmarshal(list, &systems); err != nil {
		t.Fatal(err)
	}
	build := func(name string, platforms []string, suffix string) string {
		command := args("build", "-o", "oci:"+filepath.Join(dir, name), "--from", "file://"+cache, "--trusted-public-key", strings.TrimSpace(string(key)))
		for _, p := range platforms {
			command = append(command, p+"="+systems["sample-"+p+suffix])
		}
		(run{}).ok(t, command...)
		return "oci:" + filepath.Join(dir, name)
	}
	one, two := build("one", []string{"x86_64-linux", "aarch64-linux"}, ""), build("two", []string{"x86_64-linux"}, "-update")
	make("inspect", "inspect", one)
	make("gone", "diff", one, two)
	return pages
}

// TestPages checks the pages in two widths and two themes. Every text must have enough
// contrast. Nothing may be wider than the screen, and the console must stay empty.
func TestPages(t *testing.T) {
	ctx := browser(t)
	pages := pagesOf(t)
	for _, name := range []string{"plan", "diff", "inspect"} {
		for how, v := range views {
			file := pages[name]
			page := open(t, ctx, file, v)
			if w := js[int64](t, page, "document.documentElement.scrollWidth"); w > v.width {
				t.Errorf("%s, %s: %d pixels wide: %v", name, how, w, js[[]string](t, page, tooWide))
			}
			seen := js[struct {
				Texts int
				Low   []string
			}](t, page, contrast)
			if seen.Texts < 20 {
				t.Errorf("%s, %s: only %d texts were looked at", name, how, seen.Texts)
			}
			for _, low := range seen.Low {
				t.Errorf("%s, %s: %s", name, how, low)
			}
		}
	}
	for name, want := range map[string]string{"same": "Nothing changed", "gone": "linux/arm64 is gone"} {
		if text := js[string](t, open(t, ctx, pages[name], view{width: 1280, height: 800}), "document.body.textContent"); !strings.Contains(text, want) {
			t.Errorf("%s: the page does not say %q", name, want)
		}
	}
	usePlan(t, ctx, pages["plan"])
	usePlanByTouch(t, ctx, pages["plan"])
	useTables(t, ctx, pages["plan"])
	usePlatforms(t, ctx, pages["platforms"])
	useWithoutScript(t, ctx, pages["plan"])
}

// usePlan uses the map with keys, search and the mouse pointer.
func usePlan(t *testing.T, browser context.Context, file string) {
	ctx := open(t, browser, file, view{width: 1280, height: 800})
	const details, focused = `document.querySelector(".details h3").textContent`, `document.activeElement.getAttribute("aria-label") || ""`
	intro := js[string](t, ctx, details)
	do(t, ctx, chromedp.Focus(".tile[tabindex='0']"))
	first := js[string](t, ctx, focused)
	for _, key := range []string{kb.ArrowRight, kb.ArrowDown, kb.ArrowLeft, kb.ArrowUp} {
		before := js[string](t, ctx, focused)
		do(t, ctx, chromedp.KeyEvent(key))
		after := js[string](t, ctx, focused)
		if name := js[string](t, ctx, details); !strings.HasPrefix(after, name+", ") {
			t.Errorf("after an arrow the details are of %s, the focus is on %s", name, after)
		}
		if key == kb.ArrowDown && after == before && before == first {
			t.Errorf("no arrow moved the focus from %s", first)
		}
	}
	do(t, ctx, chromedp.KeyEvent(kb.Enter))
	if n := js[int](t, ctx, `document.querySelectorAll(".tile[aria-selected=true]").length`); n != 1 {
		t.Errorf("after Enter %d tiles are selected", n)
	}
	picked := js[string](t, ctx, details)
	if place := js[bool](t, ctx, `(() => { const d = document.querySelector(".details").getBoundingClientRect(), m = document.querySelector(".map").getBoundingClientRect();
		return d.left >= m.right && d.top >= 0 && d.top < innerHeight && document.querySelector(".impact").getBoundingClientRect().bottom <= innerHeight; })()`); !place {
		t.Error("the details are not beside the map, or below the fold")
	}
	// If the user has pinned the details of a tile, they must stay when the pointer moves.
	x, y := middle(t, ctx, `[...document.querySelectorAll(".tile")].sort((a, b) => b.getBoundingClientRect().width - a.getBoundingClientRect().width)[0]`)
	do(t, ctx, point(x, y))
	if now := js[string](t, ctx, details); now != picked {
		t.Errorf("the details went from %s to %s", picked, now)
	}
	do(t, ctx, chromedp.KeyEvent(kb.Escape))
	if now := js[string](t, ctx, details); now != intro {
		t.Errorf("after Escape the details are of %s", now)
	}
	do(t, ctx, point(x+1, y+1))
	under := js[string](t, ctx, fmt.Sprintf(`document.elementFromPoint(%f, %f).closest(".tile").getAttribute("aria-label")`, x+1, y+1))
	if now := js[string](t, ctx, details); !strings.HasPrefix(under, now+", ") {
		t.Errorf("the pointer is on %s, the details are of %s", under, now)
	}
	do(t, ctx, chromedp.KeyEvent("/"))
	// Chromium's protocol types the letter although the page has handled the key. So the test
	// removes the letter.
	if !js[bool](t, ctx, `(() => { const e = document.activeElement; e.value = ""; return e.type === "search"; })()`) {
		t.Error("/ does not go to the search")
	}
	do(t, ctx, chromedp.KeyEvent("postgresql"))
	if found := js[[]string](t, ctx, `[...document.querySelectorAll(".tile.lit")].map((t) => t.getAttribute("aria-label"))`); len(found) == 0 {
		t.Error("the search found no tile")
	} else {
		for _, f := range found {
			if !strings.Contains(f, "postgresql") {
				t.Errorf("the search found %s", f)
			}
		}
	}
	if rows := js[[]string](t, ctx, `[...document.querySelectorAll("tr[data-layer]:not([hidden])")].map((r) => r.textContent)`); len(rows) == 0 || len(rows) > 10 {
		t.Errorf("the search left %d rows", len(rows))
	}
	do(t, ctx, chromedp.KeyEvent(kb.Escape))
	if n := js[int](t, ctx, `document.querySelectorAll("tr[hidden], .tile.lit").length`); n != 0 {
		t.Errorf("after Escape %d things are still those that were found", n)
	}
	// Layers that an update sends have a frame. If the user chooses the other colouring, they
	// also have a separate colour.
	framed, ships := js[int](t, ctx, `document.querySelectorAll(".edge.framed").length`), js[int](t, ctx, `[...document.querySelectorAll("tr[data-layer]")].filter((r) => r.cells[r.cells.length - 1].textContent === "to pull").length`)
	if framed == 0 || framed != ships {
		t.Errorf("%d layers are framed, %d rows are to pull", framed, ships)
	}
	do(t, ctx, chromedp.Click(".colouring:nth-child(2) input"))
	if n := js[int](t, ctx, `document.querySelectorAll(".tile.new").length`); n == 0 || js[int](t, ctx, `document.querySelectorAll(".tile.c0").length`) != 0 {
		t.Errorf("%d tiles have the colour of what is new", n)
	}
}

func middle(t *testing.T, ctx context.Context, element string) (x, y float64) {
	t.Helper()
	at := js[[]float64](t, ctx, `(() => { const r = (`+element+`).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`)
	return at[0], at[1]
}

// usePlanByTouch checks the map on a telephone: after a tap on a tile, the details are on the
// screen, and the user can close them.
func usePlanByTouch(t *testing.T, browser context.Context, file string) {
	ctx := open(t, browser, file, view{width: 390, height: 844, touch: true})
	do(t, ctx, chromedp.ScrollIntoView(".map"))
	x, y := middle(t, ctx, `[...document.querySelectorAll(".tile")].sort((a, b) => b.getBoundingClientRect().width - a.getBoundingClientRect().width)[0]`)
	do(t, ctx, chromedp.MouseClickXY(x, y))
	if seen := js[bool](t, ctx, `(() => { const r = document.querySelector(".details.picked").getBoundingClientRect(); return r.top > 0 && r.bottom <= innerHeight && r.height > 80; })()`); !seen {
		t.Error("the details of a tapped tile are not on the screen")
	}
	x, y = middle(t, ctx, `document.querySelector(".details .close")`)
	do(t, ctx, chromedp.MouseClickXY(x, y))
	if n := js[int](t, ctx, `document.querySelectorAll(".details.picked").length`); n != 0 {
		t.Error("the details cannot be closed")
	}
}

// useTables sorts a table, opens a row, and moves through the rows with the keyboard.
func useTables(t *testing.T, browser context.Context, file string) {
	ctx := open(t, browser, file, view{width: 1280, height: 800})
	const table = `[...document.querySelectorAll("section")].at(-1)`
	sizes := table + `.querySelector("table")`
	values := `[...` + sizes + `.tBodies[0].rows].map((r) => +r.cells[1].dataset.value)`
	for _, order := range []string{"b - a", "a - b"} {
		js[bool](t, ctx, `(`+sizes+`.querySelectorAll("th button")[1].click(), true)`)
		if !js[bool](t, ctx, `(() => { const v = `+values+`; return v.length > 3 && v.join() === [...v].sort((a, b) => `+order+`).join(); })()`) {
			t.Errorf("by size, %s: %v", order, js[[]float64](t, ctx, values))
		}
	}
	if n := js[int](t, ctx, table+`.querySelectorAll(".fold:not([open]) tbody tr").length`); n == 0 {
		t.Error("the layers of one path are not folded")
	}
	js[bool](t, ctx, `(`+sizes+`.tBodies[0].rows[0].focus(), true)`)
	do(t, ctx, chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	if !js[bool](t, ctx, `(() => { const r = `+sizes+`.tBodies[0].rows[1]; return document.activeElement === r && r.querySelector("details").open && r.querySelector("li").textContent.startsWith("/nix/store/"); })()`) {
		t.Error("a row does not open by keys")
	}
	// The map must highlight the layer of the row.
	if !js[bool](t, ctx, `document.querySelectorAll(".tile.lit").length === `+sizes+`.tBodies[0].rows[1].querySelectorAll("li").length`) {
		t.Error("the layer of the row in focus is not lit on the map")
	}
}

// usePlatforms follows a link that chooses a platform. A user can share this link.
func usePlatforms(t *testing.T, browser context.Context, file string) {
	ctx := open(t, browser, file, view{width: 1280, height: 800})
	const shown = `[...document.querySelectorAll("main")].filter((m) => m.checkVisibility()).map((m) => m.getAttribute("aria-label")).join()`
	if s := js[string](t, ctx, shown); s != "linux/amd64" {
		t.Errorf("first it shows %s", s)
	}
	do(t, ctx, chromedp.Click(".tab:nth-child(2)"), chromedp.WaitVisible("#platform-2 .map .n"))
	if s := js[string](t, ctx, shown); s != "linux/arm64" {
		t.Errorf("after a click it shows %s", s)
	}
}

// useWithoutScript checks that the map, its texts and the tables are visible without
// JavaScript, and that a reader can open the rows of tables.
func useWithoutScript(t *testing.T, browser context.Context, file string) {
	for _, width := range []int64{1280, 390} {
		ctx := open(t, browser, file, view{width: width, height: 800, noScript: true})
		if js[bool](t, ctx, `document.documentElement.classList.contains("js")`) {
			t.Fatal("the script ran")
		}
		if w := js[int64](t, ctx, "document.documentElement.scrollWidth"); w > width {
			t.Errorf("without script the page is %d pixels wide", w)
		}
		if n := js[int](t, ctx, `[...document.querySelectorAll(".tile")].filter((t) => t.querySelector("title").textContent && t.getBoundingClientRect().width > 1).length`); n < 300 {
			t.Errorf("without script %d tiles are to be seen", n)
		}
		if n := js[int](t, ctx, `[...document.querySelectorAll(".tile .n")].filter((t) => t.checkVisibility()).length`); n < 20 {
			t.Errorf("without script %d tiles have a name", n)
		}
		if n := js[int](t, ctx, `[...document.querySelectorAll(".script, th button")].filter((e) => e.checkVisibility()).length`); n != 0 {
			t.Errorf("without script %d things are offered that need it", n)
		}
		do(t, ctx, chromedp.Click("td details summary"))
		if n := js[int](t, ctx, `[...document.querySelectorAll("td details[open] li")].filter((e) => e.checkVisibility()).length`); n == 0 {
			t.Error("without script a row does not open")
		}
	}
}

// tooWide lists the elements that extend beyond the edge of the screen.
const tooWide = `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest(".scroll, svg")).slice(0, 5).map((e) => e.tagName + "." + e.className)`

// contrast compares the colour of every visible text with the background, by the formula of
// WCAG 2. low lists the texts with a contrast below 4.5.
const contrast = `(() => {
  const rgb = (s) => (s.match(/[\d.]+/g) || []).map(Number);
  const luminance = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ratio = (a, b) => { const [x, y] = [luminance(a.slice(0, 3)), luminance(b.slice(0, 3))].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
    return [255, 255, 255];
  };
  const low = new Set();
  let texts = 0;
  for (const e of document.querySelectorAll("body *")) {
    const own = e.tagName === "INPUT" ? e.placeholder : [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join("").trim();
    if (!own || !e.checkVisibility() || /SCRIPT|STYLE|^title$/.test(e.tagName) || getComputedStyle(e).clipPath.startsWith("inset")) continue;
    let color = rgb(getComputedStyle(e, e.tagName === "INPUT" ? "::placeholder" : null).color), ground;
    if (e.tagName === "text") {
      color = rgb(getComputedStyle(e).fill);
      const rect = e.parentElement.querySelector(":scope > rect") || e.closest(".layer").querySelector(".ground");
      ground = rgb(getComputedStyle(rect).fill);
    } else ground = behind(e);
    texts++;
    const r = ratio(color, ground);
    if (!(r >= 4.5)) low.add(r.toFixed(2) + " to 1: <" + e.tagName + " class=" + e.getAttribute("class") + "> " + own.slice(0, 30));
  }
  return { Texts: texts, Low: [...low].slice(0, 10) };
})()`
