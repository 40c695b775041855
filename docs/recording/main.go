// Command recording draws a terminal as SVG. It reads the output of a program,
// lines with ANSI colors. docs/recording.sh runs it.
package main

import (
	"bufio"
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Sizes in pixels. A letter of DejaVu Sans Mono with 13 px is 7.83 wide.
const (
	letter = 7.83
	line   = 19
	margin = 16
)

// colors maps the program's color codes to colors that suit a dark background.
var colors = map[string]string{"31": "#ff8080", "32": "#7ee08a", "33": "#f0d060", "36": "#70d0e8", "2": "#8a94a6"}

var escape = regexp.MustCompile(`\x1b\[([0-9;]*)m`)

func main() {
	if err := draw(bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "recording:", err)
		os.Exit(1)
	}
}

func draw(in *bufio.Scanner, w *bufio.Writer) error {
	var lines []string
	width := 0
	for in.Scan() {
		lines = append(lines, in.Text())
		width = max(width, utf8.RuneCountInString(escape.ReplaceAllString(in.Text(), "")))
	}
	if err := in.Err(); err != nil {
		return err
	}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="13" fill="#e6e9ef">`+"\n",
		float64(width)*letter+2*margin, len(lines)*line+2*margin)
	fmt.Fprintln(w, `<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>`)
	for i, l := range lines {
		fmt.Fprintf(w, `<text x="%d" y="%d" xml:space="preserve">%s</text>`+"\n", margin, margin+i*line+14, spans(l))
	}
	fmt.Fprintln(w, `</svg>`)
	return w.Flush()
}

// spans returns the parts of a line in their colors.
func spans(text string) string {
	if command, ok := strings.CutPrefix(text, "$ "); ok {
		return `<tspan fill="#7ee08a">$</tspan> <tspan font-weight="bold">` + html.EscapeString(command) + `</tspan>`
	}
	var b strings.Builder
	color := ""
	put := func(s string) {
		switch s = html.EscapeString(s); {
		case s == "":
		case color == "":
			b.WriteString(s)
		default:
			fmt.Fprintf(&b, `<tspan fill="%s">%s</tspan>`, color, s)
		}
	}
	for {
		at := escape.FindStringSubmatchIndex(text)
		if at == nil {
			put(text)
			return b.String()
		}
		put(text[:at[0]])
		color = colors[text[at[2]:at[3]]]
		text = text[at[1]:]
	}
}
