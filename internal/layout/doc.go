// Package layout reads and writes OCI layouts, OCI archives and Docker archives.
//
// [OpenImage] opens an image for reading. [ParseDestination] parses the --output flag and
// returns an [Output]. A [Layout], an [Archive] and a [Pipe] keep blobs in a temporary
// directory until Commit. Commit moves all of them or none.
//
// An archive depends on the image alone: its entries have the order of the manifests, no
// matter which layer was finished first. A destination that is [oci.Ordered] needs its
// layers in that order.
package layout
