package limit

import "fmt"

// JSONValues returns an error if data contains more than most JSON values. A value of three bytes, such
// as {}, can need 100 bytes of memory. data may be invalid JSON.
func JSONValues(data []byte, most int) error {
	values, inText, escaped := 1, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inText:
			escaped = c == '\\'
			inText = c != '"'
		case c == '"':
			inText = true
		case c == ',' || c == ':' || c == '[' || c == '{':
			values++
		}
	}
	if values > most {
		return fmt.Errorf("it has about %d JSON values, at most %d are read", values, most)
	}
	return nil
}
