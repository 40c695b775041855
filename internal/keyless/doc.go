// Package keyless checks and makes signatures with certificates of Sigstore. Such a signature needs
// no key that somebody must keep: the key lives for a few minutes. Fulcio, a certificate authority,
// certifies that a person or a CI job with a certain identity has the key. Rekor, a transparency
// log, or a timestamp authority certifies when the key signed.
//
// [TrustRoot.Check] checks a signature with Sigstore's own library and needs no network. The caller
// compares the result with an [Identity]. [Signer] makes signatures. It asks the services that
// [Services] lists, and no others.
package keyless
