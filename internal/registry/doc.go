// Package registry is the client of container registries. It authenticates requests, uploads blobs,
// attaches documents, and stores logins. It also downloads blobs, and resumes a download after a
// broken connection.
//
// [Open] returns a [Repository]. Its PutLayer sends a layer while the layer is made. A POST request
// opens an upload session. One PATCH request carries the bytes from the compressor to the socket.
// The digest is known after the last byte, and a PUT request commits the bytes under this digest.
// The client keeps no layer in memory or on disk. If a transfer breaks, it makes the layer again:
// the same recipe always gives the same bytes. So an [oci.PackFunc] must allow more than one call.
// PutBlob sends data that is in memory already. It needs only POST and PUT.
//
// Each operation passes through these files, from the caller to the network:
//
//	upload.go, read.go, blobs.go, …   the operations, such as PutLayer
//	retry.go                          tries an operation again, and waits if the registry asks for it
//	request.go                        sends one small request; for a layer, upload.go and packbody.go
//	auth.go                           adds the credentials, and refuses addresses without TLS
//	transport.go                      connections, time limits, counters of the traffic
//
// Three limits hold for a push as a whole, for any number of platforms. The first limits the layers
// that are packed and sent at once. The second limits the open upload sessions. It is higher than
// the first, so that the round trips before and after a transfer cost no time. The third limits the
// small requests in flight. concurrency.go has the numbers. A caller may start any number of calls
// of PutLayer, HasBlob and so on. It should start the largest layers first.
//
// One loop retries requests, in package retry. It retries after the statuses 408, 429, 500, 502,
// 503 and 504, after the error code TOOMANYREQUESTS, and after broken or silent connections. If the
// registry lost or damaged a blob or manifest, the client sends the same bytes again, at most
// twice. codes.go recognizes these answers. Every other error is final. If one answer contains
// Retry-After, all requests wait. A transfer may take any time, as long as it is not too slow.
//
// When the registry refuses a request, the client looks for credentials in the config file and
// credential helpers of Docker or podman. It sends credentials only to the registry and its token
// server, and never shows them in errors. It uses plain http for loopback addresses. For other
// addresses it does so only with Options.Insecure. If the registry uses TLS, the client never
// follows an address without TLS.
package registry
