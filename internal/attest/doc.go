// Package attest makes and reads the documents that are attached to an image:
// the closure statement, provenance, and signatures.
//
// The documents are deterministic. The same image and the same inputs give the
// same bytes, so attaching or signing again changes nothing. docs/attestations.md
// specifies the formats.
package attest
