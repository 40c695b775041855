// Package layout reads and writes OCI layouts, OCI archives and Docker archives.
//
// [OpenImage] opens an image for reading. [ParseDestination] parses the --output flag and
// returns an [Output]. A [Layout], an [Archive] and a [Pipe] keep blobs in a temporary
// directory until Commit. Commit publishes all blobs or none.
//
// The bytes of an archive depend only on the image: the entries have the order of the
// manifests, no matter which layer was finished first. A destination that is [oci.Ordered]
// must get its layers in this order.
package layout
