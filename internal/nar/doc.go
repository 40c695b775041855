// Package nar reads and writes Nix archives (NARs). nixoci reads every store path
// as a NAR, or as the calls of a Visitor in the order of a NAR.
//
// [Read] calls a [Visitor] for every entry of a NAR. [Writer] is a Visitor that
// writes a NAR. [Framer] makes the bytes around the contents of files. A caller
// that only hashes a NAR can use a Framer and need not write the NAR.
//
// Errors about a tree that a NAR cannot hold wrap [ErrMalformed]. For each tree,
// Read accepts exactly one NAR.
package nar
