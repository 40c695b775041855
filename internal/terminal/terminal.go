// Package terminal prints all text for the user. Text from outside cannot move the cursor,
// change the title, or imitate a line of the program.
//
// A [Printer] has no method Write. Commands print with [Printer.Printf]. The format is text
// of the program itself, but the arguments may come from anywhere. Printf makes these
// characters visible: control characters, newlines, marks that change the direction of text,
// and everything else that is not printable according to Unicode. Only arguments of type
// [Own] are printed unchanged. JSON, archives and documents have their own rules: use
// [Printer.Raw] and [Printer.JSON] for these.
package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Own is the type for text of the program itself: colors, table borders, help. Never convert
// text from outside to Own.
type Own string

// Printer prints text for people. Several goroutines may call its methods at the same time.
// Each call writes its text in one piece.
type Printer struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

// New returns a Printer that writes to w.
func New(w io.Writer) *Printer { return &Printer{w: w} }

// Is reports whether stream is a file, such as standard output, that is a terminal.
func Is(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Raw returns the writer below the Printer. Use it for output that is not text for people.
func (p *Printer) Raw() io.Writer { return p.w }

// Err returns the first error of the writer.
func (p *Printer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *Printer) write(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// Printf formats like fmt.Printf, and makes the formatted arguments harmless. After an error
// of the writer, Printf does nothing.
func (p *Printer) Printf(format string, args ...any) { p.write(Sprintf(format, args...)) }

// Table prints rows with aligned columns. Each line begins with indent. Table makes the text
// of cells visible in the same way as Printf its arguments.
func (p *Printer) Table(indent Own, rows [][]string) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = Visible(c)
		}
		fmt.Fprintln(tw, string(indent)+strings.Join(cells, "\t"))
	}
	tw.Flush()
	p.write(b.String())
}

// JSON prints v as indented JSON. It writes characters that are not printable as JSON
// escapes, so the value does not change.
func (p *Printer) JSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	p.write(visibleJSON(b.String()))
	return p.Err()
}

// Sprintf returns the text that [Printer.Printf] prints.
func Sprintf(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case Own:
			safe[i] = string(a)
		case error:
			safe[i] = formatted{errorText(a), true}
		case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
			safe[i] = a // such an argument may be a width, so its type must not change
		default:
			safe[i] = formatted{a, false}
		}
	}
	return fmt.Sprintf(format, safe...)
}

// formatted wraps an argument. Format formats the value and makes the text harmless.
type formatted struct {
	value any
	done  bool // the text is already harmless
}

func (f formatted) Format(s fmt.State, verb rune) {
	text := fmt.Sprintf(fmt.FormatString(s, verb), f.value)
	if !f.done {
		text = Visible(text)
	}
	io.WriteString(s, text)
}

// errorText returns the text of err. Only the newlines between joined errors stay newlines.
func errorText(err error) string {
	text := err.Error()
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		var lines, plain []string
		for _, e := range all.Unwrap() {
			lines, plain = append(lines, errorText(e)), append(plain, e.Error())
		}
		if strings.Join(plain, "\n") == text {
			return strings.Join(lines, "\n")
		}
		return Visible(text)
	}
	inner := errors.Unwrap(err)
	if inner == nil || inner.Error() == "" {
		return Visible(text)
	}
	before, after, ok := strings.Cut(text, inner.Error())
	if !ok {
		return Visible(text)
	}
	return Visible(before) + errorText(inner) + Visible(after)
}

// Visible returns s as text on one line. It replaces characters that are not printable by
// escapes as in a Go string: \n, \x1b, \u202e.
func Visible(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case printable(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 1<<16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

func plain(s string) bool {
	for i, r := range s {
		if !printable(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return false
		}
	}
	return true
}

// printable reports whether r is a letter, mark, number, punctuation, symbol or the
// space. Characters that join or direct text are not printable.
func printable(r rune) bool { return unicode.IsPrint(r) }

// visibleJSON escapes unprintable characters in JSON text. Apart from newlines, such
// characters can only be in strings.
func visibleJSON(s string) string {
	if plain(strings.ReplaceAll(s, "\n", "")) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case printable(r) || r == '\n':
			b.WriteRune(r)
		case r < 1<<16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		}
	}
	return b.String()
}
