// Package attest makes and reads what is said of an image beside it: the
// closure statement, provenance, and signatures.
//
// All of it is deterministic: the same image and the same inputs give the same
// bytes, so that attaching or signing again changes nothing. docs/attestations.md
// has the formats.
package attest
