// Package schema reads and documents JSON files that people write. It derives the
// format of a file from the Go struct that holds the content of the file.
//
// The struct is the only place that declares the fields. Each field has these tags:
//
//	json    name of the field; a field without omitempty or omitzero is required
//	doc     meaning of the field, for the documentation
//	enum    allowed values, with | between them
//	flag    flag of nixoci with the same meaning
//	pattern regular expression for the values, in the JSON Schema
//	oneof   in the JSON Schema, an object must have exactly one of the fields with this tag
//
// [Format.Decode] reads a file. [Format.Schema] returns the JSON Schema of such files.
// [Format.FieldTable] returns a table of the fields for the documentation.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// Format describes the format of a file. T is the struct that holds the content of a file.
type Format[T any] struct {
	Name         string            // name of such a file in messages, such as "specification"
	Title        string            // title of the JSON Schema
	VersionField string            // name of the field that contains the version of the format
	Version      int               // newest version that this nixoci reads
	Limit        int               // maximum size of a file in bytes
	Page         string            // page of the documentation
	Unknown      map[string]string // advice about fields that do not exist, but that people may expect
}

// Decode reads a file. It returns an error about a newer version, an unknown field, a
// name in the wrong case, or two fields with the same name.
func (f *Format[T]) Decode(r io.Reader) (*T, error) {
	fail := func(err error) (*T, error) { return nil, f.wrap(err) }
	data, err := io.ReadAll(io.LimitReader(r, int64(f.Limit)+1))
	if err != nil {
		return fail(err)
	}
	if len(data) > f.Limit {
		return fail(fmt.Errorf("more than %d bytes", f.Limit))
	}
	for _, check := range []func([]byte) error{f.checkSyntax, f.checkVersion, f.checkFields} {
		if err := check(data); err != nil {
			return fail(err)
		}
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return fail(err)
	}
	if err := checkValues("", reflect.ValueOf(v).Elem()); err != nil {
		return fail(err)
	}
	return v, nil
}

// wrap adds the name of the format to the text of err. It keeps the hint of err.
func (f *Format[T]) wrap(err error) error { return fmt.Errorf("read %s: %w", f.Name, err) }

// checkVersion checks only the version of a file. It must run before the check of the
// other fields, because a newer version can have other fields.
func (f *Format[T]) checkVersion(data []byte) error {
	w := newWalker(data)
	token, err := w.d.Token()
	if err != nil {
		return err
	}
	if got := fits(token, reflect.TypeFor[T]()); got != "" {
		return w.errorf("an object is expected, not %s", got)
	}
	for w.d.More() {
		name, err := w.d.Token()
		switch {
		case err != nil:
			return err
		case name == f.VersionField:
			return f.versionIsKnown(w)
		}
		if err := w.d.Decode(new(skipped)); err != nil {
			return err
		}
	}
	return hint.Add(fmt.Errorf("no field %s", f.VersionField), fmt.Sprintf("begin it with {\"%s\": %d", f.VersionField, f.Version))
}

// versionIsKnown reads the version, and returns an error if this nixoci does not
// support the version.
func (f *Format[T]) versionIsKnown(w *walker) error {
	token, err := w.d.Token()
	if err != nil {
		return err
	}
	if got := fits(token, reflect.TypeFor[int]()); got != "" {
		return w.errorf("%s: a whole number is expected, not %s", f.VersionField, got)
	}
	number, _ := token.(json.Number)
	switch version, err := number.Int64(); {
	case err != nil:
		return err
	case version > int64(f.Version):
		return hint.Add(fmt.Errorf("version %d, and this nixoci reads up to %d", version, f.Version), "use a newer nixoci")
	case version < 1:
		return fmt.Errorf("version %d; this nixoci reads version %d", version, f.Version)
	}
	return nil
}

// checkValues refuses negative numbers, and wrong values of the fields with a tag enum.
// at is the name of v in errors.
func checkValues(at string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		if v.Int() < 0 {
			return fmt.Errorf("%s: %d is less than 0", at, v.Int())
		}
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return checkValues(at, v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if err := checkValues(fmt.Sprintf("%s[%d]", at, i), v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name := strings.TrimPrefix(at+"."+jsonName(f), ".")
			if err := checkEnum(name, f.Tag.Get("enum"), v.Field(i)); err != nil {
				return err
			}
			if err := checkValues(name, v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkEnum(name, enum string, v reflect.Value) error {
	if enum == "" {
		return nil
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	allowed := strings.Split(enum, "|")
	values := []string{}
	switch v.Kind() {
	case reflect.String:
		if v.Len() > 0 {
			values = append(values, v.String())
		}
	case reflect.Slice:
		for i := range v.Len() {
			values = append(values, v.Index(i).String())
		}
	}
	for _, s := range values {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("%s: %q is not one of %s", name, s, strings.Join(allowed, ", "))
		}
	}
	return nil
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// Field describes one field for the documentation.
type Field struct {
	Name string // full name, such as layers.named[].glob; [] follows the name of a list
	Type string // type in JSON
	Doc  string
	Flag string // flag or argument of nixoci with the same meaning; "" if there is none
}

// Fields returns all fields, in the order of the struct T.
func (f *Format[T]) Fields() []Field { return fieldsOf("", reflect.TypeFor[T]()) }

func fieldsOf(prefix string, t reflect.Type) (all []Field) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := jsonName(f)
		doc := f.Tag.Get("doc")
		if enum := f.Tag.Get("enum"); enum != "" {
			doc += ". Allowed values: " + strings.ReplaceAll(enum, "|", ", ")
		}
		all = append(all, Field{prefix + name, typeName(f.Type), doc, f.Tag.Get("flag")})
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case inner.Kind() == reflect.Struct:
			all = append(all, fieldsOf(prefix+name+".", inner)...)
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			all = append(all, fieldsOf(prefix+name+"[].", inner.Elem())...)
		}
	}
	return all
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "list of " + typeName(t.Elem()) + "s"
	}
	return "object"
}

// FieldTable returns the list of fields as a Markdown table.
func (f *Format[T]) FieldTable() string {
	var b strings.Builder
	b.WriteString("| field | type | flag | meaning |\n|---|---|---|---|\n")
	for _, field := range f.Fields() {
		flag := field.Flag
		if flag != "" && flag == strings.ToLower(flag) {
			flag = "`--" + flag + "`" // a name in upper case is an argument, not a flag
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", field.Name, field.Type, flag, field.Doc)
	}
	return b.String()
}

// Schema returns the JSON Schema.
func (f *Format[T]) Schema() ([]byte, error) {
	s := schemaOf(reflect.TypeFor[T]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = f.Title
	properties := s["properties"].(map[string]any)
	version := properties[f.VersionField].(map[string]any)
	properties[f.VersionField] = map[string]any{"const": f.Version, "description": version["description"]}
	properties[SchemaField] = map[string]any{"type": "string", "description": "this schema, for editors"}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return b.Bytes(), err
}

func schemaOf(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	}
	properties, required := map[string]any{}, []string{}
	var oneOf []any
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := schemaOf(f.Type)
		if enum := f.Tag.Get("enum"); enum != "" {
			of := p
			if items, isList := p["items"].(map[string]any); isList {
				of = items
			}
			of["enum"] = strings.Split(enum, "|")
		}
		if pattern := f.Tag.Get("pattern"); pattern != "" {
			p["pattern"] = pattern
		}
		if _, alternative := f.Tag.Lookup("oneof"); alternative {
			oneOf = append(oneOf, map[string]any{"required": []string{name}})
		}
		p["description"] = f.Tag.Get("doc")
		properties[name] = p
		if options == "" {
			required = append(required, name)
		}
	}
	object := map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	if len(oneOf) > 0 {
		object["oneOf"] = oneOf
	}
	return object
}
