package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Marshal returns v as JSON, in the only form that nixoci writes in images: fields in the order of
// the Go types, map keys sorted, no white space, no HTML escapes.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// JSONBlob returns the JSON of v, in the form of [Marshal], as a blob.
func JSONBlob(mediaType string, v any) (Blob, error) {
	data, err := Marshal(v)
	if err != nil {
		return Blob{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return NewBlob(mediaType, data), nil
}
