// Package schema describes JSON files that people write, from the Go struct that holds
// one.
//
// The struct is the only place where a field is declared. Its tags say what the field
// means:
//
//	json    name; fields without omitempty or omitzero are required
//	doc     meaning, for people
//	enum    allowed values, with | between them
//	flag    the flag of nixoci that says the same
//	pattern regular expression of the values, for the JSON Schema
//	oneof   in the JSON Schema, an object has exactly one of the fields with this tag
//
// [Kind.Decode] reads a file, [Kind.Schema] is its JSON Schema, and [Kind.FieldTable] is a
// table for its documentation.
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

// Kind is a kind of file, which T holds.
type Kind[T any] struct {
	Name         string            // for messages: "specification"
	Title        string            // of the JSON Schema
	VersionField string            // field that says which version of the format a file has
	Version      int               // the newest that this nixoci reads
	Limit        int               // bytes
	Page         string            // documentation
	Unknown      map[string]string // advice for fields that people expect and that do not exist
}

// Decode reads a file. These are errors: a newer version, an unknown field, a name in
// other case, and two fields with one name.
func (k *Kind[T]) Decode(r io.Reader) (*T, error) {
	fail := func(err error) (*T, error) { return nil, k.wrap(err) }
	data, err := io.ReadAll(io.LimitReader(r, int64(k.Limit)+1))
	if err != nil {
		return fail(err)
	}
	if len(data) > k.Limit {
		return fail(fmt.Errorf("more than %d bytes", k.Limit))
	}
	for _, check := range []func([]byte) error{k.checkSyntax, k.checkVersion, k.checkFields} {
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

// wrap says which kind of file err is about. It keeps the hint of err.
func (k *Kind[T]) wrap(err error) error { return fmt.Errorf("read %s: %w", k.Name, err) }

// checkVersion looks only for the version: a newer file can have other fields.
func (k *Kind[T]) checkVersion(data []byte) error {
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
		case name == k.VersionField:
			return k.versionIsKnown(w)
		}
		if err := w.d.Decode(new(skipped)); err != nil {
			return err
		}
	}
	return hint.Add(fmt.Errorf("no field %s", k.VersionField), fmt.Sprintf("begin it with {\"%s\": %d", k.VersionField, k.Version))
}

// versionIsKnown reads the version and compares it with those that this nixoci knows.
func (k *Kind[T]) versionIsKnown(w *walker) error {
	token, err := w.d.Token()
	if err != nil {
		return err
	}
	if got := fits(token, reflect.TypeFor[int]()); got != "" {
		return w.errorf("%s: a whole number is expected, not %s", k.VersionField, got)
	}
	number, _ := token.(json.Number)
	switch version, err := number.Int64(); {
	case err != nil:
		return err
	case version > int64(k.Version):
		return hint.Add(fmt.Errorf("version %d, and this nixoci reads up to %d", version, k.Version), "use a newer nixoci")
	case version < 1:
		return fmt.Errorf("version %d; this nixoci reads version %d", version, k.Version)
	}
	return nil
}

// checkValues checks numbers, and the values of the fields with a tag enum. at is the
// name of v.
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

// Field is one field with its documentation.
type Field struct {
	Name string // all names from the top, joined by dots; [] follows a list
	Type string // type in JSON
	Doc  string
	Flag string // the flag with the same meaning; "" for none
}

// Fields returns all fields in their order.
func (k *Kind[T]) Fields() []Field { return fieldsOf("", reflect.TypeFor[T]()) }

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
func (k *Kind[T]) FieldTable() string {
	var b strings.Builder
	b.WriteString("| field | type | flag | meaning |\n|---|---|---|---|\n")
	for _, f := range k.Fields() {
		flag := f.Flag
		if flag != "" && flag == strings.ToLower(flag) {
			flag = "`--" + flag + "`" // else it is an argument
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, flag, f.Doc)
	}
	return b.String()
}

// Schema is the JSON Schema.
func (k *Kind[T]) Schema() ([]byte, error) {
	s := schemaOf(reflect.TypeFor[T]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = k.Title
	properties := s["properties"].(map[string]any)
	version := properties[k.VersionField].(map[string]any)
	properties[k.VersionField] = map[string]any{"const": k.Version, "description": version["description"]}
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
