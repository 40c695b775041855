// Package nar reads and writes the NAR format: the one shape that a store path's
// file tree has in this program.
//
// [Read] calls a [Visitor] for every entry of a NAR. A [Writer] is a Visitor that
// writes one. A [Framer] makes what is around the contents of files, for whoever
// hashes a NAR without writing it. Whatever no NAR may hold is refused with an
// error that wraps [ErrMalformed]: a tree that Read has accepted is the only tree
// of its NAR.
package nar
