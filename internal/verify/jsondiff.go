package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// differentJSON describes the first difference between two JSON documents. If their bytes are
// equal, it returns "". It compares keys in sorted order, so the first difference is always the
// same.
func differentJSON(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	g, err := decodeJSON(got)
	if err != nil {
		return "not JSON: " + err.Error()
	}
	w, err := decodeJSON(want)
	if err != nil {
		return "not JSON when made again: " + err.Error()
	}
	if d := differentValue("", g, w); d != "" {
		return d
	}
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	return fmt.Sprintf("the values are the same, but the bytes differ from byte %d on", n)
}

func decodeJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

func differentValue(at string, got, want any) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		keys := slices.Sorted(maps.Keys(w))
		for k := range g {
			if _, ok := w[k]; !ok {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			sub := at + "." + k
			if at == "" {
				sub = k
			}
			gv, inGot := g[k]
			wv, inWant := w[k]
			switch {
			case !inGot:
				return fmt.Sprintf("%s is missing, it should be %s", sub, jsonText(wv))
			case !inWant:
				return fmt.Sprintf("%s is %s and should not be there", sub, jsonText(gv))
			}
			if d := differentValue(sub, gv, wv); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		for i := range max(len(g), len(w)) {
			sub := at + "[" + strconv.Itoa(i) + "]"
			switch {
			case i >= len(g):
				return fmt.Sprintf("%s is missing, it should be %s", sub, jsonText(w[i]))
			case i >= len(w):
				return fmt.Sprintf("%s is %s and should not be there", sub, jsonText(g[i]))
			}
			if d := differentValue(sub, g[i], w[i]); d != "" {
				return d
			}
		}
		return ""
	default:
		if got == want {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s, not %s", at, jsonText(got), jsonText(want))
}

// jsonText returns v as JSON. It shortens long text for display.
func jsonText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const most = 200
	if len(data) > most {
		return string(bytes.ToValidUTF8(data[:most], nil)) + "…"
	}
	return string(data)
}
