// Package attest makes and reads the documents that are attached to an image:
// the closure statement, provenance, and signatures.
//
// The documents are deterministic. The same image and the same inputs give the
// same bytes, so attaching or signing again changes nothing. docs/attestations.md
// specifies the formats.
//
// # Which function to use
//
//	[Sign], [Verify]       sign an image; check who signed it       (sign.go)
//	[NewAttacher]          make and attach the documents of a push  (attach.go)
//	[Closure]              the closure statement                    (closure.go)
//	[Provenance]           how the image was made                   (provenance.go, source.go)
//	[Statement], [Seal]    an in-toto statement; its signature      (statement.go, bundle.go)
//	[Attestations]         read the attached documents              (attestation.go)
//	[VerificationSummary]  the result of nixoci verify              (verificationsummary.go)
//
// An [Author] signs, with a [PrivateKey] or with a certificate (package keyless). A [Signer] is
// somebody whose signatures count. The package decides which signatures are valid. Package verify
// decides which documents an image must have.
package attest
