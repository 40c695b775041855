// Package hint attaches advice to an error: what a person can do about it.
// Packages add it where they know it, and the command line prints it on a line
// of its own, so that the error itself stays short.
package hint

import "errors"

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Add returns err with advice attached. The text of err stays as it is.
// Add(nil, …) is nil.
func Add(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, advice}
}

// Of returns the outermost advice attached to err or to what it wraps, "" if
// there is none.
func Of(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}
