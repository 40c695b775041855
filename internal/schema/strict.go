package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// SchemaField is the name of a field that may contain the URL of the JSON Schema. Editors
// use this field. Decode ignores its value.
const SchemaField = "$schema"

// skipped accepts any JSON value and does not keep it.
type skipped struct{}

func (*skipped) UnmarshalJSON([]byte) error { return nil }

// checkSyntax checks that data is one JSON value.
func (f *Format[T]) checkSyntax(data []byte) error {
	err := json.Unmarshal(data, new(skipped))
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("the file is empty")
	}
	what := syntax.Error()
	switch rest, found := strings.CutPrefix(what, "invalid character "); {
	case what == "unexpected end of JSON input":
		what = "the file ends too early: a bracket or a quote is not closed"
	case found:
		what = f.expected(rest)
	}
	return fmt.Errorf("line %d: %s", lineAt(data, syntax.Offset-1), what)
}

// expected returns a clear message for the text that encoding/json writes after
// "invalid character".
func (f *Format[T]) expected(text string) string {
	char, where := text, ""
	if end := strings.Index(text[1:], "' "); end >= 0 {
		char, where = text[:end+2], text[end+3:]
	}
	if strings.HasPrefix(where, "in literal") {
		return "a value is expected: text in double quotes, a number, true, false, a list or an object"
	}
	switch where {
	case "looking for beginning of value":
		return "a value is expected, not " + char
	case "looking for beginning of object key string":
		return "the name of a field, in double quotes, is expected, not " + char
	case "after object key":
		return "a colon is expected, not " + char
	case "after object key:value pair":
		return "a comma or } is expected, not " + char
	case "after array element":
		return "a comma or ] is expected, not " + char
	case "after top-level value":
		return char + " follows the end of the " + f.Name
	}
	return "not JSON: unexpected " + text
}

// lineAt returns the number of the line that contains the byte at offset. The first
// line is 1.
func lineAt(data []byte, offset int64) int {
	offset = max(0, min(offset, int64(len(data))))
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

// walker reads the tokens of a file and compares them with a Go type. The check is
// stricter than encoding/json, which accepts names in another case. If two fields have
// the same name, encoding/json uses the last one. Other programs may read such a file
// differently.
type walker struct {
	data []byte
	d    *json.Decoder
}

// checkFields checks the names and the types of all fields. data must be JSON.
func (f *Format[T]) checkFields(data []byte) error {
	w := newWalker(data)
	return w.value("", reflect.TypeFor[T](), f.unknown)
}

func newWalker(data []byte) *walker {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return &walker{data, d}
}

// errorf returns an error with the number of the line that was read last.
func (w *walker) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{lineAt(w.data, w.d.InputOffset()-1)}, args...)...)
}

// value reads a value and checks that it has the type t. at is the full name of the
// value, or "" for the whole file. unknown returns the advice about an unknown field.
func (w *walker) value(at string, t reflect.Type, unknown func(name string, known []string) string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := w.d.Token()
	if err != nil {
		return err
	}
	if token == nil && at != "" {
		return nil // null means the same as a missing field
	}
	if got := fits(token, t); got != "" {
		if at != "" {
			at += ": "
		}
		return w.errorf("%s%s is expected, not %s", at, wanted(t), got)
	}
	switch {
	case token == json.Delim('['):
		for n := 0; w.d.More(); n++ {
			if err := w.value(fmt.Sprintf("%s[%d]", at, n), t.Elem(), unknown); err != nil {
				return err
			}
		}
	case token == json.Delim('{'):
		return w.fields(at, t, unknown)
	default:
		return nil
	}
	_, err = w.d.Token() // the closing bracket
	return err
}

// fields reads the fields of an object, up to and including the closing bracket.
func (w *walker) fields(at string, t reflect.Type, unknown func(string, []string) string) error {
	types := map[string]reflect.Type{}
	var known []string
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			name := jsonName(t.Field(i))
			types[name], known = t.Field(i).Type, append(known, name)
		}
		if at == "" {
			types[SchemaField] = reflect.TypeFor[string]()
		}
	}
	place := ""
	if at != "" {
		place = " in " + at
	}
	seen := map[string]bool{}
	for w.d.More() {
		token, err := w.d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if seen[name] {
			return w.errorf("the field %q appears twice%s", name, place)
		}
		seen[name] = true
		of := types[name]
		if t.Kind() == reflect.Map {
			of = t.Elem()
		}
		if of == nil {
			return hint.Add(w.errorf("unknown field %q%s", name, place), unknown(name, known))
		}
		if err := w.value(strings.TrimPrefix(at+"."+name, "."), of, unknown); err != nil {
			return err
		}
	}
	_, err := w.d.Token() // the closing bracket
	return err
}

// unknown returns the advice about an unknown field. known lists the fields that exist
// in the same object.
func (f *Format[T]) unknown(name string, known []string) string {
	for _, other := range known {
		if strings.EqualFold(name, other) {
			return "the field is called " + other
		}
	}
	if advice := f.Unknown[name]; advice != "" {
		return advice
	}
	return f.Page + " lists the fields; a newer nixoci may know more"
}

// fits returns "" if a value that begins with token can have the type t. Otherwise it
// returns a description of the value for an error text.
func fits(token json.Token, t reflect.Type) string {
	switch v := token.(type) {
	case nil:
		return "null"
	case bool:
		if t.Kind() == reflect.Bool {
			return ""
		}
		return strconv.FormatBool(v)
	case string:
		if t.Kind() == reflect.String {
			return ""
		}
		return "text in quotes"
	case json.Number:
		if t.Kind() != reflect.Int && t.Kind() != reflect.Int64 {
			return "a number"
		}
		if _, err := strconv.ParseInt(v.String(), 10, t.Bits()); err != nil {
			return v.String()
		}
		return ""
	case json.Delim:
		if v == '[' {
			if t.Kind() == reflect.Slice {
				return ""
			}
			return "a list"
		}
		if t.Kind() == reflect.Struct || t.Kind() == reflect.Map {
			return ""
		}
		return "an object"
	}
	return "something else"
}

// wanted returns a description of the type t for an error text.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.String:
		return "text in quotes"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
