package nar

import (
	"io"
)

// A Visitor receives a file tree in NAR order: a directory before what is in
// it, and what is in it sorted bytewise by name. Names are relative to the
// store path and separated by slashes; the store path itself is "".
type Visitor interface {
	Directory(name string) error
	Symlink(name, target string) error
	// File must read content to its end: exactly size bytes. A reader that ends
	// early returns io.ErrUnexpectedEOF.
	File(name string, executable bool, size int64, content io.Reader) error
}
