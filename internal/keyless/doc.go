// Package keyless checks and makes signatures with certificates of Sigstore. Nobody must keep a key
// for such a signature, because each key is used for a few minutes only. Fulcio, a certificate
// authority, certifies that the key belongs to a certain person or CI job. Rekor, a transparency log,
// or a timestamp authority certifies the time of the signature.
//
// [TrustRoot.Check] checks a signature with Sigstore's own library and needs no network. The caller
// compares the result with an [Identity]. [Signer] makes signatures. It asks the services that
// [Services] lists, and no others.
package keyless
