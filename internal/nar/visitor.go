package nar

import (
	"io"
)

// A Visitor receives a file tree in NAR order: a directory comes before its
// entries, and the entries are sorted bytewise by name. The argument name is the
// entry's path below the store path, with slashes. For the store path itself, name
// is "".
type Visitor interface {
	Directory(name string) error
	Symlink(name, target string) error
	// File must read content to its end. The content has exactly size bytes. If
	// the bytes end early, content returns io.ErrUnexpectedEOF.
	File(name string, executable bool, size int64, content io.Reader) error
}
