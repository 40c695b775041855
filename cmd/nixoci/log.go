package main

import (
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/nixoci/nixoci/internal/terminal"
)

// These are ANSI color codes.
const (
	red   = "31"
	green = "32"
	cyan  = "36"
	faint = "2"
)

// paint colors text of the program itself.
func (a *app) paint(color string, s terminal.Own) terminal.Own {
	if !a.colored() {
		return s
	}
	return terminal.Own("\x1b["+color+"m") + s + "\x1b[0m"
}

// logHook prints the messages of the logger.
type logHook struct{ a *app }

func (h logHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire prints e. If a warning repeats, Fire only increases its count, and [app.sayRepeats]
// prints the count at the end.
func (h logHook) Fire(e *logrus.Entry) error {
	text := strings.TrimRight(e.Message, "\n")
	color := cyan
	if e.Level <= logrus.WarnLevel {
		color = red
		h.a.repeatsMu.Lock()
		h.a.repeats[text]++
		n := h.a.repeats[text]
		h.a.repeatsMu.Unlock()
		if n > 1 {
			return nil
		}
	}
	say := func() { h.a.stderr.Printf("%s: %s\n", h.a.paint(color, terminal.Own(e.Level.String())), text) }
	if h.a.progress != nil {
		h.a.progress.above(say)
	} else {
		say()
	}
	return nil
}

// sayRepeats prints each repeated warning with its count.
func (a *app) sayRepeats() {
	a.repeatsMu.Lock()
	defer a.repeatsMu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(a.repeats)) {
		if n := a.repeats[text]; n > 1 {
			a.stderr.Printf("%s: %s (%d times in all)\n", a.paint(red, "warning"), text, n)
		}
	}
}

// colored reports whether text on stderr is colored.
func (a *app) colored() bool { return a.coloredOn(a.stderr.Raw()) }

// coloredOn reports whether text on w is colored.
func (a *app) coloredOn(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminal.Is(w)
}

// terminal reports whether stderr is a terminal.
func (a *app) terminal() bool {
	return terminal.Is(a.stderr.Raw())
}
