// Package registry is the client of a registry: authentication, uploads,
// downloads that resume after a broken connection, attached documents, login.
//
// [Open] returns a [Repository]. It sends a layer while the layer is made: POST
// opens an upload session, one PATCH carries the bytes from the compressor to the
// socket, and PUT commits them under their digest, which is known by then.
// Nothing is kept in memory or on disk. If a transfer breaks, the layer is made
// again: the same recipe always gives the same bytes. So an [oci.PackFunc] must
// allow more than one call. PutBlob sends data that is in memory already, with
// POST and PUT alone.
//
// Three limits hold for a push as a whole, for any number of platforms: layers
// that are packed and sent at once, open upload sessions (more than layers, so
// that the round trips before and after a transfer cost no time), and small
// requests in flight. A caller may start any number of calls of PutLayer, HasBlob
// and so on. It should start the largest layers first.
//
// One loop retries, in package retry. It retries 408, 429, 500, 502, 503, 504, the
// code TOOMANYREQUESTS, and broken or silent connections. If the registry lost or
// damaged what it was sent, the client sends it again, at most twice. codes.go has
// these answers. Every other error is final. Retry-After holds for all requests. A transfer may take any time, as long as it is not too slow.
//
// When the registry refuses a request, the client looks for credentials in the
// config file and credential helpers of Docker or podman. It sends them only to
// the registry and its token server, and never shows them in errors. It uses
// plain http for loopback addresses, and for others only with Options.Insecure.
// From a registry with TLS it never follows an address without TLS.
package registry
