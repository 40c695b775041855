// Package hint attaches advice to an error: what the user can do about it. A package adds
// advice when it makes the error. The command line prints the advice on a separate line, so
// the error itself stays short.
package hint

import "errors"

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Add attaches advice to err and returns the result. The text of err does not change. If err
// is nil, Add returns nil.
func Add(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, advice}
}

// Of returns the outermost advice attached to err or to an error that it wraps. It returns ""
// if there is none.
func Of(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}
