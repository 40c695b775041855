package layers

import "io"

// TarWriter writes the canonical tar stream of format version 1. Names have no
// leading and no trailing slash ("nix/store"); entries come in the order in
// which they are written, parents first. Owner 0:0 and mtime 1 are not a
// choice.
type TarWriter struct{}

// Directory writes a directory. Mode is the permission bits.
func (w *TarWriter) Directory(name string, mode int64) error { return nil }

// Symlink writes a symbolic link.
func (w *TarWriter) Symlink(name, target string) error { return nil }

// File writes a regular file with exactly size bytes of content.
func (w *TarWriter) File(name string, mode, size int64, content io.Reader) error { return nil }
