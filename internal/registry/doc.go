// Package registry is the client: authentication, uploads, reads that go on where
// they broke, attached documents, login.
//
// [Open] gives a [Repository]. A layer is sent while it is made: POST opens an
// upload session, one PATCH carries the layer from the compressor's buffers to
// the socket, PUT commits it under the digest that is known by then. Nothing is
// held in memory or on disk. When a transfer breaks, the layer is made again,
// since the same recipe always gives the same bytes; so a [oci.PackFunc] must be
// callable more than once.
//
// Three things bound a push, whatever number of platforms it has: the layers
// being packed and sent, the upload sessions open (more, so that the round
// trips before and after a transfer cost no time), and small requests in
// flight. The caller starts as many PutLayer, HasBlob and so on as it likes, the
// largest layers first.
//
// One loop retries (retry.go): 408, 429, 500, 502, 503, 504, broken and silent
// connections; everything else is final. Retry-After holds for all requests.
// There is no limit on how long a transfer takes, only on how long nothing
// happens.
//
// Credentials are asked for when the registry refuses a request, come from
// Docker's config file and credential helpers (or podman's), go to the registry
// and its token server only, and are in no error. Plain http is for this
// machine, and for Options.Insecure. A registry with TLS is never left for an
// address without.
package registry
