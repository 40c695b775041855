package nar

import (
	"io"
)

// A Visitor receives a file tree in NAR order: a directory comes before its
// entries, and the entries are sorted bytewise by name. Names are relative to
// the store path, with slashes. The name of the store path itself is "".
type Visitor interface {
	Directory(name string) error
	Symlink(name, target string) error
	// File must read content to its end, which is exactly size bytes. If the
	// reader ends early, it returns io.ErrUnexpectedEOF.
	File(name string, executable bool, size int64, content io.Reader) error
}
