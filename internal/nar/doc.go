// Package nar reads and writes Nix archives (NARs). This program passes every
// file tree of a store path in this form.
//
// [Read] calls a [Visitor] for every entry of a NAR. [Writer] is a Visitor that
// writes a NAR. [Framer] makes the bytes around the contents of files. A caller
// that only hashes a NAR can use it without writing the NAR.
//
// Errors about a tree that a NAR cannot hold wrap [ErrMalformed]. Each tree has
// exactly one NAR that Read accepts.
package nar
