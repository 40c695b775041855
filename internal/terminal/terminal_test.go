package terminal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// hostile is text that an attacker may put into names or messages.
const hostile = "\x1b[2J\x1b]0;title\x07a\rb\nnixoci: done\thint: \u202egpj.exe\u2066\u200f\u009b31m\x7f\xff\U000e0041\u2028"

const harmless = `\x1b[2J\x1b]0;title\x07a\rb\nnixoci: done\thint: \u202egpj.exe\u2066\u200f\u009b31m\x7f\xff\U000e0041\u2028`

func check(t *testing.T, what, got string) {
	t.Helper()
	for _, r := range strings.TrimSuffix(got, "\n") {
		if !unicode.IsPrint(r) {
			t.Errorf("%s: %q has %U", what, got, r)
			return
		}
	}
}

type named string

type stringer struct{}

func (stringer) String() string { return hostile }

func TestPrintf(t *testing.T) {
	err := fmt.Errorf("read %s: %w", hostile, errors.New(hostile))
	for _, arg := range []any{hostile, named(hostile), stringer{}, []string{hostile}, map[string]string{hostile: hostile}, []byte(hostile), struct{ A string }{hostile}, err} {
		for _, verb := range []string{"%s", "%v", "%+v", "%q", "%300s", "%-300s"} {
			check(t, fmt.Sprintf("%T %s", arg, verb), Sprintf(verb+"\n", arg))
		}
	}
	for want, got := range map[string]string{
		harmless + " 7 1.50  x|x  |\x1b[0m": Sprintf("%s %d %.2f %*s|%-3s|%s", hostile, 7, 1.5, 2, "x", "x", Own("\x1b[0m")),
		`a "\x1b" €é日本`:                     Sprintf("a %q %s", "\x1b", "€é日本"),
		"\uFFFD":                            Sprintf("%s", "\uFFFD"),
		"<nil>":                             Sprintf("%v", nil),
	} {
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestErrors checks that only joined errors are printed on separate lines.
func TestErrors(t *testing.T) {
	a, b := errors.New("a\nb"), fmt.Errorf("c: %w", errors.New("d\x1b"))
	for want, err := range map[string]error{
		`a\nb`:                           a,
		"a\\nb\nc: d\\x1b":               errors.Join(a, b),
		"op: a\\nb\nc: d\\x1b (2 tries)": fmt.Errorf("op: %w (2 tries)", errors.Join(a, b)),
		`two a\nb and c: d\x1b`:          fmt.Errorf("two %w and %w", a, b),
		`x\n: a\nb`:                      fmt.Errorf("x\n: %w", a),
		`other`:                          &replaced{a},
	} {
		if got := Sprintf("%v", err); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

type replaced struct{ error }

func (replaced) Error() string    { return "other" }
func (r *replaced) Unwrap() error { return r.error }

func TestTable(t *testing.T) {
	var b strings.Builder
	p := New(&b)
	p.Table("> ", [][]string{{"a\tb", "c"}, {"d\ne", hostile}})
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `> a\tb  c`) || !strings.HasPrefix(lines[1], `> d\ne  \x1b`) {
		t.Errorf("%q", lines)
	}
	check(t, "table", lines[1])
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	in := map[string]string{hostile: strings.ToValidUTF8(hostile, "")}
	if err := New(&b).JSON(in); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		check(t, "JSON", line)
	}
	var out map[string]string
	if err := json.Unmarshal([]byte(b.String()), &out); err != nil || out[strings.ToValidUTF8(hostile, "\uFFFD")] != strings.ToValidUTF8(hostile, "") {
		t.Errorf("%v: %q", err, out)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestPrinterError(t *testing.T) {
	p := New(broken{})
	p.Printf("x")
	p.Table("", [][]string{{"x"}})
	if p.Err() == nil || p.JSON(1) == nil {
		t.Error("no error")
	}
}

func FuzzVisible(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, s string) {
		check(t, "Visible", Visible(s))
		check(t, "Sprintf", Sprintf("%s %v %q", s, errors.New(s), s))
	})
}
