// Package push puts an image where it belongs: into a registry, an OCI layout
// or an archive. [oci.Destination] is what these have in common.
//
// # Order
//
// Blobs first, then manifests by digest, then the index by digest, then the
// tag. Whoever looks at the tag sees the old image or the new one, never a part.
//
// # Registries
//
// [registry.Open] gives a [registry.Repository]. A layer is sent while it is made: POST opens an
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
//
// # Layouts and archives
//
// [layout.ParseDestination] reads where an image goes if not into a registry. A
// [layout.Layout], an [layout.Archive] and a [layout.Pipe] hold blobs back in a directory of their
// own until Commit, which moves all of them or none. Archives depend on nothing
// but the image: entries are in the order of the manifests, whoever finished
// first. A destination that is [oci.Ordered] wants its layers in that order.
package push
